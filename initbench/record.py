"""What a trial leaves behind: plain data, to JSON and back, without torch.

Every number that is not finite is `None` here: a curve ends where it diverges, and JSON stays strict.
"""

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator

from initbench.recipe import Frozen, Trial


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Finite = Annotated[float | None, BeforeValidator(_finite)]


class LayerStatistics(Frozen):
    """One weighted layer at step 0, over a fixed batch of training images.

    `forward_moment` is the mean of z² over images and units, z the layer's output (its pre-activation);
    `gradient_moment` the mean of (∂loss/∂z)², the loss being the mean over the batch; `dead_fraction` the share of
    units (channels of a convolution) with z <= 0 everywhere, and None where no ReLU follows; `cosine` the mean cosine
    between the outputs for different images. The predictions are None where no closed form is known.
    """

    layer: str
    kind: str
    fan_in: int
    fan_out: int
    weight_std: Finite
    forward_moment: Finite
    gradient_moment: Finite
    dead_fraction: Finite
    cosine: Finite
    forward_moment_predicted: Finite = None
    gradient_moment_predicted: Finite = None


class Point(Frozen):
    """One evaluation after `step` updates: mean cross-entropy (nats) and share of correct answers.

    Training and validation samples are fixed for a dataset and of equal size.
    """

    step: int
    epoch: float
    train_loss: float
    val_loss: float
    val_accuracy: float


class Final(Frozen):
    """The trained model on a training sample as large as the validation split, on all of validation, on all of test."""

    train_loss: Finite
    train_accuracy: float
    val_loss: Finite
    val_accuracy: float
    test_loss: Finite
    test_accuracy: float


class DataFacts(Frozen):
    """Sizes of the splits, and the validation accuracy of always answering the most frequent class."""

    classes: int
    train_size: int
    val_size: int
    test_size: int
    guess: float


class Early(Frozen):
    """The first steps one by one: each batch's loss before its update, and the norm of the whole gradient."""

    losses: tuple[Finite, ...]
    gradient_norms: tuple[Finite, ...]


class Outcome(Frozen):
    """How a trial ended: `diverged` at its first non-finite `step`, or `failed` for a `reason`."""

    status: Literal["finished", "diverged", "failed"]
    step: int | None = None
    reason: str = ""


class Environment(Frozen):
    """What the numbers depend on besides the trial: versions, processor, engine, threads."""

    initbench: str
    torch: str
    python: str
    platform: str
    device: str
    engine: str
    threads: int


class Timings(Frozen):
    """Wall-clock seconds; kept outside the checksummed payload, for they differ from run to run."""

    seconds_init: float
    seconds_train: float


class Record(Frozen):
    """A trial with its layers at step 0, its curve, its outcome and its environment.

    `final` is None unless the trial finished. `notices` are sentences about what a scheme could not fill.
    """

    trial: Trial
    data: DataFacts
    layers: tuple[LayerStatistics, ...]
    curve: tuple[Point, ...]
    final: Final | None
    outcome: Outcome
    environment: Environment
    early: Early | None = None
    notices: tuple[str, ...] = ()
    timings: Timings
