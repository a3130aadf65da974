"""Functions in place of names: those of torch.nn.init, and the user's own where a file holds them."""

from functools import partial

from initbench.core.spec import Spec
from initbench.core.usercode import reference_to
from initbench.errors import UsageError
from initbench.schemes.rule import SCHEMES


def scheme_text(scheme: object) -> str:
    """Return the text of a scheme given as text or as a function; `functools.partial` holds its parameters.

    >>> import torch
    >>> scheme_text(torch.nn.init.xavier_uniform_), scheme_text(partial(torch.nn.init.normal_, std=0.02))
    ('xavier_uniform', 'normal(std=0.02)')

    Raises:
        UsageError: neither.
    """
    if isinstance(scheme, str):
        return scheme
    function, values = (scheme.func, scheme.keywords) if isinstance(scheme, partial) else (scheme, {})
    name = getattr(function, "__name__", "").removesuffix("_")
    if getattr(function, "__module__", "") == "torch.nn.init" and name in SCHEMES:
        return str(Spec(name, kwargs=values))
    reference = reference_to(scheme)
    if reference is None:
        raise UsageError(
            f"{scheme!r} is no scheme: give its name such as 'xavier_uniform', a function of torch.nn.init, or one "
            "(tensor, layer, generator) that stands at the top of a file."
        )
    return reference
