"""What all contenders share, so that it favours none: the job, the data, first weights, order of batches, evaluation.

A contender is run from `tests/benchmarks` as `python -m contenders.NAME job.json result.json`. A job holds trials; the
result holds, for each of them, what was done, what came of it and how many seconds its loop took.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import initbench
from initbench import datasets
from initbench.core.randomness import generator, one_thread
from initbench.datasets import Dataset
from initbench.datasets.batches import resident
from initbench.networks.models import build_model
from initbench.records.recipe import Trial
from initbench.training.evaluation import evaluation_sample, evaluation_steps

EVALUATION_BATCH = 512
WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Job:
    """What to train, and how the contender is laid out.

    `processes` of one thread each share the trials, where a contender has processes at all. With `warm_up` a trial of
    three steps goes before and is forgotten: a first call allocates, compiles and imports. `form` is which of its loops
    a contender takes that has several.
    """

    trials: list[Trial]
    dataset: str
    data_dir: str
    processes: int
    warm_up: bool = True
    loader_workers: int = 0
    channels_last: bool = False
    form: str = ""

    @classmethod
    def read(cls, path: Path) -> "Job":
        document = json.loads(path.read_text())
        # A trial is read as JSON is: its tuples are lists there.
        trials = [Trial.model_validate_json(json.dumps(trial)) for trial in document.pop("trials")]
        others = {trial.optimizer for trial in trials} - {"sgd"}
        if others:
            raise SystemExit(f"The contenders are written for plain SGD, not {', '.join(sorted(others))}.")
        return cls(trials, **document)

    def write(self, path: Path) -> None:
        document = {**asdict(self), "trials": [trial.model_dump(mode="json") for trial in self.trials]}
        path.write_text(json.dumps(document))

    def open_dataset(self) -> Dataset:
        return datasets.prepare(self.dataset, Path(self.data_dir))


@dataclass(frozen=True)
class Trained:
    """One trial: the work that was done, what came of it, and the seconds of its loop, evaluations included.

    A row of `curve` is (step, training loss, validation loss, validation accuracy) on equal fixed samples; `final` is
    (loss, accuracy) on a training sample, all of validation and all of test.
    """

    trial: str
    steps: int
    samples: int
    evaluated: int
    curve: list[tuple[int, float, float, float]]
    final: list[tuple[float, float]]
    seconds: float


@dataclass(frozen=True)
class Share:
    """What one process trained, and its seconds in all: building, initializing and whatever else its calls do.

    Seconds of compilation are not among them.
    """

    trained: list[Trained]
    seconds: float
    compilation: float = 0.0


def initialized(trial: Trial, dataset: Dataset) -> nn.Module:
    """Return the trial's model with its scheme's weights; nobody's loop is charged for it."""
    with one_thread():  # an orthogonal draw depends on the thread count in its last bits
        model = build_model(trial.model, dataset.shape, dataset.classes, seed=trial.seed)
        initbench.initialize(model, trial.scheme, seed=trial.seed)
    return model


@lru_cache
def standardized(dataset: Dataset, split: str) -> tuple[Tensor, Tensor]:
    """Return all images of a split as standardized float32, (n, C, H, W), and labels (n,)."""
    whole = resident(dataset, split, "cpu")
    return whole.take(torch.arange(len(whole)))


def order(dataset: Dataset, seed: int, epoch: int) -> Tensor:
    """Return the order in which an epoch takes the training images; the last, incomplete batch is left out."""
    return torch.randperm(dataset.train_size, generator=generator(seed, "order", str(epoch)))


def sample(dataset: Dataset, split: str, size: int) -> tuple[Tensor, Tensor]:
    """Return the images and labels of a split that evaluations look at where they do not look at all."""
    index = resident(dataset, split, "cpu").sample(size)
    return tuple(part[index] for part in standardized(dataset, split))


def final_splits(dataset: Dataset) -> list[tuple[Tensor, Tensor]]:
    """Return what a trained model is evaluated on: a sample of training, all of validation and all of test."""
    return [sample(dataset, "train", dataset.val_size), *(standardized(dataset, split) for split in ("val", "test"))]


@dataclass
class Evaluation:
    """The same evaluations for every contender: on resident tensors, at the same steps, on the same images.

    The tutorial's own evaluation would load every image anew. That it does not here is in its favour.
    """

    trial: Trial
    dataset: Dataset
    curve: list[tuple[int, float, float, float]] = field(default_factory=list)
    evaluated: int = 0

    def __post_init__(self) -> None:
        trial = self.trial
        self.steps = set(evaluation_steps(trial.steps, trial.evaluations))
        size = evaluation_sample(trial.steps, trial.batch_size, trial.evaluations, self.dataset.val_size)
        self.samples = [sample(self.dataset, split, size) for split in ("train", "val")]

    def after(self, step: int, model: nn.Module) -> None:
        """Evaluate, if it is time to."""
        if step in self.steps:
            (train_loss, _), (val_loss, val_accuracy) = (self.look(model, *sample) for sample in self.samples)
            self.curve.append((step, train_loss, val_loss, val_accuracy))

    def finally_(self, model: nn.Module) -> list[tuple[float, float]]:
        """Evaluate the trained model."""
        return [self.look(model, *data) for data in final_splits(self.dataset)]

    @torch.no_grad()
    def look(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Return mean cross-entropy and accuracy."""
        model.eval()
        logits = torch.cat([model(part) for part in images.split(EVALUATION_BATCH)])
        model.train()
        self.evaluated += len(labels)
        found = functional.cross_entropy(logits, labels), (logits.argmax(dim=1) == labels).float().mean()
        return tuple(torch.stack(found).tolist())


Train = Callable[[Trial, Dataset, Job], Trained]


def train_share(train: Train, trials: Sequence[Trial], job: Job) -> Share:
    """Train trials one after another, after one that warms up."""
    dataset = job.open_dataset()
    if job.warm_up:
        train(trials[0].model_copy(update={"steps": WARM_UP_STEPS}), dataset, job)
    started = time.perf_counter()
    return Share([train(trial, dataset, job) for trial in trials], time.perf_counter() - started)


def compiled_share(train: Train, trials: Sequence[Trial], job: Job) -> Share:
    """Train trials one after another, for contenders that compile: the first trial itself warms up.

    A shorter one has other shapes, which would be compiled for nothing. Compilation is what the first time took longer
    than a trial takes once everything is compiled.
    """
    dataset = job.open_dataset()
    started = time.perf_counter()
    train(trials[0], dataset, job)
    first = time.perf_counter() - started
    share = train_share(train, trials, replace(job, warm_up=False))
    return replace(share, compilation=max(0.0, first - share.seconds / len(trials)))


def on_every_core(work: Callable[..., Share], shares: Sequence[tuple[object, ...]]) -> list[Share]:
    """Call `work` for each share of the trials in a process of its own with one thread; all begin together."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when the children import torch
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(shares))
    with ProcessPoolExecutor(len(shares), context, initializer=barrier.wait) as pool:
        return [future.result() for future in [pool.submit(work, *share) for share in shares]]


def process_a_core(train: Train, job: Job, train_some: Callable[..., Share] = train_share) -> list[Share]:
    """Divide a job's trials among its processes."""
    shares = [job.trials[i :: job.processes] for i in range(job.processes)]
    return on_every_core(train_some, [(train, share, job) for share in shares if share])


def main(run: Callable[[Job], list[Share]], layout: Callable[[Job], str]) -> None:
    """Read the job, do it, and write the result: the seconds are those of the process that took longest."""
    job_path, result_path = map(Path, sys.argv[1:])
    job = Job.read(job_path)
    shares = run(job)
    result = {
        "layout": layout(job),
        "seconds": max(sum(trained.seconds for trained in share.trained) for share in shares),
        "seconds_in_all": max(share.seconds for share in shares),
        "compilation": max(share.compilation for share in shares),
        "trained": [asdict(trained) for share in shares for trained in share.trained],
    }
    result_path.write_text(json.dumps(result))
