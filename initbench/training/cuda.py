"""What only a CUDA device needs: a stream of its own, the step as a graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from initbench.training.engine import Stepper


@contextmanager
def side_stream(device: str) -> Iterator[None]:
    """Work on another stream than the default one, as everything must that a graph is captured after."""
    if device != "cuda":
        yield
        return
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch's own
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


def wait(device: str) -> None:
    """Return when the device has done all that it was given; the CPU always has."""
    if device == "cuda":
        torch.cuda.synchronize()


def replayed(stepper: Stepper) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the stepper's step as a CUDA graph: captured at its first call, launched as one thing from then on.

    The batch must lie in the same memory at every call. The steps before, with gradients kept, have warmed up what a
    capture must not meet for the first time: libraries, optimizer state.
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
