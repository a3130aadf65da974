"""What people do to a running command: Ctrl-C, a time limit, and two commands on one card."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.gpu.finding import Finding, Setting, judged

LONG = ("-s", "kaiming_uniform", "-s", "orthogonal", "--seeds", "3", "--steps", "200000")
SHORT = ("-s", "kaiming_uniform", "-s", "zeros", "--seeds", "6", "--steps", "120", "--json")
PATIENCE = 90.0  # seconds


def run(setting: Setting) -> Iterator[Finding]:
    """See `finding.Part`; all at the same time, since the starts of processes take longest."""
    if not setting.on_gpu:
        yield Finding("habits", "skipped", "tests/torture does the same to commands on the CPU, and more")
        return
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(3) as pool:
        root = Path(folder)
        begun = [pool.submit(check, setting, root) for check in (_interrupted, _limited, _two_at_once)]
        yield from (future.result() for future in begun)


def _start(setting: Setting, out: Path, arguments: tuple[str, ...]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "initbench", "compare", "--plain", "--device", setting.device, "--out", str(out)]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _interrupted(setting: Setting, root: Path) -> Finding:
    """Stop a command in the midst of training; afterwards a shorter one in the same folder works."""
    out = root / "interrupted"
    process = _start(setting, out, LONG)
    time.sleep(25)  # by then it trains
    process.send_signal(signal.SIGINT)
    started = time.perf_counter()
    _, said = process.communicate(timeout=PATIENCE)
    seconds = time.perf_counter() - started
    again = _start(setting, out, SHORT)
    again.communicate(timeout=PATIENCE)
    seen = f"exit status {process.returncode} after {seconds:.1f} s, then a new run's {again.returncode}"
    right = process.returncode == 130 and again.returncode == 0 and "bug" not in said
    return judged("Ctrl-C while training", right, seen if right else f"{seen}: {said[-300:]}", seconds=seconds)


def _limited(setting: Setting, root: Path) -> Finding:
    process = _start(setting, root / "limited", (*LONG, "--seeds", "1", "--trial-timeout", "4"))
    _, said = process.communicate(timeout=PATIENCE)
    right = process.returncode == 3 and "longer than 4 s" in said
    seen = f"exit status {process.returncode}"
    return judged("--trial-timeout", right, seen if right else f"{seen}: {said[-300:]}")


def _two_at_once(setting: Setting, root: Path) -> Finding:
    """Run a command twice at the same time; the tables must be equal."""
    processes = [_start(setting, root / f"two-{i}", SHORT) for i in range(2)]
    said = [process.communicate(timeout=PATIENCE) for process in processes]
    codes = [process.returncode for process in processes]
    if any(codes):
        return Finding("two processes on one device", "WRONG", f"exit statuses {codes}: {said[0][1][-300:]}")
    first, second = (json.loads(out)["verdicts"] for out, _ in said)
    return judged("two processes on one device", first == second, "exit statuses 0, 0, and equal verdicts")
