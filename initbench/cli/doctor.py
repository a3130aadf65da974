"""`initbench doctor`: check this installation and suggest remedies."""

import importlib
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from initbench.cli import console, options

# Packages whose import name differs from their name on PyPI.
IMPORTED_AS = {"scikit-learn": "sklearn", "pillow": "PIL"}
LIBRARIES = (
    *(
        "torch",
        "torchvision",
        "numpy",
        "numba",
        "llvmlite",
        "scipy",
        "pandas",
        "matplotlib",
        "scikit-learn",
        "pillow",
        "pydantic",
    ),
    *("typer", "rich", "jinja2", "pooch", "platformdirs"),
)
START = 60.0  # seconds that a worker may take to start: it imports torch, perhaps from a cold disk
NVIDIA = Path("/proc/driver/nvidia/version")

State = Literal["ok", "FAIL", "-"]
STATES: dict[str, State] = {"embedded": "ok", "verified": "ok", "absent": "-", "damaged": "FAIL"}


@dataclass(frozen=True)
class Finding:
    """The result of one check: FAIL would stop some comparison, `-` is for information only."""

    what: str
    state: State
    seen: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """What was seen, and the remedy."""
        return f"{self.seen} → {self.remedy}" if self.remedy else self.seen


@console.command
def doctor(data_dir: options.DataDir = None, out: options.Out = options.OUT) -> None:
    """Check libraries, device, workers, folders and datasets of this installation, and suggest remedies.

    Exits with status 4 if a check fails.
    """
    from initbench.errors import ConfigurationError

    broken = [finding for name in LIBRARIES if (finding := _broken(name))]
    findings = [*_programs(broken), *_terminal(), *_folders(out)]
    if not broken:
        findings += [*_device(), _loops(), _workers(), *_data(data_dir)]
    console.show_table("", ("what", "state", "seen"), [(found.what, found.state, found.text) for found in findings])
    failed = [found.what.strip() for found in findings if found.state == "FAIL"]
    if failed:
        raise ConfigurationError(
            f"{len(failed)} of {len(findings)} checks fail ({', '.join(failed)}); see the remedy next to each."
        )
    console.say("Everything a comparison needs works.")


def _programs(broken: list[Finding]) -> Iterator[Finding]:
    yield Finding("initbench", "ok", version("initbench"))
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    working = [name for name in LIBRARIES if name not in {found.what for found in broken}]
    yield Finding("libraries", "ok", ", ".join(f"{name} {version(name)}" for name in working))
    yield from broken


def _broken(name: str) -> Finding | None:
    """Import a library as a comparison does, and return what fails."""
    try:
        if name == "torchvision":
            from initbench.datasets.torchvision_sets import import_torchvision

            import_torchvision()
        importlib.import_module(IMPORTED_AS.get(name, name))
        version(name)
    except Exception as error:  # noqa: BLE001 - mismatched binaries may raise anything
        said = str(error).strip().partition("\n")[0]
        remedy = f"reinstall it: pip install --force-reinstall {name}"
        return Finding(name, "FAIL", f"cannot be imported ({type(error).__name__}: {said})", remedy)
    return None


def _terminal() -> Iterator[Finding]:
    table = "live table while trials run" if console.is_live() else "a progress line every 10 s while trials run"
    yield Finding("terminal", "-", f"{console.columns()} columns, {table}")


def _folders(out: Path) -> Iterator[Finding]:
    from initbench.core.paths import cache_dir

    for what, folder, remedy in (
        ("results", out.resolve(), "choose another with --out or INITBENCH_OUT"),
        ("cache", cache_dir(), "choose another with INITBENCH_CACHE"),
    ):
        reason = _not_writable(folder)
        if reason:
            yield Finding(what, "FAIL", f"{folder}: not writable ({reason})", remedy)
        else:
            yield Finding(what, "ok", f"{folder}: writable")


def _not_writable(folder: Path) -> str:
    """Try to write, since permission bits do not show full or read-only disks; return why it fails."""
    nearest = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"x")
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def _device() -> Iterator[Finding]:
    import torch

    from initbench.training.choice import CONVOLUTIONS_ON_GPU, ON_GPU
    from initbench.training.environment import choose_device, device_in_words

    device = choose_device("auto")
    name = f"{device}: {device_in_words(device)}"
    if device == "cuda":
        name += f"; up to {ON_GPU} chains of Linear train at once, {CONVOLUTIONS_ON_GPU} other networks"
    try:
        ones = torch.ones(8, 8, device=device)
        (ones @ ones).sum().item()
    except RuntimeError as error:
        said = str(error).strip().partition("\n")[0]
        yield Finding("device", "FAIL", f"{name} cannot compute ({said})", "use --device cpu")
    else:
        yield Finding("device", "ok", name)
    if torch.version.cuda and not torch.cuda.is_available():
        seen = f"torch is built for CUDA {torch.version.cuda} but finds no GPU"
        yield Finding("cuda", "-", seen, "if there is one, nvidia-smi must list it")
    elif not torch.version.cuda and NVIDIA.exists():
        seen = "NVIDIA driver found, but torch is built without CUDA"
        yield Finding("cuda", "-", seen, "install torch from PyPI, whose Linux build has CUDA")


def _loops() -> Finding:
    """Compile a small kernel as training loops are compiled, unless it is cached."""
    from initbench.training.compiled import kernels

    kernels.address("activations.relu")
    if kernels.can_keep():
        return Finding("training loops", "ok", f"compiled for {kernels.processor()}, cached in {kernels.folder()}")
    seen = f"compiled for {kernels.processor()} in every run (about 3 s): cannot write to {kernels.folder()}"
    return Finding("training loops", "-", seen, "set INITBENCH_CACHE to a folder that only you can write to")


def _workers() -> Finding:
    """Start a worker process, as a comparison does."""
    from concurrent.futures import BrokenExecutor

    from initbench.core.machine import cores
    from initbench.running.workers import open_processes

    workers = open_processes(1)
    try:
        workers.begun.result(START)
    except (BrokenExecutor, TimeoutError, OSError) as error:
        workers.kill()
        seen = f"a worker process cannot start ({type(error).__name__})"
        return Finding("workers", "FAIL", seen, "free memory, or use --jobs 1, which needs none")
    workers.close()
    return Finding("workers", "ok", f"{cores()} single-threaded processes available; one started as a test")


def _data(data_dir: Path | None) -> Iterator[Finding]:
    from initbench.datasets import DATASETS, default_data_dir, locate

    folder = data_dir or default_data_dir()
    yield Finding("data", "-", str(folder))
    for name in DATASETS:
        place = locate(name, folder)
        yield Finding(f"  {name}", STATES[place.state], f"{place.state}: {place.note}")
