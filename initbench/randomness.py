"""Keyed randomness: every draw comes from a CPU generator of its own, named by what it is for.

So weights do not depend on the device, the order of the layers, the thread count or which other schemes run, and two
schemes of one seed share their underlying draws (kaiming_normal is xavier_normal rescaled). CUDA generators are not
used at all: their streams differ between GPU models.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

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
def isolated(seed: int) -> Iterator[None]:
    """Seed the global CPU generator inside the block, and leave it as it was.

    For code that draws from the global generator and offers no other way. `torch.manual_seed` would also touch the
    generators of every accelerator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
