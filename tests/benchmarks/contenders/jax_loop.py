"""Contender: JAX as its users would make it fast, one process per core with one thread each.

Data are resident, and a compiled loop runs from one evaluation to the next. Chains of Linear and ReLU only.
"""

import os
import time
from functools import lru_cache, partial
from itertools import pairwise

# Read when JAX is imported. The two flags alone leave XLA a thread per core; NPROC is the size of its pool.
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "NPROC": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
import jax
import jax.numpy as jnp
import numpy as np
import torch
from contenders.common import (
    EVALUATION_BATCH,
    Evaluation,
    Job,
    Share,
    Trained,
    compiled_share,
    final_splits,
    initialized,
    main,
    order,
    process_a_core,
    standardized,
)
from jax import Array, lax
from torch import Tensor, nn

from initbench.datasets import Dataset
from initbench.records.recipe import Trial

Parameters = list[tuple[Array, Array]]  # weights (inputs, outputs) and biases
Pieces = list[tuple[Array, Array]]  # images (n, inputs) and labels (n,)


def parameters_of(model: nn.Module) -> Parameters:
    """Return the weights of a chain, copied, because the loop donates them."""
    layers = [layer for layer in model.children() if isinstance(layer, nn.Linear)]
    chain = ["Flatten", *["Linear", "ReLU"] * len(layers)][:-1]
    if [type(layer).__name__ for layer in model.children()] != chain:
        raise SystemExit(f"The JAX contender trains only chains of Linear and ReLU, not {model}.")
    return [(jnp.array(layer.weight.detach().T), jnp.array(layer.bias.detach())) for layer in layers]


def per_image(parameters: Parameters, images: Array, labels: Array) -> tuple[Array, Array]:
    """Return cross-entropy and whether the guess is right, image by image."""
    *hidden, (last_weight, last_bias) = parameters
    for weight, bias in hidden:
        images = jax.nn.relu(images @ weight + bias)
    logits = images @ last_weight + last_bias
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]
    return losses, logits.argmax(axis=1) == labels


look = jax.jit(per_image)


def step(parameters: Parameters, images: Array, labels: Array, lr: float) -> tuple[Parameters, Array]:
    """Take a step of SGD, and return the loss before it."""
    loss, gradients = jax.value_and_grad(lambda given: per_image(given, images, labels)[0].mean())(parameters)
    return jax.tree.map(lambda weight, gradient: weight - lr * gradient, parameters, gradients), loss


@partial(jax.jit, donate_argnames=("parameters", "losses"))
def fori_loop(
    parameters: Parameters, losses: Array, batches: Array, data: tuple[Array, Array], lr: float, start: int, stop: int
) -> tuple[Parameters, Array]:
    """Train from one step to another; both are dynamic, so one compilation serves every stretch."""
    images, labels = data

    def body(i: int, state: tuple[Parameters, Array]) -> tuple[Parameters, Array]:
        parameters, loss = step(state[0], images[batches[i]], labels[batches[i]], lr)
        return parameters, state[1].at[i].set(loss)

    return lax.fori_loop(start, stop, body, (parameters, losses))


@partial(jax.jit, donate_argnames=("parameters", "losses"), static_argnames=("start", "stop"))
def scan(
    parameters: Parameters, losses: Array, batches: Array, data: tuple[Array, Array], lr: float, start: int, stop: int
) -> tuple[Parameters, Array]:
    """Do the same with one compilation per stretch."""
    images, labels = data

    def body(parameters: Parameters, index: Array) -> tuple[Parameters, Array]:
        return step(parameters, images[index], labels[index], lr)

    parameters, found = lax.scan(body, parameters, batches[start:stop])
    return parameters, losses.at[start:stop].set(found)


FORMS = {"fori_loop": fori_loop, "scan": scan}


def arrays(images: Tensor, labels: Tensor) -> tuple[Array, Array]:
    return jnp.array(images.flatten(1)), jnp.array(labels, dtype=jnp.int32)


@lru_cache
def resident(dataset: Dataset) -> tuple[tuple[Array, Array], list[Pieces]]:
    """Return the training data, and what the trained model is evaluated on in pieces that fit the cache."""
    splits = [
        [arrays(*part) for part in zip(*(whole.split(EVALUATION_BATCH) for whole in split), strict=True)]
        for split in final_splits(dataset)
    ]
    return arrays(*standardized(dataset, "train")), splits


def train(trial: Trial, dataset: Dataset, job: Job) -> Trained:
    parameters = parameters_of(initialized(trial, dataset))
    evaluation = Evaluation(trial, dataset)
    probe = arrays(*(torch.cat(parts) for parts in zip(*evaluation.samples, strict=True)))
    data, splits = resident(dataset)
    steps = sorted(evaluation.steps)
    started = time.perf_counter()
    batches = jnp.array(all_batches(trial, dataset))
    losses = jnp.full(trial.steps, jnp.nan)
    # Nothing is read before the end: JAX computes while Python asks for more.
    seen = [look(parameters, *probe)]
    for start, stop in pairwise(steps):
        parameters, losses = FORMS[job.form](parameters, losses, batches, data, trial.lr, start=start, stop=stop)
        seen.append(look(parameters, *probe))
    ends = [[look(parameters, *piece) for piece in split] for split in splits]
    curve = [point(step, *found) for step, found in zip(steps, seen, strict=True)]
    final = [tuple(float(np.concatenate(part).mean()) for part in zip(*found, strict=True)) for found in ends]
    done = int(np.count_nonzero(~np.isnan(losses)))
    seconds = time.perf_counter() - started
    evaluated = sum(len(found) for found, _ in [*seen, *(piece for found in ends for piece in found)])
    return Trained(trial.id, done, done * trial.batch_size, evaluated, curve, final, seconds)


def all_batches(trial: Trial, dataset: Dataset) -> np.ndarray:
    """Return the images of every step, (steps, batch)."""
    per_epoch = dataset.train_size // trial.batch_size
    epochs = [order(dataset, trial.seed, epoch) for epoch in range(-(-trial.steps // per_epoch))]
    whole = [each[: per_epoch * trial.batch_size].view(per_epoch, -1).numpy() for each in epochs]
    return np.concatenate(whole)[: trial.steps].astype(np.int32)


def point(step: int, losses: Array, hits: Array) -> tuple[int, float, float, float]:
    """Return a row of the curve: the first half of the images are of training, the others of validation."""
    (train_loss, val_loss), (_, accuracy) = (np.asarray(found).reshape(2, -1).mean(axis=1) for found in (losses, hits))
    return step, float(train_loss), float(val_loss), float(accuracy)


def run(job: Job) -> list[Share]:
    return process_a_core(train, job, compiled_share)


def layout(job: Job) -> str:
    return f"{job.processes} processes × 1 thread, jax {jax.__version__}, {job.form}"


if __name__ == "__main__":
    main(run, layout)
