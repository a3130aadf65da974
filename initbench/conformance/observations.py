"""Data for the checks: small models before and after a scheme fills them, and repeated draws of their weights."""

import contextlib
import math
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from initbench.conformance.small_models import SMALL_MODELS, SmallModel
from initbench.core import usercode
from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.layers import Layer, weighted_layers
from initbench.schemes import Assignment, Sample, assign, fill_scheme, parse_scheme

Outcome = Literal["PASS", "FAIL", "SKIP"]
PASS: Final = "PASS"  # noqa: S105 - no password
FAIL: Final = "FAIL"
SKIP: Final = "SKIP"
ERRORS = 7.0  # standard errors; a larger deviation has a chance below 1 in a million with 23 degrees of freedom
SLACK = 1e-3  # relative; float32 rounding of values that are exact in theory (orthogonal matrices)

Finding = tuple[Outcome, str]  # the outcome of a check, and what it saw or why it was skipped

DRAWS = 24  # per model, to estimate the sampling error of a variance
LEAST_ENTRIES = 4096  # per tensor over all draws; with fewer, a distribution with rare large entries may show none
PRIORS = 0.25, -0.75  # the weights before two fills with one seed; an entry that keeps both was not filled


@dataclass(frozen=True)
class Subject:
    """The scheme under test.

    `fill(model, seed, sample)` fills a model in place. `declare(model)` returns the tensors that it fills, with the
    rule and so the distribution of each. A `procedure` may use the whole model and data, so its weights have no
    declared distribution; instead it may declare the variance of every layer's output.
    """

    name: str
    fill: Callable[[nn.Module, int, Sample], object]
    declare: Callable[[nn.Module], Sequence[Assignment]]
    procedure: bool = False
    output_variance: float | None = None


@dataclass(frozen=True)
class State:
    """Everything about a model and the process that a fill could change."""

    values: dict[str, Tensor]
    forms: dict[str, tuple[object, ...]]
    surroundings: dict[str, object]
    process: dict[str, object]


@dataclass(frozen=True)
class Case:
    """One small model filled with seed 0, again with seed 0 from other initial values, and with seed 1."""

    model: SmallModel
    assignments: tuple[Assignment, ...]
    before: State
    after: State
    again: dict[str, Tensor]
    other: dict[str, Tensor]
    files: tuple[str, ...]
    warned: tuple[str, ...]

    def label(self, name: str) -> str:
        """Return the name of a tensor for a message."""
        return f"{name} of '{self.model.name}'"


@dataclass(frozen=True)
class TensorDraws:
    """The mean of one tensor, and its second moment about the declared mean, for each of `DRAWS` seeds."""

    case: Case
    item: Assignment
    means: Tensor
    moments: Tensor

    @property
    def variance(self) -> float:
        """The declared variance of this tensor; nan if its entries differ in distribution."""
        assert self.item.rule.variance is not None, "a variance is declared"
        return self.item.rule.variance(self.item.layer)

    @property
    def gains(self) -> Tensor:
        """The factor from the mean square of white inputs to that of outputs, for each draw."""
        mean = self.item.rule.mean
        return self.item.layer.fan_in * (self.moments + 2 * mean * self.means - mean**2)

    @property
    def gain(self) -> float:
        """The declared factor from the mean square of white inputs to that of outputs.

        A kernel whose entries differ in distribution is zero outside its centre, which is drawn as a Linear weight.
        """
        layer, rule = self.item.layer, self.item.rule
        assert rule.variance is not None, "a variance is declared"
        if not math.isnan(self.variance):
            return layer.fan_in * (self.variance + rule.mean**2)
        return layer.block[1] * (rule.variance(replace(layer, block=layer.block[:2])) + rule.mean**2)


@dataclass
class Observations:
    """The input of all checks: the models that were filled, those refused and why, and the errors raised, by model."""

    subject: Subject
    cases: list[Case] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    raised: dict[str, str] = field(default_factory=dict)

    @cached_property
    def tensor_draws(self) -> "list[TensorDraws]":
        """The draws of every tensor that declares a variance and has enough entries."""
        return [draws for case in self.cases for draws in _tensor_draws(self.subject, case)]


def subject_of(text: str) -> Subject:
    """Return the subject for the text of a scheme."""
    scheme = parse_scheme(text)

    def declare(model: nn.Module) -> list[Assignment]:
        return assign(scheme, weighted_layers(model))

    def fill(model: nn.Module, seed: int, sample: Sample) -> None:
        fill_scheme(model, scheme, declare(model), seed, sample)

    return Subject(str(scheme), fill, declare, procedure=scheme.procedure is not None)


def observe(subject: Subject) -> Observations:
    """Fill every small model with the scheme."""
    observations = Observations(subject)
    for small_model in SMALL_MODELS:
        try:
            observations.cases.append(_case(subject, small_model))
        except UsageError as error:
            observations.refusals[small_model.name] = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a scheme raises is a finding
            observations.raised[small_model.name] = usercode.describe_error(error)
    return observations


def filled_model(
    subject: Subject,
    small_model: SmallModel,
    seed: int,
    *,
    prior: float = PRIORS[0],
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> nn.Module:
    """Build a model, set the tensors to be filled to `prior`, and fill it."""
    model = small_model.build().to(device, dtype)
    _occupy(model, subject.declare(model), prior)
    subject.fill(model, seed, small_model.sample())
    return model


def values_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a CPU copy of every parameter and buffer by name; nan for tensors on the meta device."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: _value(tensor) for name, tensor in named}


def filled_tensors(observations: Observations) -> Iterator[tuple[Case, Assignment]]:
    """Yield every tensor filled in any model."""
    return ((case, item) for case in observations.cases for item in case.assignments)


def declared_variance(item: Assignment) -> float:
    """Return the variance declared for a tensor; nan if there is none."""
    if item.adjusted or item.rule.variance is None:
        return math.nan
    return item.rule.variance(item.layer)


def is_drawn(item: Assignment) -> bool:
    """Return whether the values of a tensor should depend on the seed."""
    return not item.rule.deterministic and declared_variance(item) != 0


def blocks_of(layer: Layer, weight: Tensor) -> list[Tensor]:
    """Return the block (out, in, *kernel) of each group of a weight."""
    blocks = weight.chunk(layer.groups)
    return [block.transpose(0, 1) for block in blocks] if layer.transposed else list(blocks)


def gap(one: Tensor, other: Tensor) -> float:
    """Return the largest absolute difference of two tensors."""
    return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0


def _case(subject: Subject, small_model: SmallModel) -> Case:
    model, sample = small_model.build(), small_model.sample()
    assignments = tuple(subject.declare(model))
    _occupy(model, assignments, PRIORS[0])
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    model.register_forward_hook(lambda *_: None)
    before = _state(model)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        warnings.catch_warnings(record=True) as heard,
    ):
        warnings.simplefilter("always")
        subject.fill(model, 0, sample)
        files = tuple(sorted(path.name for path in Path(folder).iterdir()))
    after = _state(model)
    # From other initial values and global states, one seed must still give the same weights.
    _seed_everything(1)
    again = values_of(filled_model(subject, small_model, seed=0, prior=PRIORS[1]))
    other = values_of(filled_model(subject, small_model, seed=1))
    warned = tuple(str(warning.message) for warning in heard if issubclass(warning.category, InitbenchWarning))
    return Case(small_model, assignments, before, after, again, other, files, warned)


@torch.no_grad()
def _occupy(model: nn.Module, assignments: Sequence[Assignment], value: float) -> None:
    """Set every tensor that the scheme will fill to `value`."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for item in assignments:
        parameters[item.parameter].fill_(value)


def _value(tensor: Tensor) -> Tensor:
    if tensor.is_meta:
        return torch.full(tensor.shape, math.nan)
    return tensor.detach().cpu().clone()


def _state(model: nn.Module) -> State:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    forms: dict[str, tuple[object, ...]] = {
        name: (id(p), p.shape, p.dtype, p.device, p.requires_grad) for name, p in parameters.items()
    }
    for name, buffer in model.named_buffers(remove_duplicate=False):
        forms[name] = (name, buffer.shape, buffer.dtype, buffer.device, "buffer")
    surroundings: dict[str, object] = {}
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        surroundings[f"{prefix}training"] = module.training
        surroundings[f"the attributes of {name or 'the model'}"] = frozenset(vars(module))
        surroundings |= {
            f"{prefix}{word}": tuple(hooks) for word, hooks in vars(module).items() if word.endswith("_hooks")
        }
    for name, parameter in parameters.items():
        grad = parameter.grad
        surroundings[f"{name}.grad"] = None if grad is None else f"{float(_value(grad).double().mean()):g} on average"
    return State(values_of(model), forms, surroundings, _process())


def _process() -> dict[str, object]:
    _, keys, *rest = _numpy_state()
    return {
        "the state of torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "the state of numpy's global generator": (keys.tobytes(), *rest),
        "the state of the module random": random.getstate(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's thread count": torch.get_num_threads(),
        "whether gradients are recorded": torch.is_grad_enabled(),
    }


def _numpy_state() -> Any:  # noqa: ANN401 - numpy's tuple of words and numbers
    return np.random.get_state()  # noqa: NPY002 - the global generator is under test


def _seed_everything(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - likewise
    random.seed(seed)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Restore the process state that a scheme may change: generators, default dtype, threads."""
    numpy_state = _numpy_state()
    states = torch.get_rng_state(), random.getstate()
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    try:
        with torch.enable_grad():
            yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(numpy_state)  # noqa: NPY002 - likewise
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)


def _tensor_draws(subject: Subject, case: Case) -> Iterator[TensorDraws]:
    judged = [
        item
        for item in case.assignments
        if not item.adjusted
        and item.rule.variance is not None
        and case.after.values[item.parameter].numel() * DRAWS >= LEAST_ENTRIES
    ]
    if not judged:
        return
    draws = [values_of(filled_model(subject, case.model, seed)) for seed in range(DRAWS)]
    for item in judged:
        entries = torch.stack([draw[item.parameter].flatten().double() for draw in draws])
        yield TensorDraws(case, item, entries.mean(dim=1), (entries - item.rule.mean).square().mean(dim=1))


def finding(faults: list[str], fine: str) -> Finding:
    """Return FAIL with the first fault and the number of others, or PASS with `fine` if there is none."""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return (FAIL, faults[0] + more) if faults else (PASS, fine)


def with_widths(case: Case, item: Assignment) -> str:
    """Return the name of a weight with its numbers of inputs and outputs, for a message."""
    outputs, inputs, *kernel = item.layer.block
    size = f", {'×'.join(map(str, kernel))}" if kernel else ""
    return f"{case.label(item.parameter)} ({inputs} → {outputs}{size})"


def why_no_variance(observations: Observations) -> str:
    """Return why no variance can be compared."""
    if observations.subject.procedure:
        return "a procedure adjusts the weights and declares no distribution of their entries"
    return "declares no variance, because its entries do not share one distribution"
