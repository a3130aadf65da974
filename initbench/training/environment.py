"""The environment of a trial: versions, processor, threads, precision; and which devices are available."""

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
        instructions=_instructions(device),
        blas=_blas(),
    )


def _instructions(device: str) -> str:
    """Return torch's instruction set, and on the CPU the processor that training loops are compiled for."""
    if device != "cpu":
        return torch.backends.cpu.get_cpu_capability()
    try:
        from initbench.training.compiled.kernels import processor  # noqa: PLC0415 - it loads LLVM, which a GPU needs not
    except ModuleNotFoundError:  # then nothing is compiled here, and only the reference engine trains on the CPU
        return torch.backends.cpu.get_cpu_capability()
    return f"{torch.backends.cpu.get_cpu_capability()}, {processor()}"


def _blas() -> str:
    """Return the BLAS library that torch was built with, and its version."""
    config = torch.__config__.show()
    name = re.search(r"BLAS_INFO=(\w+)", config)
    mkl = re.search(r"Math Kernel Library Version ([\w.]+)", config)
    return " ".join([name[1] if name else "unknown", *([mkl[1]] if mkl else [])])


@cache
def device_name(device: str) -> str:
    """Return the manufacturer's name of a device."""
    if device == "cuda":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else "none here"  # the trial ran on a cluster
    if device == "mps":
        return f"Apple GPU, {platform.processor()}"
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def device_in_words(device: str) -> str:
    """Return a device's name, and of a GPU its memory.

    >>> device_in_words("cpu") == device_name("cpu")
    True
    """
    if device != "cuda" or not torch.cuda.is_available():
        return device_name(device)
    return f"{device_name(device)}, {torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB"


def choose_device(asked: str) -> str:
    """Return the device type for `auto`, `cpu`, `cuda` or `mps`; `auto` is CUDA if available, else the CPU.

    Raises:
        ConfigurationError: the device is not available on this machine.
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


@contextmanager
def reproducible(device: str, precision: Precision = "float32") -> Iterator[None]:
    """Fix the settings that could change the bits of a trial, and restore them afterwards.

    On the CPU, one thread: sums depend on the number of threads, and small networks are slower with several. On CUDA,
    TF32 only if `precision` asks for it (by default cuDNN uses it in convolutions), and algorithms chosen without
    timing.
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
    """Flush numbers below 2^-126 to 0 in this thread, or keep them, and restore the mode afterwards.

    Arithmetic on such numbers is up to a hundred times slower, and a network whose signal vanishes has many; at step 0
    they are measured. On a processor without this mode nothing changes.
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
    """Compute a model's forward pass in the trial's precision; its weights stay float32."""
    if trial.precision == "bfloat16":
        # Without the cache of cast weights, which a CUDA graph must not capture; each is cast once per step anyway.
        return torch.autocast(trial.device, torch.bfloat16, cache_enabled=False)
    return nullcontext()


def check_precision(precision: Precision, device: str) -> None:
    """Raise if the device does not support the precision.

    Raises:
        ConfigurationError: TF32 without an NVIDIA GPU of the Ampere generation or later.
    """
    if precision == "tf32" and (device != "cuda" or torch.cuda.get_device_capability() < (8, 0)):
        raise ConfigurationError(
            f"{device_name(device)} has no TF32: choose float32 or bfloat16, or an NVIDIA GPU of compute capability 8."
        )
