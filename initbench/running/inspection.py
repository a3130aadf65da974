"""From flags to an inspection: its models, batch and schemes are checked, then every network is observed."""

import hashlib
import itertools
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from initbench import datasets
from initbench.analysis.step_zero.inspection import Observed, same_for_every_seed
from initbench.core.forked import can_fork, forked
from initbench.core.machine import cores
from initbench.core.randomness import one_thread
from initbench.core.spec import is_reference
from initbench.core.text import printable
from initbench.core.usercode import user_errors
from initbench.errors import ConfigurationError, InitbenchWarning, UsageError
from initbench.inspected import Inspected
from initbench.networks.blocks import draws
from initbench.networks.copies import NotCopiedError, copied, private
from initbench.networks.inputs import Given, inputs_and_labels, with_shapes
from initbench.networks.layers import Layer, weighted_layers
from initbench.networks.models import MODELS, build_model
from initbench.networks.wrappers import unwrapped
from initbench.records.manifest import refuse_foreign, write_stamp
from initbench.records.recipe import AS_BUILT
from initbench.running.asked import STAMP_FILE, checked_seeds, scanned
from initbench.running.inspection_batch import made_up, taken_from
from initbench.running.trying import check_logits
from initbench.running.workers import processes
from initbench.schemes import SCHEMES, Sample, fill_scheme, notices_of, parse_scheme, planned
from initbench.schemes.fans import fans_notice
from initbench.schemes.functions import scheme_text
from initbench.signals import Batch, Series, observe, weight_moments
from initbench.signals.propagation import WeightMoments

PATIENCE = 3.0  # seconds: about twice what it takes to start another process
FORK_PATIENCE = 0.1  # seconds: several times what a fork takes

Cell = tuple[str, str, int]  # model, scheme, seed
Submit = Callable[[Cell], "Future[tuple[Observed, list[str]]]"]
Build = Callable[[int], nn.Module]


@dataclass(frozen=True)
class InspectionPlan:
    """What is inspected: models by text, schemes in canonical form, seeds, the batch and its description.

    `rebuild` makes the same plan in another process, None where that is not possible: models and batches are not sent,
    their names are.
    """

    models: tuple[str, ...]
    builds: dict[str, Build]
    schemes: tuple[str, ...]
    seeds: tuple[int, ...]
    batch: Batch
    source: str
    notices: tuple[str, ...] = ()
    axis: str = ""
    places: dict[str, int] | None = None
    rebuild: "partial[InspectionPlan] | None" = None

    @cached_property
    def first(self) -> dict[str, nn.Module]:
        """One model per text, to be filled repeatedly: a copy if possible, since a builder may keep its own."""
        return {text: _apart(build(0)) for text, build in self.builds.items()}

    @cached_property
    def layers(self) -> dict[str, list[Layer]]:
        """The layers of each model that was filled, in the order in which the batch passes through them."""
        return {}

    @property
    def built_in(self) -> bool:
        """Whether no model is the user's own code."""
        return self.rebuild is not None and not any(map(is_reference, self.models))

    @cached_property
    def series(self) -> dict[object, Series]:
        """The networks in progress: the seeds of a scheme, which differ in their weights alone."""
        return {}

    def series_of(self, text: str, laws: Mapping[str, WeightMoments]) -> Series:
        """Return what observes the seeds of a scheme in a built-in model."""
        key = (text, *laws.items())
        if key not in self.series:
            self.series.clear()
            self.series[key] = Series(self.batch, laws)
        return self.series[key]

    def layers_of(self, text: str) -> list[Layer]:
        """Return the layers of a model in the order of execution."""
        if text not in self.layers:
            with one_thread():  # another thread would keep this process from being forked
                self.layers[text] = weighted_layers(self.first[text], self.batch.inputs)
        return self.layers[text]


def inspect(
    model: nn.Module,
    batch: Given,
    labels: Tensor | None = None,
    *,
    schemes: str | Callable[..., object] | Sequence[str | Callable[..., object]] | None = None,
    seeds: int | Sequence[int] = 5,
) -> Inspected:
    """Return what signal and gradient do in a model before any training, by layer, scheme and seed.

    The model is left unchanged: weights, buffers, gradients, training mode, hooks and random state.

    Args:
        model: any module that maps the batch to one tensor (the first, where it returns several).
        batch: its inputs, (n, …), one tensor, a tuple of them or a mapping by name; n of 16 or more. (x, y) of a data
            loader is inputs with labels.
        labels: (n,) class indices; by default random ones, or the gradient of a random functional where outputs are
            not logits.
        schemes: filled into copies of the model, for example ["kaiming_uniform", "orthogonal"]; by default, the
            model's own weights are inspected.
        seeds: a count or a list, of the draws of each scheme.

    Returns:
        What was found, which a notebook shows: `.answer` in one sentence; `.verdicts`, one row per scheme;
        `.verdicts_full`, one row per check with its remedy; `.layers`, one row per layer, scheme and seed with the
        columns of `record.LayerStatistics`, predictions missing where no closed form is known; `.networks`. All tables
        are DataFrames.

    Raises:
        UsageError: an unknown scheme, or a model that does not take the batch or has nothing to inspect.
        ConfigurationError: a scheme of your own raises; the message quotes the line.

    >>> import torch
    >>> found = inspect(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)), torch.ones(16, 4))
    >>> list(found.layers["layer"])
    ['0', '1']
    """
    inputs, labels = inputs_and_labels(model, batch, labels)
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in model.parameters()):
        model = with_shapes(copied(model), inputs)
    listed = schemes if isinstance(schemes, Sequence) and not isinstance(schemes, str) else (schemes or AS_BUILT,)
    plan = InspectionPlan(
        models=(type(unwrapped(model)).__name__,),
        builds={type(unwrapped(model)).__name__: lambda _seed: model},
        schemes=tuple(_canonical(scheme_text(scheme, here=True)) for scheme in listed),
        seeds=(0,) if schemes is None else checked_seeds(seeds),
        batch=(given := Batch(inputs, labels)),
        source=f"{given.size} inputs",
    )
    inspection = run_inspection("inspect", plan)
    unfit = [f"{check.figure}: {check.remedy}." for check in inspection.logits.values()]
    for notice in (*inspection.notices, *unfit):
        warnings.warn(notice, InitbenchWarning, stacklevel=2)
    return inspection


def plan_inspection(
    model: str,
    schemes: Sequence[str],
    seeds: int | Sequence[int],
    *,
    dataset: str | None = None,
    data_dir: Path | None = None,
    inputs: Sequence[str] = (),
) -> InspectionPlan:
    """Check what was typed and return what is to be inspected.

    Args:
        model: a built-in model, `mlp(depth=2..100)` for a scan, or the user's own `file.py:build`.
        schemes: their texts; `as_built` stands for the weights that the model is built with.
        seeds: a count or a list.
        dataset: whose training images are the batch; by default digits, unless
        inputs: give its shape: "3x32x32" for standard normal images, "16:1000" for 16 tokens below 1000.
        data_dir: where datasets lie.

    Raises:
        UsageError: an invalid name, shape or number.
        DataError: a dataset that is not available.
    """
    seeds = checked_seeds(seeds)
    if inputs and dataset:
        raise UsageError(f"Give either --input or the dataset '{dataset}': a batch has one source.")
    images = None if inputs else datasets.prepare(dataset or "digits", data_dir)
    batch, source, shape, classes = made_up(inputs) if images is None else taken_from(images)
    axis, places = scanned(model)
    builds = {text: _build(text, shape, classes, batch.inputs) for text in places}
    named = {str(MODELS.resolve(text)): build for text, build in builds.items()}
    return InspectionPlan(
        models=tuple(named),
        builds=named,
        schemes=tuple(dict.fromkeys(map(_canonical, schemes))),
        seeds=seeds,
        batch=batch,
        source=source,
        notices=tuple(f"{printable(images.name)}: {notice}" for notice in images.notices) if images else (),
        axis=axis,
        places=dict(zip(named, places.values(), strict=True)) if axis else None,
        rebuild=partial(
            plan_inspection, model, tuple(schemes), seeds, dataset=dataset, data_dir=data_dir, inputs=tuple(inputs)
        ),
    )


def run_inspection(
    name: str, plan: InspectionPlan, report: Callable[[str], object] = lambda _text: None, command: str = ""
) -> Inspected:
    """Inspect every model, scheme and seed; `report` is called with each before it is inspected.

    Raises:
        UsageError: a model that cannot be inspected, or a scheme that does not fit it.
        ConfigurationError: the user's own code raises, or ends the process it runs in.
    """
    observed, notices = [], list(plan.notices)
    for seen, noticed in _inspect_all(plan, list(itertools.product(plan.models, plan.schemes, plan.seeds)), report):
        observed.append(seen)
        notices += noticed
    notices += same_for_every_seed(observed)
    return Inspected(
        name=name,
        source=plan.source,
        schemes=plan.schemes,
        models=plan.models,
        observed=tuple(observed),
        axis=plan.axis,
        places=plan.places,
        command=command,
        notices=tuple(dict.fromkeys(notices)),
    )


def inspection_folder(out: Path, plan: InspectionPlan, name: str | None = None) -> Path:
    """Return the inspection's folder, `inspect-<digest>` unless it is named; nothing is written yet.

    Raises:
        ConfigurationError: the folder holds something else.
    """
    digest = hashlib.sha256(json.dumps(_identity(plan)).encode()).hexdigest()[:8]
    folder = out / (name or f"inspect-{digest}")
    refuse_foreign(folder, STAMP_FILE)
    return folder


def stamp_inspection(folder: Path, plan: InspectionPlan) -> None:
    """Write into the inspection's folder what is inspected.

    Raises:
        ConfigurationError: the folder holds something else, or cannot be written.
    """
    write_stamp(folder, STAMP_FILE, {"schema": 1, **_identity(plan)})


def _inspect_all(
    plan: InspectionPlan, cells: Sequence[Cell], report: Callable[[str], object]
) -> Iterator[tuple[Observed, list[str]]]:
    """Inspect one cell after the other, and once it shows that other processes would be faster, there as well."""
    left = 0.0  # seconds, as the last cell took
    for done, cell in enumerate(cells):
        with _helpers(plan, cells[done:], left, warm=done > 1) as submit:
            if submit is not None:
                yield from _inspect_in_parallel(submit, plan, cells[done:], report)
                return
        report(f"{cell[0]}: {cell[1]}")
        began = time.monotonic()
        yield _inspect_cell(plan, *cell)
        left = (time.monotonic() - began) * (len(cells) - done - 1)


@contextmanager
def _helpers(plan: InspectionPlan, cells: Sequence[Cell], left: float, *, warm: bool) -> Iterator[Submit | None]:
    """Yield what has a cell inspected by another process, None where starting one would take longer than it saves.

    The first cell of a process is slow: it loads what torch loads when it is first used.
    """
    if plan.rebuild is None:
        yield None
    elif left > FORK_PATIENCE and plan.built_in and can_fork():
        with forked(max(1, min(cores() - 1, len(cells) // 4)), _held.append, plan) as copies:
            yield lambda cell: copies.submit(_inspect_held, cell)
    elif left > PATIENCE and warm:
        key = plan.rebuild.args, tuple(sorted(plan.rebuild.keywords.items()))
        with processes(max(1, cores() - 1)) as workers:
            yield lambda cell: workers.executor.submit(_inspect_in_worker, *key, cell)
    else:
        yield None


def _inspect_in_parallel(
    submit: Submit, plan: InspectionPlan, cells: Sequence[Cell], report: Callable[[str], object]
) -> Iterator[tuple[Observed, list[str]]]:
    """Inspect from the front while other processes, once they have started, inspect from the back."""
    futures = [submit(cell) for cell in reversed(cells)]
    for cell, future in zip(cells, reversed(futures), strict=True):
        report(f"{cell[0]}: {cell[1]}")
        try:
            yield _inspect_cell(plan, *cell) if future.cancel() else future.result()
        except BrokenProcessPool:
            raise ConfigurationError(f"The process that inspected {cell[0]} with {cell[1]} died.") from None


def _inspect_held(cell: Cell) -> tuple[Observed, list[str]]:
    return _inspect_cell(_held[0], *cell)


def _inspect_in_worker(
    args: tuple[Any, ...], keywords: tuple[tuple[str, Any], ...], cell: Cell
) -> tuple[Observed, list[str]]:
    return _inspect_cell(_rebuilt(args, keywords), *cell)


@lru_cache(maxsize=1)  # a process inspects many cells of one plan
def _rebuilt(args: tuple[Any, ...], keywords: tuple[tuple[str, Any], ...]) -> InspectionPlan:
    return plan_inspection(*args, **dict(keywords))


def _identity(plan: InspectionPlan) -> dict[str, Any]:
    return {
        "models": plan.models,
        "schemes": plan.schemes,
        "seeds": plan.seeds,
        "source": plan.source,
        "axis": plan.axis,
    }


_held: list[InspectionPlan] = []  # by a copy of this process


def _inspect_cell(plan: InspectionPlan, text: str, scheme: str, seed: int) -> tuple[Observed, list[str]]:
    if scheme == AS_BUILT:
        with private(unwrapped(plan.builds[text](seed))) as model, one_thread():
            return _observed(plan, model, (text, scheme, seed), weight_moments(model, [])), []
    parsed = parse_scheme(scheme)
    with private(plan.first[text]) as model:  # a scheme may set more than the next one does
        assignments = planned(model, parsed, plan.layers_of(text))
        own = any(name not in SCHEMES for name in parsed.names)
        with user_errors(scheme, "raised") if own else nullcontext():
            filled = fill_scheme(model, parsed, assignments, seed, Sample(plan.batch.inputs, plan.batch.labels))
        with one_thread():
            laws = weight_moments(model, assignments, filled.factors)
            observed = _observed(plan, model, (text, scheme, seed), laws)
        notices = [f"{text}: {notice}" for notice in notices_of(model, parsed, assignments)]
        drawn = [(item.layer, item.rule) for item in assignments if not (item.is_bias or item.adjusted)]
        if fans := fans_notice(scheme, drawn):
            notices.append(f"{text}: {fans}")
    return observed, notices


def _observed(plan: InspectionPlan, model: nn.Module, cell: Cell, laws: Mapping[str, WeightMoments]) -> Observed:
    """Measure a private model; what its outputs are is checked once, as no scheme changes that."""
    text, scheme, seed = cell
    if seed == plan.seeds[0] or not plan.built_in or draws(model):  # of the first seed also histograms are kept
        step_zero = observe(model, plan.batch, laws, seed=seed, histograms=seed == plan.seeds[0], own=True)
    else:
        step_zero = plan.series_of(text, laws).observe(model.train())
    once = (scheme, seed) == (plan.schemes[0], plan.seeds[0])
    return Observed(*cell, step_zero, check_logits(model, plan.batch) if once else None)


def _apart(model: nn.Module) -> nn.Module:
    try:
        return copied(unwrapped(model))
    except NotCopiedError:
        return unwrapped(model)


def _canonical(scheme: str) -> str:
    return scheme if scheme == AS_BUILT else str(parse_scheme(scheme))


def _build(text: str, shape: tuple[int, int, int] | None, classes: int, inputs: tuple[Tensor, ...]) -> Build:
    if shape is None and not is_reference(text):
        raise UsageError(
            f"The model '{text}' takes images: give --input as channels×height×width, for example 3x32x32."
        )
    MODELS.resolve(text)
    return lambda seed: with_shapes(build_model(text, shape, classes, seed=seed), inputs)
