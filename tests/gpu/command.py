"""The whole command on the device, `initbench compare`, against the CPU's stored verdicts.

`python -m tests.gpu.command DATA` stores those of the CPU anew.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.gpu.finding import Finding, Setting, judged

STORED = Path(__file__).with_name("verdicts.json")
MNIST_SCHEMES = ("torch_default", "kaiming_uniform", "xavier_uniform", "orthogonal", "normal(std=0.01)")
COMPARISONS: Mapping[str, tuple[str, ...]] = {
    "the default comparison, on digits": (),
    "a small CNN on digits": ("-m", "cnn(depth=2, width=8)", "--epochs", "8", "--lr", "0.05"),
    "MNIST, ten hidden layers": (
        "-d", "mnist", "-m", "mlp(depth=10, width=64)", "--steps", "400", "--seeds", "10",
        *(part for scheme in MNIST_SCHEMES for part in ("-s", scheme)),
    ),
}  # fmt: skip
QUICK: Mapping[str, tuple[str, ...]] = {"a short comparison on digits": ("--steps", "150", "--seeds", "9")}
ACCURACY = 0.02  # between the means of a scheme's test accuracy, where nothing but rounding differs
LOOSE = 300.0  # seconds that a command may take


def run(setting: Setting) -> Iterator[Finding]:
    """See `finding.Part`."""
    stored = json.loads(STORED.read_text())
    for name, arguments in (QUICK if setting.quick else COMPARISONS).items():
        with tempfile.TemporaryDirectory() as out:
            started = time.perf_counter()
            done = compare(setting.device, setting.data, Path(out), arguments)
            seconds = time.perf_counter() - started
            if done.returncode:
                yield Finding(name, "WRONG", f"exit status {done.returncode}: {done.stderr.strip()[-600:]}")
                continue
            found = verdicts(json.loads(done.stdout))
            trained = _seconds_of_training(Path(out))
        differing = _differing(stored[name], found)
        seen = f"{len(found)} schemes, {len(differing)} unlike the CPU's" + "".join(f"; {d}" for d in differing)
        seen += f"; training {trained:.1f} s of {seconds:.1f} s in all"
        yield judged(name, not differing, seen, training=trained, seconds=seconds)


def compare(device: str, data: Path, out: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "initbench", "compare", "--device", device, "--data-dir", str(data), "--json"]
    return subprocess.run(
        [*command, "--out", str(out), *arguments], check=False, capture_output=True, text=True, timeout=LOOSE
    )


def verdicts(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return of each scheme the two verdicts, and the mean test accuracy."""
    found = {
        row["scheme"]: {"accuracy": row["accuracy_verdict"], "speed": row["speed_verdict"]}
        for row in document["verdicts"]
    }
    for row in document["summary"]:
        found.setdefault(row["scheme"], {})["test_accuracy"] = row["test_accuracy"]
    return found


def _differing(stored: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    differing = [f"{scheme} is missing" for scheme in sorted(stored.keys() - found.keys())]
    for scheme in sorted(stored.keys() & found.keys()):
        for key, wanted in stored[scheme].items():
            seen = found[scheme].get(key)
            close = wanted and seen and isinstance(wanted, float) and abs(wanted - seen) <= ACCURACY
            if seen != wanted and not close:
                differing.append(f"{scheme}: {key} {seen}, on the CPU {wanted}")
    return differing


def _seconds_of_training(out: Path) -> float:
    """Return the sum over all trials."""
    records = (json.loads(path.read_text()) for path in (out / "trials").rglob("*.json"))
    return sum(record["timings"]["seconds_train"] for record in records)


def store(data: Path) -> None:
    """Write the CPU's verdicts."""
    found = {}
    for name, arguments in (COMPARISONS | QUICK).items():
        with tempfile.TemporaryDirectory() as out:
            done = compare("cpu", data, Path(out), arguments)
            found[name] = verdicts(json.loads(done.stdout))
    STORED.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    store(Path(sys.argv[1]))
