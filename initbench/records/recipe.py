"""A recipe (a question: the grid to run) and a trial (one cell of that grid).

Structure only: names are checked against the registries in `plan`, so this module loads without torch.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

# Part of every trial's id: raised when the same trial would no longer give the same numbers.
TRIAL_FORMAT = 4

DEFAULT_SCHEMES = (
    "torch_default",
    "xavier_uniform",
    "kaiming_uniform",
    "kaiming_normal",
    "orthogonal",
    "normal(std=0.01)",
    "constant(0.05)",
    "kaiming_uniform; bias=constant(0.1)",
)
DEFAULT_BASELINE = "torch_default"
AS_BUILT = "as_built"  # stands for a scheme where a model that is inspected keeps the weights it was built with


DEFAULT_BATCH = 64
DEFAULT_GRID = (0.003, 0.01, 0.03, 0.1, 0.3)  # `lr = "tune"`: two decades, about three rates each
FIRST_TUNING_SEED = 1_000_000  # a count of tuning seeds starts here, far from any count of scoring seeds
MOST_SEEDS = 10_000
MOST_STEPS = 10_000_000
LEAST_SAMPLE = 160  # images of an evaluation during training; fewer cannot resolve a percentage point of accuracy


def _listed(value: object) -> object:
    """Let an axis be one value or a list of values."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Drop repeated values: each is trained once."""
    if not values:
        raise PydanticCustomError("empty", "an empty list makes no trial, name at least one value")
    return tuple(dict.fromkeys(values))


def _seeds(value: object) -> object:
    """Let seeds be a count (10 means 0, 1, … 9) or a list."""
    if isinstance(value, list | tuple):
        return _listed(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_SEEDS:
        return tuple(range(value))
    raise PydanticCustomError(
        "seeds", "seeds are a count from 1 to {most} or a list of whole numbers", {"most": MOST_SEEDS}
    )


def _tuning_seeds(value: object) -> object:
    counted = _seeds(value)
    if isinstance(value, int) and isinstance(counted, tuple):
        return tuple(FIRST_TUNING_SEED + seed for seed in counted)
    return counted


def _rates(value: object) -> object:
    """Let learning rates be one, a list, or the word for the default grid."""
    return DEFAULT_GRID if value == "tune" else _listed(value)


def _folder_name(name: str) -> str:
    """Check a run's name: it becomes a folder, so it has no separators and no leading dot."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,63}", name):
        raise PydanticCustomError("name", "a name takes at most 64 letters, digits and . _ + -, and no leading dot")
    if name == "trials":
        raise PydanticCustomError("name", "'trials' is the store's own folder, choose another name")
    return name


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]  # in tables a NUL at the end is lost
Rate = Annotated[FiniteFloat, Field(gt=0, le=1e30)]  # float32 ends at 3e38
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Batch = Annotated[int, Field(gt=0, lt=2**31)]
# What a recipe may give for them; its JSON schema shows these types, and `records.axes` reads them.
NamesWritten = Text | Annotated[list[Text], Field(min_length=1)]
RatesWritten = Literal["tune"] | Rate | Annotated[list[Rate], Field(min_length=1)]
BatchesWritten = Batch | Annotated[list[Batch], Field(min_length=1)]
SeedsWritten = Annotated[int, Field(ge=1, le=MOST_SEEDS)] | Annotated[list[Seed], Field(min_length=1)]
Names = Annotated[
    tuple[Text, ...], BeforeValidator(_listed, json_schema_input_type=NamesWritten), AfterValidator(_distinct)
]
Rates = Annotated[
    tuple[Rate, ...], BeforeValidator(_rates, json_schema_input_type=RatesWritten), AfterValidator(_distinct)
]
Batches = Annotated[
    tuple[Batch, ...], BeforeValidator(_listed, json_schema_input_type=BatchesWritten), AfterValidator(_distinct)
]
Seeds = Annotated[
    tuple[Seed, ...], BeforeValidator(_seeds, json_schema_input_type=SeedsWritten), AfterValidator(_distinct)
]
TuningSeeds = Annotated[
    tuple[Seed, ...], BeforeValidator(_tuning_seeds, json_schema_input_type=SeedsWritten), AfterValidator(_distinct)
]
RunName = Annotated[str, AfterValidator(_folder_name)]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "tf32", "bfloat16"]


class Frozen(BaseModel):
    """Plain data: immutable, without unknown keys, without silent conversions."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


Metric = Literal[
    "test_accuracy",
    "test_loss",
    "steps_to_target",
    "generalization_gap",
    "instability",
    "initial_loss",
    "final_train_loss",
]


WhereKey = Literal["dataset", "model", "optimizer", "batch_size", "lr"]
WHERE_KEYS = list(get_args(WhereKey))


class Claim(Frozen):
    """A claim to test: that `better` beats `than` in `metric`.

    `where` may fix dataset, model, optimizer, batch_size or lr; without it, the claim is about every setting.
    """

    text: Annotated[Text, Field(description="The claim as a sentence.")]
    metric: Annotated[Metric, Field(description="The metric to compare.")]
    better: Annotated[Text, Field(description="The scheme claimed to be better; one of `schemes`.")]
    than: Annotated[Text, Field(description="The scheme it is claimed to beat; one of `schemes`.")]
    where: Annotated[
        dict[WhereKey, str | float],
        Field(description="The setting it applies to. Default: every setting."),
    ] = {}
    source: Annotated[str, Field(description="Where the claim was made, for example a paper.")] = ""


Vary = Literal["init,order"]


class Recipe(Frozen):
    """The grid to run. Axes (schemes, model, dataset, optimizer, batch_size, lr) take one value or a list.

    Several learning rates form a grid to tune over: each scheme's rate is selected with `tuning_seeds`, on validation
    data, and scored with `seeds`. `vary` crosses weight seeds with data-order seeds. Types, defaults and descriptions
    stand here only: the options of the command line and the parameters of `initbench.compare` are derived from them
    (`records.axes`).
    """

    name: Annotated[
        RunName | None,
        Field(description="Name of the comparison's folder. Default: the recipe file's name, else <command>-<digest>."),
    ] = None
    question: Annotated[str, Field(description="What you want to know; printed above the results.")] = ""
    schemes: Annotated[
        Names, Field(description="Initialization schemes: names, or parts such as 'conv=orthogonal; bias=zeros'.")
    ] = DEFAULT_SCHEMES
    model: Annotated[Names, Field(description="Network, for example 'cnn(depth=4)'.")] = ("mlp(depth=8, width=64)",)
    dataset: Annotated[Names, Field(description="Name of a dataset, .npz file or image folder.")] = ("digits",)
    optimizer: Annotated[Names, Field(description="Optimizer, for example 'sgd(momentum=0.9)'.")] = ("sgd",)
    lr: Annotated[
        Rates,
        Field(description="Learning rate. Several, or 'tune', form a grid: each scheme is scored at its own best."),
    ] = (0.02,)
    batch_size: Annotated[Batches, Field(description="Images per step; several are compared.")] = (DEFAULT_BATCH,)
    epochs: Annotated[
        Annotated[FiniteFloat, Field(gt=0, le=1e6)] | None, Field(description="Passes over the training split.")
    ] = 20
    steps: Annotated[
        Annotated[int, Field(gt=0, le=MOST_STEPS)] | None, Field(description="Optimizer steps, instead of epochs.")
    ] = None
    seeds: Annotated[Seeds, Field(description="Seeds to train with: a count (10 means 0 to 9) or a list.")] = tuple(
        range(10)
    )
    tuning_seeds: Annotated[
        TuningSeeds, Field(description="Seeds that select learning rates and are never scored: a count or a list.")
    ] = tuple(range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + 3))
    vary: Annotated[
        Vary | None, Field(description="'init,order' crosses weight seeds with data-order seeds (seeds² trials).")
    ] = None
    target: Annotated[
        Annotated[FiniteFloat, Field(gt=0, lt=1)] | None,
        Field(description="Validation accuracy that counts as converged. Default: that of the nearest class mean."),
    ] = None
    baseline: Annotated[
        Text | None,
        Field(description="Scheme to compare the others with. Default: torch_default if present, else the first."),
    ] = None
    device: Annotated[Device, Field(description="Device to train on: auto, cpu, cuda or mps.")] = "auto"
    precision: Annotated[
        Precision, Field(description="float32, tf32 or bfloat16; the last two can change the conclusion.")
    ] = "float32"
    claims: Annotated[
        tuple[Claim, ...],
        BeforeValidator(_listed, json_schema_input_type=Claim | list[Claim]),
        Field(description="Claims fixed before the first trial; each is judged supported, refuted or undecided."),
    ] = ()

    def steps_over(self, images: int, batch_size: int) -> int:
        """Return the updates of a trial; an epoch is as many whole batches as the training split of `images` holds."""
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil((self.epochs or 0) * (images // batch_size)))


class Place(NamedTuple):
    """Where schemes are compared, apart from their learning rates; the default batch size is not named in words."""

    dataset: str
    model: str
    optimizer: str
    batch_size: int

    def __str__(self) -> str:
        batch = "" if self.batch_size == DEFAULT_BATCH else f", batch {self.batch_size}"
        return f"{self.dataset}, {self.model}, {self.optimizer}{batch}"


class Trial(Frozen):
    """One model × dataset × scheme × optimizer × lr × seed, with everything that can change its numbers.

    Names are canonical (`registry.Registry.resolve`); `device` is the type (cpu, cuda, mps), never `auto`. `seed`
    decides weights and data order, unless `order_seed` decides the latter (see `data_seed`). `code` holds a hash of
    each piece of user code that the model or the scheme names. `draws` is 1 where a step of the network draws from
    generators of its own (`core.generators`): before those were seeded for each trial, it could not be repeated, and is
    not to be mixed with what can. Other trials leave the field out, so that their ids stay.
    `revision` counts the releases that changed the weights which this scheme gives this model
    (`schemes.rule.Rule.revised`), where there was one.
    `traced` is 1 where the order of execution gave the scheme's parts to other layers than that of registration did
    before; likewise left out.
    """

    model: Name
    dataset: Name
    fingerprint: str
    scheme: Name
    optimizer: Name
    lr: float
    batch_size: int
    steps: int
    seed: int
    order_seed: int | None = None
    evaluations: int = 30
    precision: Precision = "float32"
    device: str = "cpu"
    code: tuple[tuple[str, str], ...] | None = None
    draws: Literal[1] | None = None
    revision: int | None = None
    traced: Literal[1] | None = None

    @property
    def place(self) -> Place:
        """Where schemes are compared with this one."""
        return Place(self.dataset, self.model, self.optimizer, self.batch_size)

    @property
    def data_seed(self) -> int:
        """The seed of the data order, and of whatever a network draws during training."""
        return self.seed if self.order_seed is None else self.order_seed

    @cached_property  # tables ask for it again and again
    def id(self) -> str:
        """The first 20 hexadecimal digits of the SHA-256 of all fields and the format version."""
        text = json.dumps([TRIAL_FORMAT, self.model_dump(exclude_none=True)], sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed, and so with an id of its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("id", None)
        return copied
