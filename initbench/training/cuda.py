"""CUDA only: a side stream, and a training step as a CUDA graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from initbench.training.engine import Stepper


@contextmanager
def side_stream(device: str) -> Iterator[None]:
    """Run the block on a stream other than the default one, as CUDA graph capture requires."""
    if device != "cuda":
        yield
        return
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch's own
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


def wait(device: str) -> None:
    """Wait until the device has finished its queued work; a no-op on the CPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def replayed(stepper: Stepper) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the stepper's step as a CUDA graph: captured at its first call and replayed afterwards.

    The batch must be in the same memory at every call. Earlier steps, with gradients kept, must have initialized what
    cannot be initialized during capture: libraries, optimizer state.
    """
    graph: torch.cuda.CUDAGraph | None = None
    losses = torch.empty(0)

    def replay(images: Tensor, labels: Tensor) -> Tensor:
        nonlocal graph, losses
        if graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                losses = stepper.step(images, labels, gradients=False)
        graph.replay()
        return losses

    return replay
