"""A CUDA graph's stand-in on the CPU: it records a step's operations once, and repeats them on the same memory.

As a graph does, a replay runs no Python of the step: whatever the step computes in Python is frozen at its first call.
What a graph cannot capture is refused: reads by the host, results whose size depends on values, and random draws.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from initbench.training.engine import Stepper

# Results read by the host, results whose size depends on values, and draws.
REFUSED = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.nondeterministic_seeded}


class Recorder(TorchDispatchMode):
    """Records every operation, with what it took and returned."""

    def __init__(self) -> None:
        super().__init__()
        self.tape: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if REFUSED & set(func.tags):
            raise AssertionError(f"A CUDA graph cannot capture {func.overloadpacket.__name__}.")
        result = func(*args, **(kwargs or {}))
        self.tape.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Repeat all operations, and put results where the first ones are."""
        for func, args, kwargs, result in self.tape:
            again = func(*args, **kwargs)
            for before, now in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(before, Tensor) and before.data_ptr() != now.data_ptr():
                    before.copy_(now)


def replayed(stepper: Stepper) -> Callable[[Tensor, Tensor], Tensor]:
    """See `initbench.training.cuda.replayed`; here the batch must be at the same addresses, too."""
    recorder: Recorder | None = None
    losses = torch.empty(0)
    memory = (0, 0)

    def replay(images: Tensor, labels: Tensor) -> Tensor:
        nonlocal recorder, losses, memory
        place = images.data_ptr(), labels.data_ptr()
        if recorder is None:
            recorder, memory = Recorder(), place
            with recorder:
                losses = stepper.step(images, labels, gradients=False)
        else:
            assert place == memory, "a graph reads its batch where it was at capture"
            with torch.no_grad():
                recorder.replay()
        return losses

    return replay
