"""What the numbers depend on besides the trial: versions, processor, threads; and which devices work here."""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from initbench.core.randomness import one_thread
from initbench.errors import ConfigurationError
from initbench.records.recipe import Precision, Trial
from initbench.records.record import Environment
from initbench.training.compiled.kernels import processor


@cache
def describe(device: str, engine: str) -> Environment:
    """Describe this machine for a record."""
    return Environment(
        initbench=version("initbench"),
        torch=torch.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=device_name(device),
        engine=engine,
        threads=1 if device == "cpu" else torch.get_num_threads(),
        instructions=f"{torch.backends.cpu.get_cpu_capability()}, {processor()}",
        blas=_blas(),
    )


def _blas() -> str:
    """Return the library of torch's matrix products and its version, as torch was built."""
    told = torch.__config__.show()
    name = re.search(r"BLAS_INFO=(\w+)", told)
    mkl = re.search(r"Math Kernel Library Version ([\w.]+)", told)
    return " ".join([name[1] if name else "unknown", *([mkl[1]] if mkl else [])])


@cache
def device_name(device: str) -> str:
    """Return the name of a processor, as its maker writes it."""
    if device == "cuda":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else "none here"  # trained on a cluster
    if device == "mps":
        return f"Apple GPU, {platform.processor()}"
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def choose_device(asked: str) -> str:
    """Return the device type for `auto`, `cpu`, `cuda` or `mps`; `auto` is CUDA where there is one, else the CPU.

    Raises:
        ConfigurationError: the device asked for does not exist here.
    """
    working = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return "cuda" if working["cuda"] else "cpu"
    if not working[asked]:
        found = ", ".join(name for name, works in working.items() if works)
        raise ConfigurationError(
            f"PyTorch {torch.__version__} finds no '{asked}' here: choose one of {found}, or auto."
        )
    return asked


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def reproducible(device: str, precision: Precision = "float32") -> Iterator[None]:
    """Fix what could change the bits of a trial, and put it back afterwards.

    On the CPU, one thread: sums over several depend on how many there are, and small networks are slower with them. On
    CUDA, TF32 where `precision` asks for it and nowhere else (cuDNN would take it unasked in convolutions), and
    algorithms chosen without timing.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic
    tf32 = precision == "tf32"
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = tf32, tf32, False, True
    try:
        with one_thread() if device == "cpu" else nullcontext():
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before


@contextmanager
def denormals(*, flushed: bool) -> Iterator[None]:
    """Have this thread take numbers below 2^-126 for 0, or keep them, and put that back afterwards.

    Sums with such numbers cost up to a hundred times as much, and a network whose signal vanishes is full of them; at
    step 0 they are what is looked at. Where a processor has no such mode nothing changes.
    """
    before = _flushes()
    torch.set_flush_denormal(flushed)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _flushes() -> bool:
    return float(torch.tensor(1e-39) * 2) == 0


def in_precision(trial: Trial) -> AbstractContextManager[object]:
    """Compute a model's forward pass in the trial's precision: its weights stay float32, whatever that is."""
    if trial.precision == "bfloat16":
        # Without the cache of cast weights, which a CUDA graph must not hold; each is cast once a step anyway.
        return torch.autocast(trial.device, torch.bfloat16, cache_enabled=False)
    return nullcontext()


def check_precision(precision: Precision, device: str) -> None:
    """Refuse a precision that the device does not have.

    Raises:
        ConfigurationError: TF32 without an NVIDIA GPU of the Ampere generation or later.
    """
    if precision == "tf32" and (device != "cuda" or torch.cuda.get_device_capability() < (8, 0)):
        raise ConfigurationError(
            f"{device_name(device)} has no TF32: choose float32 or bfloat16, or an NVIDIA GPU of compute capability 8."
        )
