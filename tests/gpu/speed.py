"""Seconds of a step of many trials at once, against the floors and against other ways to train them.

A step includes its batch. Every contender trains the same networks; rounds are interleaved, and medians are stated.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from initbench import datasets
from initbench.datasets import Dataset
from initbench.datasets.batches import Split, resident
from initbench.networks.models import build_model
from initbench.records.recipe import Trial
from initbench.records.record import EARLY_STEPS
from initbench.training import convolutional, cuda
from initbench.training.autograd import Autograd
from initbench.training.choice import choose, group_trials
from initbench.training.engine import Trainer
from initbench.training.environment import reproducible
from initbench.training.grouped import Grouped
from initbench.training.stacked import Stacked
from initbench.training.stepwise import Stepwise
from tests.gpu import jax_form
from tests.gpu.finding import Finding, Setting
from tests.gpu.machine import Rates, rates, wait

Advance = Callable[[int], None]  # take so many steps
ROUNDS, STEPS = 3, 100
OPENED = 2  # groups
WITH_JAX = 40  # trials at once: its compilation takes seconds


@dataclass(frozen=True)
class Workload:
    """What is trained; `counts` are the numbers of trials at once."""

    title: str
    model: str
    data: str
    lr: float
    counts: tuple[int, ...] = (1, 8, 40, 320)
    batch: int = 128


WORKLOADS = {
    "A": Workload("MNIST shapes, 784-256-256-10", "mlp(depth=2, width=256)", "mnist", 0.02),
    "C": Workload("MNIST shapes, 30 layers of width 64", "mlp(depth=29, width=64)", "mnist", 0.0003),
    "B": Workload("CIFAR-10 shapes, 4 convolutions of 32", "cnn(depth=4, width=32)", "cifar10", 0.005),
}
SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}


def run(setting: Setting) -> Iterator[Finding]:
    """See `finding.Part`."""
    with tempfile.TemporaryDirectory() as folder:
        for letter, workload in WORKLOADS.items():
            if setting.quick and letter == "B":
                yield Finding("B", "skipped", "the rehearsal leaves convolutions out: 150 s on two cores")
                continue
            dataset = made(workload.data, Path(folder), 600 if setting.quick else 25_600)
            with reproducible(setting.device), cuda.side_stream(setting.device):
                yield from _measured(letter, workload, dataset, setting)


def made(kind: str, folder: Path, count: int) -> Dataset:
    """Write images of a dataset's shape: seconds of a step do not depend on what they show."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, size in (("train", count), ("test", 256)):
        arrays[f"x_{split}"] = rng.integers(0, 256, size=(size, *SHAPES[kind]), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(size) % 10
    path = folder / f"made_{kind}.npz"
    np.savez(path, **arrays)
    return datasets.prepare(str(path))


def trials_of(workload: Workload, dataset: Dataset, count: int, device: str) -> list[Trial]:
    """Return `count` trials of one seed of data order each five schemes share, as in a comparison."""
    return [
        Trial(
            model=workload.model, dataset=dataset.name, fingerprint=dataset.fingerprint, scheme="kaiming_uniform",
            optimizer="sgd", lr=workload.lr, batch_size=workload.batch, steps=4000, seed=seed, device=device,
            order_seed=seed // 5,
        )
        for seed in range(count)
    ]  # fmt: skip


def _measured(letter: str, workload: Workload, dataset: Dataset, setting: Setting) -> Iterator[Finding]:
    split = resident(dataset, "train", setting.device)
    bare = rates(setting.device)
    counts, rounds, steps = (workload.counts, ROUNDS, STEPS) if not setting.quick else ((1, 3), 1, 2)
    singles = {"eager": eager(workload, dataset, split, setting.device)}
    if setting.on_gpu and not setting.quick:
        singles["torch.compile"] = compiled(workload, dataset, split, setting.device)
    alone = _medians(singles, setting.device, rounds, steps)
    for count in counts:
        trials = trials_of(workload, dataset, count, setting.device)
        contenders, groups, name = ours(trials, dataset, split)
        scale = groups / len(contenders)
        many: dict[str, Sequence[Advance]] = {"initbench": contenders}
        if letter != "B" and count == WITH_JAX and jax_form.installed():
            many["JAX"] = [jax_form.opened(_models(trials, dataset), trials, split, steps)]
        medians = {}
        for who, opened in many.items():
            each = _medians({str(i): advance for i, advance in enumerate(opened)}, setting.device, rounds, steps)
            medians[who] = sum(each.values()) * (scale if who == "initbench" else 1)
        nodes = round(_nodes(contenders, setting) * scale)
        floors = floors_of(workload, dataset, count, nodes, bare)
        floor = max(floors.values())
        values = {"count": count, **{f"{who} s": s for who, s in medians.items()}}
        values |= {f"{who} s": s * count for who, s in alone.items()} | {f"{k} floor s": v for k, v in floors.items()}
        others = {
            **{who: s for who, s in medians.items() if who != "initbench"},
            **{w: s * count for w, s in alone.items()},
        }
        ratios = ", ".join(f"{who} ×{seconds / medians['initbench']:.2f}" for who, seconds in others.items())
        which = max(floors, key=lambda key: floors[key])
        timed = f", {len(contenders)} of {groups} groups timed" if scale > 1 else ""
        seen = (
            f"a step of all takes {medians['initbench'] * 1e6:.0f} µs by {name}{timed}: "
            f"×{medians['initbench'] / floor:.2f} of its floor ({which}, {floor * 1e6:.0f} µs, {nodes} kernels); "
            f"{ratios}"
        )
        yield Finding(f"{letter}, {count} at once", "measured", seen, values)
        del contenders, many
        if setting.on_gpu:
            torch.cuda.empty_cache()
    if setting.on_gpu:
        yield (_forms if letter == "B" else _one_stack)(letter, workload, dataset, split, setting)


def _one_stack(letter: str, workload: Workload, dataset: Dataset, split: Split, setting: Setting) -> Finding:
    """Return what the largest stack costs a trial, for sizes around the one chosen."""
    each = {}
    for count, shared in ((32, True), (40, True), (40, False), (64, True), (128, True), (320, True)):
        trials = trials_of(workload, dataset, count, setting.device)
        trainer = Stepwise(Stacked, _models(trials, dataset), trials, split, shared=shared)
        found = _medians({"": _advance(trainer)}, setting.device, ROUNDS, STEPS)
        each[f"{count}" + ("" if shared else " with a batch each")] = found[""] / count
    seen = "µs a trial and step: " + ", ".join(f"{count} in a stack {s * 1e6:.2f}" for count, s in each.items())
    return Finding(f"{letter}, size of a stack", "measured", seen, each)


def _forms(letter: str, workload: Workload, dataset: Dataset, split: Split, setting: Setting) -> Finding:
    """Return what a trial of a group of 8 costs in each form, memory layout, and way of choosing algorithms."""
    each = {}
    trials = trials_of(workload, dataset, 8, setting.device)
    forms = {"in turn": convolutional.one_by_one, "streams": convolutional.streamed, "grouped": Grouped}
    layouts = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
    for (form, opened), (layout, memory), timed in product(forms.items(), layouts.items(), (False, True)):
        if form == "grouped" and layout == "NHWC":
            continue  # it stacks weights itself
        torch.backends.cudnn.benchmark = timed  # algorithms chosen by timing them; `reproducible` restores it
        models = [model.to(memory_format=memory) for model in _models(trials, dataset)]
        trainer = Stepwise(opened, models, trials, split, shared=True)
        label = f"{form} {layout}{' timed' if timed else ''}"
        each[label] = _medians({"": _advance(trainer)}, setting.device, ROUNDS, 20)[""] / len(trials)
        del trainer
    torch.backends.cudnn.benchmark = False
    seen = "µs a trial and step: " + ", ".join(f"{label} {s * 1e6:.0f}" for label, s in each.items())
    return Finding(f"{letter}, forms of a group", "measured", seen, each)


def _models(trials: Sequence[Trial], dataset: Dataset) -> list[nn.Module]:
    trial = trials[0]
    return [build_model(trial.model, dataset.shape, dataset.classes, seed=t.seed).to(trial.device) for t in trials]


def ours(trials: Sequence[Trial], dataset: Dataset, split: Split) -> tuple[list[Advance], int, str]:
    """Open the engine that a GPU's trials get: of many groups, all of a size, the first few. Return how many exist."""
    on_gpu = {trial.id: trial for trial in trials}
    marked = [trial.model_copy(update={"device": "cuda"}) for trial in trials]
    back = dict(zip([trial.id for trial in marked], on_gpu.values(), strict=True))
    groups = group_trials(marked, {dataset.fingerprint: dataset})
    opened = []
    for group in groups[:OPENED]:
        own = [back[trial.id] for trial in group]
        opened.append(choose(group[0], dataset).open(_models(own, dataset), own, split))
    return [_advance(trainer) for trainer in opened], len(groups), opened[0].name


def _advance(trainer: Trainer) -> Advance:
    done = 0

    def advance(steps: int) -> None:
        nonlocal done
        for _ in trainer.train(done, done + steps):
            pass
        done += steps

    advance(EARLY_STEPS + 3)  # those that keep gradients; then a graph is captured
    return advance


def eager(workload: Workload, dataset: Dataset, split: Split, device: str) -> Advance:
    """Open one trial in plain PyTorch, batch by batch."""
    trials = trials_of(workload, dataset, 1, device)
    return _plain(Autograd(_models(trials, dataset), trials).step, trials[0], split)


def compiled(workload: Workload, dataset: Dataset, split: Split, device: str) -> Advance:
    """Open one trial whose forward and backward pass torch.compile has compiled into CUDA graphs."""
    trials = trials_of(workload, dataset, 1, device)
    (model,) = _models(trials, dataset)
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.lr, fused=True)
    loss_of = torch.compile(lambda x, y: functional.cross_entropy(model(x), y), mode="reduce-overhead")

    def step(images: torch.Tensor, labels: torch.Tensor, *, gradients: bool) -> torch.Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        loss = loss_of(images[0], labels[0])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return _plain(step, trials[0], split)


def _plain(step: Callable[..., torch.Tensor], trial: Trial, split: Split) -> Advance:
    batches = split.batches([trial.seed], trial.batch_size, trial.steps)

    def advance(steps: int) -> None:
        for _ in range(steps):
            step(*next(batches), gradients=True)

    advance(5)
    return advance


def _medians(contenders: dict[str, Advance], device: str, rounds: int, steps: int) -> dict[str, float]:
    """Return each contender's median seconds of a step over interleaved rounds."""
    took: dict[str, list[float]] = {who: [] for who in contenders}
    for _ in range(rounds):
        for who, advance in contenders.items():
            wait(device)
            started = time.perf_counter()
            advance(steps)
            wait(device)
            took[who].append((time.perf_counter() - started) / steps)
    return {who: statistics.median(seconds) for who, seconds in took.items()}


def _nodes(contenders: Sequence[Advance], setting: Setting) -> int:
    """Return the number of kernels of a step of all groups."""
    if not setting.on_gpu:
        return 0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiled:
        for advance in contenders:
            advance(2)
        torch.cuda.synchronize()
    kernels = [event for event in profiled.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return len(kernels) // 2


def floors_of(workload: Workload, dataset: Dataset, count: int, nodes: int, bare: Rates) -> dict[str, float]:
    """Return the least seconds of a step by arithmetic, by memory and by launches.

    Memory: weights are read twice and updated (read and written); an activation and its gradient are each written once
    and read twice.
    """
    model = build_model(workload.model, dataset.shape, dataset.classes)
    images = torch.zeros(workload.batch, *dataset.shape)
    sizes: list[int] = []
    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _m, _i, output: sizes.append(output.nbytes))
    with FlopCounterMode(display=False) as counted:
        functional.cross_entropy(model(images), torch.zeros(workload.batch, dtype=torch.int64)).backward()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return {
        "arithmetic": count * counted.get_total_flops() / bare.float32,
        "memory": count * (4 * weights + 6 * sum(sizes)) / bare.copy,
        "launches": nodes * bare.node,
    }
