"""The floor: what the multiplications of a workload alone would take, at the rate measured with all workers busy.

Run from `tests/benchmarks` as `python -m roofline job.json result.json`: one process a core with one thread each.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from contenders.common import EVALUATION_BATCH, Job, on_every_core
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from initbench.networks.models import build_model

SIZE = 2048  # of the square matrices whose product is the measure
PRODUCTS = 8
REPLAYED_STEPS = 60
REPLAYED_EVALUATIONS = 10


@dataclass(frozen=True)
class Work:
    """Floating-point operations of one training step, and of one image in evaluation; multiplications alone count."""

    step: int
    image: float


@dataclass(frozen=True)
class Rates:
    """What one process measured: the rate of a large product (FLOP/s), and seconds of the workload's own products."""

    gemm: float
    step: float | None
    image: float | None


def work_of(model: str, shape: tuple[int, int, int], classes: int, batch_size: int) -> Work:
    """Count with PyTorch's own counter: no gradient of the images, no activation, no optimizer."""
    net = build_model(model, shape, classes)
    images, labels = torch.zeros(batch_size, *shape), torch.zeros(batch_size, dtype=torch.int64)
    with FlopCounterMode(display=False) as step:
        functional.cross_entropy(net(images), labels).backward()
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        net(images)
    return Work(step.get_total_flops(), forward.get_total_flops() / batch_size)


def gemm_rate() -> float:
    """Return the best rate of a few large single-precision products; the best, so that no share is flattered."""
    a, b, out = (torch.rand(SIZE, SIZE) for _ in range(3))
    return 2 * SIZE**3 / min(_seconds(lambda: torch.mm(a, b, out=out), 1) for _ in range(PRODUCTS))


def replay(job: Job) -> tuple[float, float] | None:
    """Time the workload's exact products into buffers made before: seconds a step, and an image in evaluation.

    None where not all layers are Linear.
    """
    trial, dataset = job.trials[0], job.open_dataset()
    layers = [m for m in build_model(trial.model, dataset.shape, dataset.classes).modules() if not list(m.children())]
    sizes = [(m.in_features, m.out_features) for m in layers if isinstance(m, nn.Linear)]
    if any(isinstance(m, nn.Conv2d) for m in layers):
        return None
    step, evaluation = _training(sizes, trial.batch_size), _forward(sizes, EVALUATION_BATCH)
    step(), evaluation()
    return _seconds(step, REPLAYED_STEPS), _seconds(evaluation, REPLAYED_EVALUATIONS) / EVALUATION_BATCH


def _forward(sizes: list[tuple[int, int]], batch: int) -> Callable[[], None]:
    layers = [(torch.rand(batch, i), torch.rand(o, i).t(), torch.rand(batch, o)) for i, o in sizes]

    def run() -> None:
        for x, transposed, y in layers:
            torch.mm(x, transposed, out=y)

    return run


def _training(sizes: list[tuple[int, int]], batch: int) -> Callable[[], None]:
    """Forward, then for each layer from the last: the gradient of its inputs and of its weights."""
    layers = [(torch.rand(batch, i), torch.rand(o, i), torch.rand(batch, o), torch.rand(o, i)) for i, o in sizes]

    def run() -> None:
        for x, w, y, _ in layers:
            torch.mm(x, w.t(), out=y)
        for x, w, y, gradient in reversed(layers[1:]):
            torch.mm(y, w, out=x)
            torch.mm(y.t(), x, out=gradient)
        x, _, y, gradient = layers[0]
        torch.mm(y.t(), x, out=gradient)

    return run


def _seconds(call: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times


def measure(job: Job) -> Rates:
    torch.mm(torch.rand(SIZE, SIZE), torch.rand(SIZE, SIZE))
    replayed = replay(job)
    return Rates(gemm_rate(), *(replayed or (None, None)))


def main() -> None:
    """Measure in all processes at once; rates add up, and a step takes as long as it takes each of them."""
    job_path, result_path = map(Path, sys.argv[1:])
    job = Job.read(job_path)
    found = on_every_core(measure, [(job,)] * job.processes)
    steps = [rates.step for rates in found if rates.step is not None]
    images = [rates.image for rates in found if rates.image is not None]
    result = {
        "gemm": sum(rates.gemm for rates in found),
        "step": sum(steps) / len(steps) if steps else None,
        "image": sum(images) / len(images) if images else None,
    }
    result_path.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
