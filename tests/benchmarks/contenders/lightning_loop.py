"""Contender: Lightning's Trainer with logging, checkpoints, progress bar and validation loop off.

It gets the best that the eager loop has: resident tensors, a fused optimizer, one process a core with one thread each.
So what stands between the two is the Trainer.
"""

import logging
import time
import warnings
from collections.abc import Iterator

import torch
from contenders.common import Evaluation, Job, Share, Trained, initialized, main, order, process_a_core, standardized
from torch import Tensor
from torch.nn import functional

from initbench.datasets import Dataset
from initbench.datasets.torchvision_sets import import_torchvision
from initbench.records.recipe import Trial

import_torchvision()  # Lightning imports it, and it fails where its operators do not fit the installed torch
import pytorch_lightning  # noqa: E402 - see above

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # device notices
warnings.filterwarnings("ignore", module="pytorch_lightning")  # advice to use more workers and to log


class Batches:
    """An epoch of batches at each iteration."""

    def __init__(self, trial: Trial, dataset: Dataset) -> None:
        self.trial, self.dataset, self.epoch = trial, dataset, -1
        self.images, self.labels = standardized(dataset, "train")

    def __len__(self) -> int:
        return self.dataset.train_size // self.trial.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.epoch += 1
        for index in order(self.dataset, self.trial.seed, self.epoch).split(self.trial.batch_size)[: len(self)]:
            yield self.images.index_select(0, index), self.labels.index_select(0, index)


class Classifier(pytorch_lightning.LightningModule):
    def __init__(self, trial: Trial, dataset: Dataset) -> None:
        super().__init__()
        self.lr = trial.lr
        self.model = initialized(trial, dataset)
        self.samples = 0

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        images, labels = batch
        self.samples += len(labels)
        return functional.cross_entropy(self.model(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, fused=True)


class Evaluate(pytorch_lightning.Callback):
    """The evaluations of all contenders, where Lightning's own loop knows no such schedule."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation

    def on_train_start(self, trainer: pytorch_lightning.Trainer, module: Classifier) -> None:
        self.evaluation.after(trainer.global_step, module.model)

    def on_train_batch_end(self, trainer: pytorch_lightning.Trainer, module: Classifier, *_rest: object) -> None:
        self.evaluation.after(trainer.global_step, module.model)


def train(trial: Trial, dataset: Dataset, _job: Job) -> Trained:
    module = Classifier(trial, dataset)
    evaluation = Evaluation(trial, dataset)
    trainer = pytorch_lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=trial.steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Evaluate(evaluation)],
    )
    batches = Batches(trial, dataset)
    started = time.perf_counter()
    trainer.fit(module, batches)
    final = evaluation.finally_(module.model)
    seconds = time.perf_counter() - started
    return Trained(
        trial.id, trainer.global_step, module.samples, evaluation.evaluated, evaluation.curve, final, seconds
    )


def run(job: Job) -> list[Share]:
    return process_a_core(train, job)


def layout(job: Job) -> str:
    return f"{job.processes} processes × 1 thread, pytorch-lightning {pytorch_lightning.__version__}"


if __name__ == "__main__":
    main(run, layout)
