"""Contender: the eager loop with its step compiled by torch.compile, one process per core with one thread each.

The whole step, forward, backward and update, is one graph: compiling the model alone left the optimizer and autograd
in Python and took twice as long on small networks. Needs a C++ compiler.
"""

import os
import shutil
import time
from collections.abc import Callable
from functools import lru_cache

# Read when the compiler is imported. Its pool of processes would start up while a loop is timed.
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
import torch
from contenders.common import (
    Evaluation,
    Job,
    Share,
    Trained,
    compiled_share,
    initialized,
    main,
    order,
    process_a_core,
    standardized,
)
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn import functional

from initbench.datasets import Dataset
from initbench.networks.models import build_model
from initbench.records.recipe import Trial

CXX = os.environ.get("CXX", "g++")

Step = Callable[[Tensor, Tensor], Tensor]


def missing() -> str:
    """Return why this contender cannot run here, nothing where it can."""
    return "" if shutil.which(CXX) else f"torch.compile needs a C++ compiler, and there is no {CXX}"


@lru_cache
def compiled(text: str, dataset: Dataset, lr: float, channels_last: bool) -> tuple[nn.Module, Step]:
    """Return a model and its compiled step of SGD, which updates the weights in place and returns the loss before it.

    One model serves every trial of a process, because a step is compiled for one model.
    """
    model = build_model(text, dataset.shape, dataset.classes)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def mean_loss(weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, weights, (images,)), labels)

    @torch.compile(fullgraph=True)
    def step(images: Tensor, labels: Tensor) -> Tensor:
        gradients, loss = grad_and_value(mean_loss)(weights, images, labels)
        for name, weight in weights.items():
            # Not add_(…, alpha=-lr): torch 2.13 merges that with the product before it and loses alpha.
            weight.sub_(lr * gradients[name])
        return loss

    return model, step


def train(trial: Trial, dataset: Dataset, job: Job) -> Trained:
    model, step_on = compiled(trial.model, dataset, trial.lr, job.channels_last)
    model.load_state_dict(initialized(trial, dataset).state_dict())
    evaluation = Evaluation(trial, dataset)
    images, labels = standardized(dataset, "train")
    batch = torch.empty(trial.batch_size, *dataset.shape)
    batch_labels = torch.empty(trial.batch_size, dtype=torch.int64)
    losses = torch.zeros(trial.steps)
    per_epoch = dataset.train_size // trial.batch_size
    samples = 0
    started = time.perf_counter()
    evaluation.after(0, model)
    for step in range(trial.steps):
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            batches = order(dataset, trial.seed, epoch).split(trial.batch_size)
        torch.index_select(images, 0, batches[place], out=batch)
        torch.index_select(labels, 0, batches[place], out=batch_labels)
        losses[step] = step_on(batch, batch_labels)
        samples += len(batch)
        evaluation.after(step + 1, model)
    final = evaluation.finally_(model)
    seconds = time.perf_counter() - started
    return Trained(trial.id, step + 1, samples, evaluation.evaluated, evaluation.curve, final, seconds)


def run(job: Job) -> list[Share]:
    return process_a_core(train, job, compiled_share)


def layout(job: Job) -> str:
    return f"{job.processes} processes × 1 thread{', channels_last' if job.channels_last else ''}"


if __name__ == "__main__":
    main(run, layout)
