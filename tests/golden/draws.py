"""What every draw was when the golden file was made: weights of each built-in scheme, and orders of the data."""

import hashlib
import warnings
from pathlib import Path

import torch

from initbench.core.randomness import one_thread
from initbench.datasets.batches import Split
from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.models import build_model
from initbench.schemes import SCHEMES, initialize, parse_scheme

FILE = Path(__file__).parent / "draws.json"
MODEL, RESIDUAL = "cnn(depth=2, width=8)", "resnet(depth=8, width=4, branch_scale=True)"
PARAMETERS = {"constant": "constant(0.1)", "sparse": "sparse(0.5)", "scaled": "scaled('kaiming_uniform', 0.5)"}
ORDERS = [(100, 0, 0), (100, 0, 1), (100, 1, 0), (1437, 3, 2), (60_000, 7, 0)]


def current():
    """Everything that the file holds, as this installation draws it."""
    return {
        "torch": torch.__version__.partition("+")[0],
        "processor": torch.backends.cpu.get_cpu_capability(),
        "model": f"{MODEL}, and {RESIDUAL} for schemes about residual branches",
        "weights": {name: weights(name) for name in SCHEMES if needs_no_data(name)},
        "orders": {str(key): digest(order(*key)) for key in ORDERS},
    }


def needs_no_data(name):
    scheme = parse_scheme(PARAMETERS.get(name, name))
    return scheme.procedure is None or scheme.procedure.needs == "nothing"


def weights(name):
    """Hash every parameter; beside it a sketch, for processors that round the last bit otherwise."""
    scheme = PARAMETERS.get(name, name)
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", InitbenchWarning)  # that a scheme fills some kinds of layers only
        try:
            model = initialize(build_model(MODEL, (1, 8, 8), 10), scheme, seed=3)
        except UsageError:
            model = initialize(build_model(RESIDUAL, (1, 8, 8), 10), scheme, seed=3)
    values = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return {
        "sha256": digest(values),
        "first": [float(f"{value:.6g}") for value in values[:4].tolist()],
        "norm": float(f"{values.double().norm().item():.8g}"),
    }


def order(size, seed, epoch):
    """The order of an epoch, int64 (size,)."""
    empty = torch.zeros(size)
    return Split(images=empty, labels=empty.long(), mean=empty, std=empty).order(seed, epoch)


def digest(tensor):
    """Sixteen digits of the SHA-256 of a tensor's bytes, little-endian."""
    array = tensor.contiguous().numpy()
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()[:16]
