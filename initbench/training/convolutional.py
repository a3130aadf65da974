"""Engines for convolutional networks through autograd, in memory layouts that save work in the libraries below.

On the CPU, channels_last: oneDNN then reorders nothing between layers. A max-pooling after a ReLU is moved before it:
max(relu(x)) = relu(max(x)), and gradients are equal (both are 0 if the maximum is not positive), and the ReLU has a
quarter of the work. On nine such networks both together take 0.64 to 0.89 of the time (1.2 on one with two layers of 8
channels); fused optimizers had no measurable effect.

On a GPU, a group is trained at once in the fastest of three forms: members side by side in grouped convolutions,
members on their own streams, or one after the other; all in one CUDA graph. Which is fastest depends on widths, images
and the GPU (grouped convolutions are often slower: pytorch issues 73764, 34977), so each is timed before training
starts.
"""

import copy
import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import nn

from initbench.networks.user_model import ImageShape
from initbench.records.recipe import Trial
from initbench.training import cuda
from initbench.training.autograd import Autograd
from initbench.training.engine import Stepper
from initbench.training.grouped import Grouped, groupable
from initbench.training.stepwise import OpenStepper

TIMED_STEPS = 5
LANES = 8  # float32 numbers of an AVX2 register


def takes_channels_last(model: nn.Module) -> bool:
    """Return whether a model has two-dimensional convolutions, and none that channels_last would crash."""
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return bool(convolutions) and not any(map(_overruns, convolutions))


def _overruns(convolution: nn.Conv2d) -> bool:
    """Return whether oneDNN 3.12 would write past a buffer, which crashes the process on processors with AVX2 at most.

    Observed for strided 1×1 kernels with fewer than 8 inputs, only in channels_last.
    """
    strided = max(convolution.stride) > 1
    return max(convolution.kernel_size) == 1 and strided and convolution.in_channels < LANES


def channels_last(models: Sequence[nn.Module], trials: Sequence[Trial], _: int) -> Stepper:
    """Open autograd over models in channels_last, oneDNN's native layout."""
    laid_out = [pooling_first(model).to(memory_format=torch.channels_last) for model in models]  # type: ignore[call-overload] # torch's stub leaves this form of Module.to out
    return Autograd(laid_out, trials, name="autograd(channels_last)")


def pooling_first(model: nn.Module) -> nn.Module:
    """Return a chain with each max-pooling moved before the ReLU that it follows, over the same parameters."""
    if type(model) is not nn.Sequential:
        return model
    modules = list(model)
    for i, (module, after) in enumerate(pairwise(list(modules))):
        if type(module) is nn.ReLU and type(after) is nn.MaxPool2d:
            modules[i : i + 2] = [after, module]
    return nn.Sequential(*modules)


def one_by_one(models: Sequence[nn.Module], trials: Sequence[Trial], _: int) -> Stepper:
    """Open autograd over each member in turn."""
    return Autograd(models, trials, name="autograd(in turn)", captures=True)


def streamed(models: Sequence[nn.Module], trials: Sequence[Trial], _: int) -> Stepper:
    """Open autograd over each member on its own CUDA stream."""
    streams = cuda.member_streams(len(models)) if trials[0].device == "cuda" else ()
    return Autograd(models, trials, name="autograd(streams)", captures=True, streams=streams)


def fastest(models: Sequence[nn.Module], trials: Sequence[Trial], orders: int, *, shape: ImageShape) -> Stepper:
    """Open the form that is fastest for a few steps on noise, timed on copies of the models.

    Groups of one kind get the same form in a process, since forms differ in their last bits.
    """
    forms: list[OpenStepper] = [one_by_one, streamed, *([Grouped] if groupable(models[0]) else [])]
    first = trials[0]
    kind = first.model, first.optimizer, first.batch_size, first.precision, first.device, len(models), orders, shape
    if kind not in _fastest and len(models) > 1:
        copies = (copy.deepcopy(list(models)) for _ in forms)
        seconds = [
            _seconds(form(own, trials, orders), first, orders, shape) for form, own in zip(forms, copies, strict=True)
        ]
        _fastest[kind] = seconds.index(min(seconds))
    return forms[_fastest.get(kind, 0)](models, trials, orders)


_fastest: dict[tuple[object, ...], int] = {}


def _seconds(stepper: Stepper, trial: Trial, orders: int, shape: ImageShape) -> float:
    images = torch.randn(orders, trial.batch_size, *shape, device=trial.device)
    labels = torch.zeros(orders, trial.batch_size, dtype=torch.int64, device=trial.device)
    for _ in range(TIMED_STEPS):  # warm-up: the first steps choose kernels and fill caches
        stepper.step(images, labels, gradients=True)
    advance = cuda.replayed(stepper) if stepper.captures else partial(stepper.step, gradients=False)
    advance(images, labels)
    cuda.wait(trial.device)
    started = time.perf_counter()
    for _ in range(TIMED_STEPS):
        advance(images, labels)
    cuda.wait(trial.device)
    return time.perf_counter() - started
