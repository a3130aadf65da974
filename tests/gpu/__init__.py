"""One program that settles what a GPU does with this package: `python -m tests.gpu` (see README.md)."""
