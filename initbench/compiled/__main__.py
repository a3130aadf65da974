"""`python -m initbench.compiled`: compile what a first trial needs, before anybody waits for it."""

from initbench.compiled.kernels import FIRST, address

if __name__ == "__main__":
    for name in FIRST:
        address(name)
