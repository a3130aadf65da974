"""The record of a trial: plain data, to JSON and back, without torch.

Numbers that are not finite become None: a curve ends where it diverges, and the JSON is strict.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, GetCoreSchemaHandler
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, core_schema

from initbench.records.recipe import Frozen, Trial

Group = tuple[Trial, ...]  # trials that are trained together


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


REACH = 4.0  # half-width of the histogram of z, in roots of its second moment
PRODUCT = "product"  # the nonlinearity of a layer whose output is multiplied by another signal, as gates do
EARLY_STEPS = 50  # first steps whose losses and gradient norms are all stored, for early instability


class _MadeFinite:
    """Turn a number that is not finite into None; JSON has none, and a stored file that has one is damaged."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's protocol
        # A stored record has two hundred such numbers: asking Python about each takes half of the time of reading it.
        return core_schema.json_or_python_schema(
            core_schema.nullable_schema(core_schema.float_schema(allow_inf_nan=False, strict=True)),
            core_schema.no_info_before_validator_function(_finite, handler(source)),
        )


Finite = Annotated[float | None, _MadeFinite]
# Parts of a record have slots: they take a quarter of the memory of a model, and a comparison holds thousands.
_STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LayerStatistics:
    """One call that uses weights, at step 0, over a fixed batch; records hold calls in the order in which they run.

    z is the layer's output (its pre-activation), x = φ(z) the output of its activation, ∂z the gradient of the mean
    loss. `forward_moment`, `activation_moment`, `gradient_moment` and `weight_gradient_moment` are means of z², x²,
    (∂z)² and (∂W)² over images and units, each with its standard deviation; z has `units` and, with the positions of a
    convolution, `outputs` entries per image. `cosine` is the mean cosine between the z of different images,
    `effective_rank` the participation ratio (Σλ)²/Σλ² of their Gram matrix. `dead_fraction` is the share of units
    (channels of a convolution) whose ReLU outputs 0 for every image, None where no ReLU follows. `zero_rows`,
    `duplicate_rows` and `antiparallel_rows` count units whose incoming weights are zero, or a positive or negative
    multiple of another unit's; `symmetric_units` those whose output and gradient equal another unit's for every image,
    so that training cannot separate them. `histogram`, where it is stored, holds shares of z in equal bins over
    ±`REACH` times the root of `forward_moment`.

    A prediction is the expectation over draws of the weights, None where no closed form is known. It starts from the
    signal measured at `predicted_from`: "input", or the last operation without a closed form; on the way back, from the
    gradient measured where one follows. `spread` is the standard deviation of ln(forward_moment) over draws that is due
    to finite width alone.
    """

    layer: str
    kind: str
    fan_in: int | None
    fan_out: int | None
    weight_std: Finite
    forward_moment: Finite
    gradient_moment: Finite
    dead_fraction: Finite
    cosine: Finite
    forward_moment_predicted: Finite = None
    gradient_moment_predicted: Finite = None
    cosine_predicted: Finite = None
    predicted_from: str = ""
    spread: Finite = None
    nonlinearity: str = "linear"
    forward_std: Finite = None
    activation_moment: Finite = None
    activation_std: Finite = None
    gradient_std: Finite = None
    weight_gradient_moment: Finite = None
    weight_gradient_std: Finite = None
    weight_norm: Finite = None
    effective_rank: Finite = None
    units: int = 0
    outputs: int = 0
    zero_rows: int = 0
    duplicate_rows: int = 0
    antiparallel_rows: int = 0
    symmetric_units: int = 0
    histogram: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class NetworkStatistics:
    """Statistics of the whole network at step 0, over the same batch.

    `loss` is the mean cross-entropy in nats, None where outputs are not logits of `classes`; `loss_predicted` its
    expectation for independent normal logits of the predicted variance. `jacobian_max`, `_mean` and `_min` are singular
    values of ∂output/∂input, means over a few images. `silent_inputs` is the share of images for which some layer's
    ReLUs all output 0, so that the output does not depend on the image; `silent_inputs_predicted` its expectation.
    `images` is the size of the batch, `images_for_dead` how many images decide that a unit is dead.
    """

    images: int
    images_for_dead: int
    classes: int | None
    loss: Finite
    loss_predicted: Finite = None
    logit_std: Finite
    jacobian_max: Finite
    jacobian_mean: Finite
    jacobian_min: Finite
    silent_inputs: Finite = None
    silent_inputs_predicted: Finite = None


class StepZero(Frozen):
    """What `inspect` measures of one initialized network.

    Parameters without a gradient: `unused` in any forward pass, `absent` from this one (layers skipped at random,
    experts without inputs), and `detached`, used in the forward pass but not on the way to the loss. `unseen` ones have
    a gradient, but calls that use them could not be observed, so they are in no row.
    """

    layers: tuple[LayerStatistics, ...]
    network: NetworkStatistics
    unused: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Point:
    """One evaluation after `step` updates: mean cross-entropy (nats) and share of correct answers.

    Training and validation samples are fixed for a dataset and of equal size.
    """

    step: int
    epoch: float
    train_loss: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Final:
    """The trained model on a training sample as large as the validation split, on the validation and the test split."""

    train_loss: Finite
    train_accuracy: float
    val_loss: Finite
    val_accuracy: float
    test_loss: Finite
    test_accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class DataFacts:
    """Sizes of the splits, and the validation accuracy of always answering the most frequent class."""

    classes: int
    train_size: int
    val_size: int
    test_size: int
    guess: float


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Early:
    """The first steps: each batch's loss before its update, and the norm of the whole gradient."""

    losses: tuple[Finite, ...]
    gradient_norms: tuple[Finite, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Outcome:
    """How a trial ended: `diverged` at its first non-finite `step`, or `failed` for a `reason`."""

    status: Literal["finished", "diverged", "failed"]
    step: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Environment:
    """What the numbers depend on besides the trial: versions, processor, engine, threads.

    `device` is the processor's model, `instructions` the instruction set that torch and the compiled loops use, `blas`
    the library of torch's matrix products.
    """

    initbench: str
    torch: str
    python: str
    platform: str
    device: str
    engine: str
    threads: int
    instructions: str = ""
    blas: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Timings:
    """Wall-clock seconds; outside the checksummed payload, because they differ from run to run."""

    seconds_init: float
    seconds_train: float


class Record(Frozen):
    """A trial with its layers at step 0, its curve, its outcome and its environment.

    `final` is None unless the trial finished. `initialization_steps` is what the initialization cost in training steps,
    one step being three forward passes of a batch; 0 for weights that are only drawn. `notices` are sentences on what a
    scheme could not fill.
    """

    trial: Trial
    data: DataFacts
    layers: tuple[LayerStatistics, ...]
    network: NetworkStatistics | None = None
    curve: tuple[Point, ...]
    final: Final | None
    outcome: Outcome
    environment: Environment
    early: Early | None = None
    initialization_steps: float = 0.0
    notices: tuple[str, ...] = ()
    timings: Timings
