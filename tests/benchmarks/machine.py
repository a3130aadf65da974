"""What the seconds depend on besides the code: processor, threads, versions, and what else ran."""

import os
import platform
import re
import resource
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from initbench.core.machine import cores
from initbench.training import environment

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "numba", "initbench")


def describe() -> list[str]:
    """Return sentences about the machine and the software."""
    system = f"{platform.system()} {platform.release()}"
    threads = f"{cores()} cores usable, {torch.get_num_threads()} threads by default"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"Machine: {processor()}, {threads}, {system}.",
        f"Versions: Python {platform.python_version()}, {versions}{_commit()}.",
        f"BLAS: {_blas()}.",
    ]


def processor() -> str:
    """Return the processor's name and instruction set: names alone do not tell some virtual ones apart."""
    found = environment.describe("cpu", engine="")
    return f"{found.device} ({found.instructions})"


def blas() -> str:
    """Return the library of PyTorch's matrix products."""
    return environment.describe("cpu", engine="").blas


def _blas() -> str:
    """Return what PyTorch says of its matrix products."""
    text = torch.__config__.show()
    lines = (
        re.sub(r"^\s*-\s*", "", line) for line in text.splitlines() if re.search(r"Math Kernel|MKL-?DNN v|mkldnn", line)
    )
    info = re.search(r"BLAS_INFO=(\w+)", text)
    return "; ".join([*lines, *([f"BLAS_INFO={info[1]}"] if info else [])])


def _commit() -> str:
    """Return the commit that is measured, and whether files differ from it; nothing outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent)]
    found = subprocess.run([*git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return f" at commit {found.stdout.strip()}" if found.returncode == 0 else ""


def stolen() -> tuple[int, int]:
    """Return ticks that the hypervisor gave to others, and all ticks, since the machine started; 0, 1 if unknown."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0, 1
    ticks = [int(field) for field in path.read_text().splitlines()[0].split()[1:9]]
    return ticks[7], sum(ticks)


def stolen_share(before: tuple[int, int]) -> float:
    """Return the share of processor time that was stolen since `before`."""
    steal, total = stolen()
    return (steal - before[0]) / max(1, total - before[1])


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def peak_memory() -> float:
    """Return the largest resident memory of any process that was run, in GB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
