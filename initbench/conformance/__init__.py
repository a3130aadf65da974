"""The conformance suite: checks on small models that every scheme must pass (`initbench check SCHEME`).

A `Subject` is the scheme under test: a function that fills a model, and a declaration of the tensors that it fills and
their distributions. `subject_of` returns the one for a scheme's text; tests construct subjects with a defect. Each
check is a function of the `Observations` and reports in one sentence what it saw: the number and its layer.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from initbench.conformance import distributions, side_effects, values
from initbench.conformance.observations import (
    FAIL,
    SKIP,
    Finding,
    Observations,
    Outcome,
    Subject,
    observe,
    restored,
    subject_of,
)
from initbench.core import usercode
from initbench.core.randomness import one_thread
from initbench.errors import UsageError

__all__ = ["CHECKS", "Result", "Subject", "conformance", "subject_of"]

CHECKS: tuple[tuple[str, Callable[[Observations], Finding]], ...] = (
    ("fills or says why not", side_effects.says_what_it_cannot_fill),
    ("shape, dtype, device", side_effects.keeps_form),
    ("finite", values.is_finite),
    ("outliers", values.has_no_outliers),
    ("seed", values.follows_the_seed),
    ("layers drawn apart", values.draws_each_layer_apart),
    ("global state", side_effects.leaves_the_process_alone),
    ("other layers", side_effects.ignores_other_layers),
    ("frozen, tied, buffers", side_effects.leaves_the_rest_alone),
    ("mode, hooks, gradients", side_effects.leaves_surroundings_alone),
    ("variance", distributions.has_the_declared_variance),
    ("mean", distributions.has_the_declared_mean),
    ("signal by width", distributions.keeps_the_signal_it_declares),
    ("rows", values.has_rows_of_its_own),
    ("precision", values.works_in_every_precision),
    ("accelerator", values.same_on_the_accelerator),
    ("output variance", distributions.reaches_the_output_variance),
)


@dataclass(frozen=True)
class Result:
    """The result of one check: PASS, FAIL or SKIP, and what was `seen` or why it was skipped."""

    check: str
    outcome: Outcome
    seen: str


def conformance(scheme: str | Subject) -> list[Result]:
    """Run every check on a scheme.

    Raises:
        UsageError: an unknown scheme or parameter, or one that fits none of the suite's models.
    """
    subject = scheme if isinstance(scheme, Subject) else subject_of(scheme)
    with restored(), one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings are recorded in one fill of each model
        observations = observe(subject)
        if observations.refusals and not observations.cases and not observations.raised:
            raise UsageError(
                f"'{subject.name}' fits none of the models that schemes are checked on: "
                f"{next(iter(observations.refusals.values()))}"
            )
        return [_checked(name, check, observations) for name, check in CHECKS]


def _checked(name: str, check: Callable[[Observations], Finding], observations: Observations) -> Result:
    """Run one check; an error of the scheme fails the check."""
    if not observations.cases and check is not side_effects.says_what_it_cannot_fill:
        return Result(name, SKIP, "no model could be filled")
    try:
        return Result(name, *check(observations))
    except Exception as error:  # noqa: BLE001 - whatever a scheme raises is a finding
        return Result(name, FAIL, f"it raises {usercode.describe_error(error)}")
