"""Functions in place of names: those of torch.nn.init, and the user's own where a file holds them."""

import sys
from functools import partial
from typing import Any

from initbench.core.spec import Spec
from initbench.core.usercode import reference_to
from initbench.errors import UsageError
from initbench.schemes.rule import SCHEMES


def scheme_text(scheme: object, *, here: bool = False) -> str:
    """Return the text of a scheme given as text or as a function; `functools.partial` holds its parameters.

    >>> import torch
    >>> scheme_text(torch.nn.init.xavier_uniform_), scheme_text(partial(torch.nn.init.normal_, std=0.02))
    ('xavier_uniform', 'normal(std=0.02)')

    Args:
        scheme: what was given.
        here: whether only this process uses it, which also finds what was typed at Python's prompt or in a notebook.

    Raises:
        UsageError: neither, or a function that cannot be found by its name.
    """
    if isinstance(scheme, str):
        return scheme
    function: Any
    function, values = (scheme.func, scheme.keywords) if isinstance(scheme, partial) else (scheme, {})
    name = getattr(function, "__name__", "").removesuffix("_")
    if getattr(function, "__module__", "") == "torch.nn.init" and name in SCHEMES:
        if isinstance(scheme, partial) and scheme.args:
            raise UsageError(f"partial({function.__name__}, …): give its parameters by name, as in std=0.02.")
        return str(Spec(name, kwargs=values))
    own = getattr(scheme, "__name__", "")
    if here and own and getattr(sys.modules["__main__"], own, None) is scheme:
        return f"__main__:{own}"  # its file would run once more, and come here again
    reference = reference_to(scheme)
    if reference is None:
        raise UsageError(
            f"{getattr(scheme, '__name__', repr(scheme))} is no scheme that can be found by name: give a name such as "
            "'xavier_uniform', a function of torch.nn.init, or one at the top of a file (in a notebook, put "
            "%%writefile mine.py above it and give 'mine.py:init')."
        )
    return reference
