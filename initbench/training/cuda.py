"""CUDA only: a side stream, and a training step as a CUDA graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from initbench.training.engine import Stepper

MEMBERS = 8  # streams on which members of a group train side by side


@cache
def _streams() -> list[torch.cuda.Stream]:
    """Return the streams of this process: one to work on, one to capture on, and those of members.

    Made once and all together, so they differ: PyTorch hands out 32 streams in turn, and where a member's stream was
    also the one that captures, cuDNN refused to run (CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH).
    """
    return [torch.cuda.Stream() for _ in range(2 + MEMBERS)]  # type: ignore[no-untyped-call] # torch's own


def member_streams(count: int) -> list[torch.cuda.Stream]:
    """Return a stream for each of `count` members; more than `MEMBERS` share them."""
    return [_streams()[2 + k % MEMBERS] for k in range(count)]


@contextmanager
def side_stream(device: str) -> Iterator[None]:
    """Run the block on a stream other than the default one, as CUDA graph capture requires."""
    if device != "cuda":
        yield
        return
    stream = _streams()[0]
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
            with torch.cuda.graph(graph, stream=_streams()[1]):
                losses = stepper.step(images, labels, gradients=False)
        graph.replay()
        return losses

    return replay
