"""Keyed randomness: each purpose has its own CPU generator, seeded by a hash of (seed, purpose, name).

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
    """Return 63 bits of the SHA-256 of (seed, purpose, name); every consumer of seeds accepts 63 bits."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread within the block: the bits of a sum or a QR decomposition depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def isolated(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python within the block, then restore them.

    For code that can draw from nothing else, such as dropout or a user's network. `torch.manual_seed` would also seed
    every accelerator; here only the accelerator in use is seeded.
    """
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may draw from it
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
