"""`initbench doctor`: what works here, and what to do where it does not."""

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

# What is installed under another name than it is imported by.
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
START = 60.0  # seconds that a worker may take to start: torch from a cold disk
NVIDIA = Path("/proc/driver/nvidia/version")

State = Literal["ok", "FAIL", "-"]
STATES: dict[str, State] = {"embedded": "ok", "verified": "ok", "absent": "-", "damaged": "FAIL"}


@dataclass(frozen=True)
class Finding:
    """Something looked at: FAIL is what a comparison may need and does not find, `-` what is only good to know."""

    what: str
    state: State
    seen: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """What was seen, and what to do about it."""
        return f"{self.seen} → {self.remedy}" if self.remedy else self.seen


@console.command
def doctor(data_dir: options.DataDir = None, out: options.Out = options.OUT) -> None:
    """Show what works here and what to do where it does not: libraries, device, workers, folders, datasets.

    Leaves with 4 where something fails.
    """
    from initbench.errors import ConfigurationError

    broken = [finding for name in LIBRARIES if (finding := _broken(name))]
    findings = [*_programs(broken), *_terminal(), *_folders(out)]
    if not broken:
        findings += [*_device(), _loops(), _workers(), *_data(data_dir)]
    console.show_table("", ("what", "state", "seen"), [(of.what, of.state, of.text) for of in findings])
    failed = [of.what.strip() for of in findings if of.state == "FAIL"]
    if failed:
        raise ConfigurationError(
            f"{len(failed)} of {len(findings)} fail ({', '.join(failed)}): what to do stands beside each."
        )
    console.say("Everything that a comparison needs works here.")


def _programs(broken: list[Finding]) -> Iterator[Finding]:
    yield Finding("initbench", "ok", version("initbench"))
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    whole = [name for name in LIBRARIES if name not in {of.what for of in broken}]
    yield Finding("libraries", "ok", ", ".join(f"{name} {version(name)}" for name in whole))
    yield from broken


def _broken(name: str) -> Finding | None:
    """Load a library as it will be loaded, and return what goes wrong."""
    try:
        if name == "torchvision":
            from initbench.datasets.torchvision_sets import import_torchvision

            import_torchvision()
        importlib.import_module(IMPORTED_AS.get(name, name))
        version(name)
    except Exception as error:  # noqa: BLE001 - binaries that do not fit each other raise whatever they like
        said = str(error).strip().partition("\n")[0]
        remedy = f"install it anew: pip install --force-reinstall {name}"
        return Finding(name, "FAIL", f"does not load ({type(error).__name__}: {said})", remedy)
    return None


def _terminal() -> Iterator[Finding]:
    table = "a table that changes while trials run" if console.is_live() else "a line now and then while trials run"
    yield Finding("terminal", "-", f"{console.columns()} columns, {table}")


def _folders(out: Path) -> Iterator[Finding]:
    from initbench.core.paths import cache_dir

    for what, folder, remedy in (
        ("results", out.resolve(), "choose another with --out or INITBENCH_OUT"),
        ("cache", cache_dir(), "choose another with INITBENCH_CACHE"),
    ):
        reason = _not_writable(folder)
        if reason:
            yield Finding(what, "FAIL", f"{folder}: cannot be written ({reason})", remedy)
        else:
            yield Finding(what, "ok", f"{folder}: can be written")


def _not_writable(folder: Path) -> str:
    """Try to write, for permission bits do not tell about full or read-only disks; return why it fails."""
    nearest = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"x")
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def _device() -> Iterator[Finding]:
    import torch

    from initbench.training.environment import choose_device, device_name

    device = choose_device("auto")
    name = f"{device}: {device_name(device)}"
    try:
        ones = torch.ones(8, 8, device=device)
        (ones @ ones).sum().item()
    except RuntimeError as error:
        said = str(error).strip().partition("\n")[0]
        yield Finding("device", "FAIL", f"{name} does not compute ({said})", "--device cpu does without it")
    else:
        yield Finding("device", "ok", name)
    if torch.version.cuda and not torch.cuda.is_available():
        seen = f"torch is built for CUDA {torch.version.cuda} and finds no GPU"
        yield Finding("cuda", "-", seen, "where there is one, nvidia-smi must list it")
    elif not torch.version.cuda and NVIDIA.exists():
        seen = "an NVIDIA driver is here, and torch is built without CUDA"
        yield Finding("cuda", "-", seen, "install torch from PyPI, whose Linux build has CUDA")


def _loops() -> Finding:
    """Compile something small as training loops are, unless that was done before."""
    from initbench.training.compiled import kernels

    kernels.address("activations.relu")
    if kernels.can_keep():
        return Finding("training loops", "ok", f"compiled for {kernels.processor()}, kept in {kernels.folder()}")
    seen = f"compiled for {kernels.processor()}, again in every run (about 3 s): cannot write to {kernels.folder()}"
    return Finding("training loops", "-", seen, "set INITBENCH_CACHE to a folder that only you can write to")


def _workers() -> Finding:
    """Start a worker process, as a comparison does."""
    from concurrent.futures import BrokenExecutor

    from initbench.running.workers import open_processes
    from initbench.training.environment import cores

    workers = open_processes(1)
    try:
        workers.begun.result(START)
    except (BrokenExecutor, TimeoutError, OSError) as error:
        workers.kill()
        seen = f"a worker process does not start ({type(error).__name__})"
        return Finding("workers", "FAIL", seen, "free memory; --jobs 1 trains without one")
    workers.close()
    return Finding("workers", "ok", f"{cores()} processes of one thread each; one was started")


def _data(data_dir: Path | None) -> Iterator[Finding]:
    from initbench.datasets import DATASETS, default_data_dir, locate

    folder = data_dir or default_data_dir()
    yield Finding("data", "-", str(folder))
    for name in DATASETS:
        place = locate(name, folder)
        yield Finding(f"  {name}", STATES[place.state], f"{place.state}: {place.note}")
