"""Chains of Linear and ReLU in JAX: `vmap` over trials, `jit` over steps, float32 products as everywhere here."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from initbench.datasets.batches import Split
from initbench.records.recipe import Trial


def installed() -> bool:
    """Return whether JAX is here."""
    return importlib.util.find_spec("jax") is not None


def opened(models: Sequence[nn.Module], trials: Sequence[Trial], split: Split, steps: int) -> Callable[[int], None]:
    """Return what takes `steps` steps of all trials in one compiled call, in the data orders of the trials."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory, too
    import jax
    import jax.numpy as jnp
    from jax import lax

    jax.config.update("jax_default_matmul_precision", "highest")
    chains = [[module for module in model.modules() if isinstance(module, nn.Linear)] for model in models]
    parameters: Any = [
        tuple(
            jnp.asarray(np.stack([getattr(layer, key).detach().cpu().numpy() for layer in same]))
            for key in ("weight", "bias")
        )
        for same in zip(*chains, strict=True)
    ]
    index = torch.arange(len(split), device=split.labels.device)
    images, labels = (jnp.asarray(part.flatten(1).cpu().numpy() if part.ndim > 1 else part.cpu().numpy())
                      for part in split.take(index))  # fmt: skip
    rate = jnp.asarray([trial.lr for trial in trials], dtype=jnp.float32)
    per_epoch = len(split) // trials[0].batch_size

    def loss_of(weights: Any, x: Any, y: Any) -> Any:
        *hidden, (last, bias) = weights
        for weight, b in hidden:
            x = jax.nn.relu(x @ weight.T + b)
        found = jax.nn.log_softmax(x @ last.T + bias)
        return -jnp.take_along_axis(found, y[:, None], axis=1).mean()

    def member(weights: Any, batch: Any, lr: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(weights, images[batch], labels[batch])
        return jax.tree.map(lambda w, g: w - lr * g, weights, gradients), loss

    def many(weights: Any, batches: Any) -> Any:
        def body(weights: Any, batch: Any) -> Any:
            return jax.vmap(member)(weights, batch, rate)

        return lax.scan(body, weights, batches)

    trained = jax.jit(many, donate_argnums=0)
    distinct = list(dict.fromkeys(trial.data_seed for trial in trials))
    orders = {seed: split.order(seed, 0).cpu().numpy()[: per_epoch * trials[0].batch_size] for seed in distinct}
    epoch = np.stack([orders[trial.data_seed].reshape(per_epoch, -1) for trial in trials], axis=1)
    # The same stretch of batches each time: (steps, members, batch).
    batches = jnp.asarray(np.resize(epoch, (steps, *epoch.shape[1:])).astype(np.int32))

    def advance(_: int) -> None:
        nonlocal parameters
        parameters, losses = trained(parameters, batches)
        losses.block_until_ready()

    advance(steps)
    return advance
