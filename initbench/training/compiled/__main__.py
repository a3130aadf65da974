"""`python -m initbench.training.compiled`: compile what a first trial needs, before anybody waits for it."""

from initbench.training.compiled.kernels import FIRST, address

if __name__ == "__main__":
    for name in FIRST:
        address(name)
