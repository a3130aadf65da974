"""Settle what this machine's GPU does: right answers, the whole command, speed, habits, profile.

    python -m tests.gpu [--luggage FOLDER] [--out FOLDER] [--device cuda] [--quick] [--data FOLDER] [PART …]

Each part is a process of its own under a time limit of its own, the most valuable first; results are written after
each. Exit status 1 where an answer is wrong.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.gpu import luggage, report
from tests.gpu.finding import Finding, Setting, read

ROOT = Path(__file__).resolve().parents[2]
# Seconds that a part may take on a card: 8 minutes in all.
LIMITS = {"machine": 30, "answers": 100, "command": 100, "habits": 80, "speed": 150, "profile": 40}
BUDGET = 480.0


def main() -> int:
    """Run the parts, print findings as they come, and write the table after each part."""
    arguments = _parser().parse_args()
    if arguments.one:
        return _work(arguments.one, Setting(arguments.device, arguments.data, arguments.found, arguments.quick))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        site, data = luggage.unpack(arguments.luggage, Path(folder))
        data = arguments.data or data
        found = Path(folder) / "found.jsonl"
        for part in arguments.parts or LIMITS:
            left = BUDGET - (time.perf_counter() - started)
            _in_process(part, min(LIMITS[part], left), arguments, data, found, _environment(site, Path(folder)))
            seconds = time.perf_counter() - started
            page = report.write(list(read(found)), arguments.out, _card(found), seconds)
            profile = found.with_suffix(".profile.txt")
            if profile.exists():
                page.with_suffix(".profile.txt").write_text(profile.read_text())
            print(f"-- {part}: {seconds:.0f} s in all; {page}", flush=True)
        return int(any(finding.state == "WRONG" for _, finding in read(found)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(LIMITS)}; default: all")
    parser.add_argument("--luggage", type=Path, help="folder of wheels and packed MNIST, from `tests.gpu.luggage`")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "bench")
    parser.add_argument("--data", type=Path, help="folder of datasets in torchvision's layout")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu is the rehearsal")
    parser.add_argument("--quick", action="store_true", help="fewer cases, for the rehearsal")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--found", type=Path, help=argparse.SUPPRESS)
    return parser


def _environment(site: Path, folder: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), str(site), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "INITBENCH_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}


def _in_process(
    part: str, limit: float, arguments: argparse.Namespace, data: Path, found: Path, environment: dict[str, str]
) -> None:
    """Run a part in a process of its own: a fault of the card's ends no other part."""
    command = [sys.executable, "-m", "tests.gpu", "--one", part, "--device", arguments.device, "--data", str(data)]
    command += ["--found", str(found), *(["--quick"] if arguments.quick else [])]
    if limit <= 0:
        _add(found, part, Finding(part, "skipped", "no time was left"))
        return
    process = subprocess.Popen(
        command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, said = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # what it has started, too
        process.communicate()
        _add(
            found, part, Finding(part, "WRONG", f"not finished within {limit:.0f} s; what it found until then is kept")
        )
        return
    if process.returncode:
        print(said[-4000:], flush=True)
        _add(found, part, Finding(part, "WRONG", f"exit status {process.returncode}: {said.strip()[-400:]}"))


def _work(part: str, setting: Setting) -> int:
    """Be one part: write each finding as soon as it is known."""
    import importlib

    for finding in importlib.import_module(f"tests.gpu.{part}").run(setting):
        _add(setting.found, part, finding)
    return 0


def _add(found: Path, part: str, finding: Finding) -> None:
    with found.open("a") as file:
        file.write(finding.line(part) + "\n")
    print(f"{finding.state:8} {part}: {finding.what}: {finding.seen}", flush=True)


def _card(found: Path) -> str:
    """Return a short name of the card, for file names."""
    name = next((finding.seen.partition(";")[0] for _, finding in read(found) if finding.what == "device"), "unknown")
    return re.sub(r"[^A-Za-z0-9]+", "-", name.replace("NVIDIA ", "")).strip("-")


if __name__ == "__main__":
    sys.exit(main())
