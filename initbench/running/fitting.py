"""How a model, a scheme and images fit, found with torch; `facts` keeps what is found."""

from functools import lru_cache

import torch
from torch import nn

from initbench.core import usercode
from initbench.core.spec import parse
from initbench.errors import UsageError
from initbench.networks.layers import Layer
from initbench.networks.models import MODELS, build_model, layers_in_order
from initbench.networks.user_model import ImageShape
from initbench.schemes import notices_of as notices_about
from initbench.schemes import parse_scheme, planned
from initbench.schemes import revision_of as revision_on
from initbench.training.optimizers import OPTIMIZERS
from initbench.training.schedules import require_fitting

SMALL_MODEL = 20_000_000  # parameters, 80 MB
RESOLVE = {"scheme": parse_scheme, "model": MODELS.resolve, "optimizer": OPTIMIZERS.resolve}


def canonical(kind: str, text: str) -> str:
    """Return the canonical text of a scheme, a model or an optimizer.

    Raises:
        UsageError: see `schemes.parse_scheme` and `Registry.resolve`.
    """
    return str(RESOLVE[kind](text))


def require_optimizer(text: str, steps: int) -> None:
    """Raise UsageError where an optimizer cannot be built for so many steps."""
    require_fitting(OPTIMIZERS.build(text).regime.warmup, steps)


def require_logits(model: str, name: str, shape: ImageShape, classes: int) -> None:
    """Run a built-in model once on two black images; the user's own takes a whole step (`try_step`).

    A large one runs on the meta device, where it takes no memory; a small one does not, because torch would import its
    compiler for that (1.3 s).
    """
    if parse(model).name not in MODELS:
        return
    meta = build_model(model, shape, classes, device="meta").eval()
    small = sum(parameter.numel() for parameter in meta.parameters()) <= SMALL_MODEL
    built = build_model(model, shape, classes).eval() if small else meta
    try:
        with torch.no_grad():
            built(torch.zeros(2, *shape, dtype=torch.float32, device="cpu" if small else "meta"))
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"The model '{model}' does not fit {name}: {error}") from None


def notices_of(model: str, scheme: str, shape: ImageShape, classes: int) -> list[str]:
    """Return sentences about the layers of a model that a scheme does not fit."""
    built = _built(model, shape, classes)
    parsed = parse_scheme(scheme)
    assignments = planned(built, parsed, layers_in_order(model, built, shape))
    return [f"{model}: {notice}" for notice in notices_about(built, parsed, assignments)]


def revision_of(model: str, scheme: str, shape: ImageShape, classes: int) -> int:
    """Return how often the weights that a scheme gives a model have changed since the first release."""
    code = tuple(usercode.code_hashes((model,), MODELS.group).items())  # a changed file is built again
    return revision_on(scheme, _layers(model, code, shape, classes))


@lru_cache(maxsize=16)
def _layers(model: str, _code: object, shape: ImageShape, classes: int) -> list[Layer]:
    return layers_in_order(model, _built(model, shape, classes), shape)


def _built(model: str, shape: ImageShape, classes: int) -> nn.Module:
    """Build a model; a built-in one without memory, which the user's code may not support."""
    own = usercode.code_hashes((model,), MODELS.group)
    return build_model(model, shape, classes, device="cpu" if own else "meta")
