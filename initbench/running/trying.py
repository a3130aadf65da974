"""One training step of the user's network before the first trial: what it fails of, and what no trial can repeat."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from initbench.analysis.step_zero.checks import Check
from initbench.core import usercode
from initbench.core.generators import held, own_generators, watched
from initbench.core.process_state import process_kept
from initbench.core.randomness import generator, isolated, one_thread
from initbench.core.spec import parse
from initbench.datasets import Dataset
from initbench.errors import InitbenchError, UsageError
from initbench.networks.layers import weighted_layers
from initbench.networks.models import MODELS, build_model
from initbench.networks.outputs import has_logits, loss_floor, misfit
from initbench.networks.precision import why_not
from initbench.networks.user_model import ImageShape
from initbench.schemes import assign, parse_scheme
from initbench.schemes.fill import fill_model
from initbench.signals.batch import Batch

IMAGES = 2
ONE_PER_CLASS = "return logits, one number per class, or give a dataset with as many classes"
UNREPEATABLE = (
    "two steps from the same seed differ: it draws from what cannot be seeded (such as numpy.random.default_rng() or "
    "random.SystemRandom() called in the forward pass), or keeps state outside the network. Its trials cannot be "
    "repeated, and the schemes of a seed see other draws: draw from the global generator of torch, NumPy or Python, or "
    "from one that the network keeps."
)


@dataclass(frozen=True)
class Tried:
    """What a step showed: whether the network draws from generators of its own, and sentences about it."""

    draws_from_own: bool = False
    notices: tuple[str, ...] = ()


def try_step(model: str, dataset: Dataset, batch_size: int) -> Tried:
    """Take one training step on noise, twice from the same seed; a built-in model needs no trial.

    Raises:
        UsageError: the network cannot be trained on such images; the message quotes its line.
    """
    if parse(model).name in MODELS:
        return Tried()
    code = tuple(usercode.code_hashes((model,), MODELS.group).items())  # a changed file is tried again
    try:
        return _tried(model, code, dataset.shape, dataset.classes, min(batch_size, IMAGES))
    except _UnfitError as error:
        raise UsageError(f"The model '{model}' {error.args[0].replace('{dataset}', dataset.name)}") from None


class _UnfitError(Exception):
    """The network cannot be trained: the end of a sentence."""


@lru_cache(maxsize=64)
def _tried(model: str, _code: object, shape: ImageShape, classes: int, size: int) -> Tried:
    images = torch.randn(size, *shape, generator=generator(size, "tried"), dtype=torch.float32)
    with one_thread(), watched() as drawn_from:
        (network, *first), (_, *second) = (_step(model, shape, classes, images) for _ in range(2))
    notices = []
    if not all(map(_same, first, second)):
        notices.append(UNREPEATABLE)
    with process_kept(), isolated(0), held(0, own_generators(network)):
        notices.append(loss_floor(network, (images,)))
    return Tried(bool(drawn_from), tuple(f"{model}: {notice}" for notice in notices if notice))


@torch.no_grad()
def check_logits(model: nn.Module, batch: Batch) -> Check | None:
    """Return what is wrong with outputs as logits, where labels are known; `model` is left in evaluation mode."""
    if batch.labels is None:
        return None
    with isolated(0), held(0, own_generators(model)):
        try:
            output, floor = model.eval()(*batch.inputs), loss_floor(model, batch.inputs)
        except Exception:  # noqa: BLE001 - a network of training mode alone was measured in it, and has no hints
            return None
    if batch.classes is not None and not has_logits(output, batch.classes):
        return Check("logits", "FAIL", misfit(output, batch.size, batch.classes).rstrip("."), "", ONE_PER_CLASS)
    figure, _, remedy = floor.rstrip(".").partition(": ")
    return Check("logits", "WARN", figure, "", remedy) if floor else None


@process_kept()
def _step(model: str, shape: ImageShape, classes: int, images: Tensor) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a filled network with its logits and its loss in training mode."""
    network = build_model(model, shape, classes)
    fill_model(network, assign(parse_scheme("torch_default"), weighted_layers(network)), 0)
    with isolated(0), held(0, own_generators(network)), torch.inference_mode(mode=False), torch.enable_grad():
        with torch.no_grad():
            _require_logits(network.eval(), images, classes, "does not fit {dataset}")
        logits = _require_logits(network.train(), images, classes, "fails in training mode on {dataset}")
        labels = torch.arange(len(images)) % classes
        try:
            loss = functional.cross_entropy(logits, labels)
            loss.backward()  # type: ignore[no-untyped-call] # Tensor.backward
        except Exception as error:
            raise _UnfitError(f"has no backward pass: {usercode.describe_error(error)}.") from error
    return network, logits.detach(), loss.detach()


def _require_logits(network: nn.Module, images: Tensor, classes: int, failure: str) -> Tensor:
    try:
        output = network(images)
    except InitbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise _UnfitError(f"{failure}: {why_not(network, (images,), error)}.") from error
    wrong = misfit(output, len(images), classes)
    if wrong:
        raise _UnfitError(f"in training mode {wrong}" if network.training else wrong)
    assert isinstance(output, Tensor)
    return output


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num())
