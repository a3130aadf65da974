"""What the machine is, and its bare rates, from which the floors of `speed` are computed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache

import torch

from initbench.core.machine import cores
from initbench.training import environment
from tests.gpu.finding import Finding, Setting


@dataclass(frozen=True)
class Rates:
    """FLOP/s of a large product in three precisions, bytes/s read and written by a copy, seconds of one launch.

    `node` is a kernel's in a replayed graph, of 1,000 in a row that do next to nothing.
    """

    float32: float
    tf32: float
    bfloat16: float
    copy: float
    launch: float
    node: float


def run(setting: Setting) -> Iterator[Finding]:
    """See `finding.Part`."""
    yield Finding("device", "measured", _described(setting.device))
    found = rates(setting.device)
    seen = (
        f"product float32 {found.float32 / 1e12:.3g}, TF32 {found.tf32 / 1e12:.3g}, "
        f"bfloat16 {found.bfloat16 / 1e12:.3g} "
        f"TFLOP/s; copy {found.copy / 1e12:.2f} TB/s; launch {found.launch * 1e6:.1f} µs, "
        f"in a graph {found.node * 1e6:.2f} µs"
    )
    yield Finding("bare rates", "measured", seen, asdict(found))


def _described(device: str) -> str:
    name = f"{environment.device_name(device)}; torch {torch.__version__}; {cores()} cores"
    if device != "cuda":
        return name
    card = torch.cuda.get_device_properties(0)
    cuda = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return (
        f"{name}; {cuda}; {card.total_memory / 2**30:.0f} GiB, {card.multi_processor_count} multiprocessors, "
        f"compute capability {card.major}.{card.minor}"
    )


@cache
def rates(device: str) -> Rates:
    """Measure the bare rates of a device."""
    large, megabytes = (8192, 1024) if device == "cuda" else (512, 32)
    with environment.reproducible(device, "tf32"):
        tf32 = _product(device, large, torch.float32)
    with environment.reproducible(device):
        single, half = (_product(device, large, dtype) for dtype in (torch.float32, torch.bfloat16))
    source = torch.zeros(megabytes * 2**18, device=device)
    target = torch.empty_like(source)
    copied = seconds(lambda: target.copy_(source), device, 5)
    one = torch.zeros(1, device=device)

    def thousand() -> None:
        for _ in range(1000):
            one.add_(1)

    launch = seconds(thousand, device, 3) / 1000
    node = launch
    if device == "cuda":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            thousand()
        node = seconds(graph.replay, device, 5) / 1000
    return Rates(single, tf32, half, 2 * source.nbytes / copied, launch, node)


def _product(device: str, size: int, dtype: torch.dtype) -> float:
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * size**3 / seconds(lambda: torch.mm(a, b, out=out), device, 5)


def seconds(call: Callable[[], object], device: str, rounds: int) -> float:
    """Return the least seconds of a call in some rounds, after one that warms up."""
    call()
    took = []
    for _ in range(rounds):
        wait(device)
        started = time.perf_counter()
        call()
        wait(device)
        took.append(time.perf_counter() - started)
    return min(took)


def wait(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()
