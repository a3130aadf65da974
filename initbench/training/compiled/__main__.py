"""`python -m initbench.training.compiled`: compile the kernels of a first trial in advance."""

from initbench.training.compiled.kernels import FIRST, address

if __name__ == "__main__":
    for name in FIRST:
        address(name)
