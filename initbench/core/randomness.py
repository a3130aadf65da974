"""Keyed randomness: every draw comes from a CPU generator of its own, named by what it is for.

So weights do not depend on the device, the order of the layers, the thread count or which other schemes run, and two
schemes of one seed share their underlying draws (kaiming_normal is xavier_normal rescaled). CUDA generators are not
used at all: their streams differ between GPU models.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def generator(seed: int, purpose: str, name: str = "") -> torch.Generator:
    """Return a CPU generator for (seed, purpose, name), for example (3, "weights", "conv1.weight")."""
    return torch.Generator().manual_seed(derive(seed, purpose, name))


def derive(seed: int, purpose: str, name: str = "") -> int:
    """Return 63 bits of the SHA-256 of the key: as many as every consumer of seeds accepts."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside the block: the bits of a sum or a QR decomposition depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def isolated(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed the global generators inside the block, and leave them as they were: torch's, NumPy's and Python's.

    For code that draws from them and offers no other way: a dropout, a user's network. `torch.manual_seed` would also
    touch the generators of every accelerator; here only the one that is trained on is.
    """
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - whoever draws from it, not we
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002
