"""Contender: a well-written loop over resident tensors, one process a core with one thread each.

Images are standardized once; a batch is an index_select into a buffer; the optimizer is fused; losses are kept as
tensors, so that nothing waits for a number before the end.
"""

import time

import torch
from contenders.common import Evaluation, Job, Share, Trained, initialized, main, order, process_a_core, standardized
from torch.nn import functional

from initbench.datasets import Dataset
from initbench.records.recipe import Trial


def train(trial: Trial, dataset: Dataset, job: Job) -> Trained:
    model = initialized(trial, dataset)
    if job.channels_last:
        model = model.to(memory_format=torch.channels_last)
    evaluation = Evaluation(trial, dataset)
    images, labels = standardized(dataset, "train")
    batch = torch.empty(trial.batch_size, *dataset.shape)
    batch_labels = torch.empty(trial.batch_size, dtype=torch.int64)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.lr, fused=True)
    losses = torch.zeros(trial.steps)
    per_epoch = dataset.train_size // trial.batch_size
    samples = 0
    started = time.perf_counter()
    evaluation.after(0, model)
    model.train()
    for step in range(trial.steps):
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            batches = order(dataset, trial.seed, epoch).split(trial.batch_size)
        torch.index_select(images, 0, batches[place], out=batch)
        torch.index_select(labels, 0, batches[place], out=batch_labels)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(batch), batch_labels)
        loss.backward()
        optimizer.step()
        losses[step] = loss.detach()
        samples += len(batch)
        evaluation.after(step + 1, model)
    final = evaluation.finally_(model)
    seconds = time.perf_counter() - started
    return Trained(trial.id, step + 1, samples, evaluation.evaluated, evaluation.curve, final, seconds)


def run(job: Job) -> list[Share]:
    return process_a_core(train, job)


def layout(job: Job) -> str:
    return f"{job.processes} processes × 1 thread{', channels_last' if job.channels_last else ''}"


if __name__ == "__main__":
    main(run, layout)
