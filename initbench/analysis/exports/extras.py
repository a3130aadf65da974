"""Libraries that only an export needs."""

from collections.abc import Iterator
from contextlib import contextmanager

from initbench.errors import ConfigurationError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a library that is not installed into a sentence that names the extra which brings it.

    Raises:
        ConfigurationError: an import in the block found no module.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Exporting to {extra} needs {error.name}, which is not installed: pip install 'initbench[{extra}]'."
        ) from None
