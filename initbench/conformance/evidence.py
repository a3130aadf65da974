"""What the checks look at: small models before and after a scheme has filled them, and many draws of their weights."""

import contextlib
import math
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from initbench.conformance.specimens import SPECIMENS, Specimen
from initbench.core import usercode
from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.layers import Layer, weighted_layers
from initbench.schemes import Assignment, Sample, assign, fill_scheme, parse_scheme

DRAWS = 24  # of each model, from which the sampling error of a variance is known
LEAST_ENTRIES = 4096  # of a tensor in all its draws; of fewer, a law with rare large entries may show none
PRIORS = 0.25, -0.75  # what the weights hold before two fills of one seed: what keeps both was not filled


@dataclass(frozen=True)
class Subject:
    """What is held against the suite.

    `fill(model, seed, sample)` fills a model in place. `declare(model)` says which tensors it fills, and by which rule
    and so which law. A `procedure` may look at the model and at data, so its weights have no law of their own; it may
    declare the variance that every layer's output has afterwards.
    """

    name: str
    fill: Callable[[nn.Module, int, Sample], object]
    declare: Callable[[nn.Module], Sequence[Assignment]]
    procedure: bool = False
    output_variance: float | None = None


@dataclass(frozen=True)
class State:
    """Everything about a model that a fill could change."""

    values: dict[str, Tensor]
    forms: dict[str, tuple[object, ...]]
    surroundings: dict[str, object]
    process: dict[str, object]


@dataclass(frozen=True)
class Case:
    """One model and what came of filling it: with seed 0, with seed 0 from other values, and with seed 1."""

    specimen: Specimen
    assignments: tuple[Assignment, ...]
    before: State
    after: State
    again: dict[str, Tensor]
    other: dict[str, Tensor]
    files: tuple[str, ...]
    warned: tuple[str, ...]

    def at(self, name: str) -> str:
        """Name a tensor for a sentence."""
        return f"{name} of '{self.specimen.name}'"


@dataclass(frozen=True)
class Law:
    """One tensor over many seeds: of each draw the mean, and the second moment about the declared mean."""

    case: Case
    item: Assignment
    means: Tensor
    moments: Tensor

    @property
    def variance(self) -> float:
        """What the rule declares for this tensor: nan where its entries have no one law."""
        assert self.item.rule.variance is not None, "a law is declared"
        return self.item.rule.variance(self.item.layer.block)

    @property
    def gains(self) -> Tensor:
        """By what the mean square is multiplied from white inputs to outputs, in each draw."""
        mean = self.item.rule.mean
        return self.item.layer.fan_in * (self.moments + 2 * mean * self.means - mean**2)

    @property
    def gain(self) -> float:
        """By what the mean square is multiplied from white inputs to outputs, as declared.

        A kernel whose entries have no one law is all centre, and its centre has that of a Linear layer.
        """
        layer, rule = self.item.layer, self.item.rule
        assert rule.variance is not None, "a law is declared"
        if not math.isnan(self.variance):
            return layer.fan_in * (self.variance + rule.mean**2)
        return layer.block[1] * (rule.variance(layer.block[:2]) + rule.mean**2)


@dataclass
class Evidence:
    """All that the checks look at: the models that could be filled, what was refused, and what was raised."""

    subject: Subject
    cases: list[Case] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    raised: dict[str, str] = field(default_factory=dict)

    @cached_property
    def laws(self) -> "list[Law]":
        """The moments of every tensor whose law is declared and that has entries enough, over `DRAWS` seeds."""
        return [law for case in self.cases for law in _laws(self.subject, case)]


def subject_of(text: str) -> Subject:
    """Make a subject of a scheme's text, in the full grammar."""
    scheme = parse_scheme(text)

    def declare(model: nn.Module) -> list[Assignment]:
        return assign(scheme, weighted_layers(model))

    def fill(model: nn.Module, seed: int, sample: Sample) -> None:
        fill_scheme(model, scheme, declare(model), seed, sample)

    return Subject(str(scheme), fill, declare, procedure=scheme.procedure is not None)


def gather(subject: Subject) -> Evidence:
    """Fill every model and note what there is to see."""
    evidence = Evidence(subject)
    for specimen in SPECIMENS:
        try:
            evidence.cases.append(_case(subject, specimen))
        except UsageError as error:
            evidence.refusals[specimen.name] = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a scheme raises is what is to be told
            evidence.raised[specimen.name] = usercode.describe_error(error)
    return evidence


def filled_model(
    subject: Subject,
    specimen: Specimen,
    seed: int,
    *,
    prior: float = PRIORS[0],
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> nn.Module:
    """Build a model, occupy what is to be filled with `prior`, and fill it."""
    model = specimen.build().to(device, dtype)
    _occupy(model, subject.declare(model), prior)
    subject.fill(model, seed, specimen.sample())
    return model


def values_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of every parameter and buffer, on the CPU; of what holds no data, nan."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: _value(tensor) for name, tensor in named}


def filled(evidence: Evidence) -> Iterator[tuple[Case, Assignment]]:
    """Go through every tensor that is filled in any model."""
    return ((case, item) for case in evidence.cases for item in case.assignments)


def declared_variance(item: Assignment) -> float:
    """The variance that is declared for a tensor; nan where none is."""
    if item.adjusted or item.rule.variance is None:
        return math.nan
    return item.rule.variance(item.layer.block)


def is_drawn(item: Assignment) -> bool:
    """Whether the values of a tensor are said to depend on the seed."""
    return not item.rule.deterministic and declared_variance(item) != 0


def blocks_of(layer: Layer, weight: Tensor) -> list[Tensor]:
    """Return the block (out, in, *kernel) of each group of a weight."""
    blocks = weight.chunk(layer.groups)
    return [block.transpose(0, 1) for block in blocks] if layer.transposed else list(blocks)


def gap(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two tensors."""
    return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0


def _case(subject: Subject, specimen: Specimen) -> Case:
    model, sample = specimen.build(), specimen.sample()
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
    # Another start, and other global states: one seed is to give the same weights still.
    _seed_everything(1)
    again = values_of(filled_model(subject, specimen, seed=0, prior=PRIORS[1]))
    other = values_of(filled_model(subject, specimen, seed=1))
    warned = tuple(str(warning.message) for warning in heard if issubclass(warning.category, InitbenchWarning))
    return Case(specimen, assignments, before, after, again, other, files, warned)


@torch.no_grad()
def _occupy(model: nn.Module, assignments: Sequence[Assignment], value: float) -> None:
    """Put a value where the scheme is to fill."""
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
    return np.random.get_state()  # noqa: NPY002 - the global generator is what is watched


def _seed_everything(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - likewise
    random.seed(seed)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Leave the process as it was, whatever the scheme does to it."""
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


def _laws(subject: Subject, case: Case) -> Iterator[Law]:
    judged = [
        item
        for item in case.assignments
        if not item.adjusted
        and item.rule.variance is not None
        and case.after.values[item.parameter].numel() * DRAWS >= LEAST_ENTRIES
    ]
    if not judged:
        return
    draws = [values_of(filled_model(subject, case.specimen, seed)) for seed in range(DRAWS)]
    for item in judged:
        entries = torch.stack([draw[item.parameter].flatten().double() for draw in draws])
        yield Law(case, item, entries.mean(dim=1), (entries - item.rule.mean).square().mean(dim=1))


Outcome = Literal["PASS", "FAIL", "SKIP"]
PASS: Final = "PASS"  # noqa: S105 - no password
FAIL: Final = "FAIL"
SKIP: Final = "SKIP"
ERRORS = 7.0  # so many standard errors are no accident: below 1 in a million with 23 degrees of freedom
SLACK = 1e-3  # relative, for float32 sums of what is exact (orthogonal matrices)

Found = tuple[Outcome, str]  # how a check ended, and what was seen, or why nothing was looked at


def found(faults: list[str], fine: str) -> Found:
    """Make a finding of faults, the first in words, or of what was fine."""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return (FAIL, faults[0] + more) if faults else (PASS, fine)


def with_widths(case: Case, item: Assignment) -> str:
    """Name a weight with what it maps to what."""
    outputs, inputs, *kernel = item.layer.block
    size = f", {'×'.join(map(str, kernel))}" if kernel else ""
    return f"{case.at(item.parameter)} ({inputs} → {outputs}{size})"


def no_law(evidence: Evidence) -> str:
    """Say why there is no law to compare with."""
    if evidence.subject.procedure:
        return "a procedure adjusts the weights, and declares no law of their entries"
    return "declares no variance of its entries, for they are no draws of one law"
