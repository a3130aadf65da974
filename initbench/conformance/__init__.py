"""What every scheme must keep, held against what it does to small models: `initbench check SCHEME`.

A `Subject` is what is held: a function that fills a model, and what it declares to fill with which law. `subject_of`
makes one of a scheme's text; a test makes its own, with a defect. Each check is a function of the `Evidence`, and says
in one sentence what it saw: the figure, and the layer that it was seen in.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from initbench.conformance import draws, laws, manners
from initbench.conformance.evidence import FAIL, SKIP, Evidence, Found, Outcome, Subject, gather, restored, subject_of
from initbench.core import usercode
from initbench.core.randomness import one_thread
from initbench.errors import UsageError

__all__ = ["CHECKS", "Result", "Subject", "conformance", "subject_of"]

CHECKS: tuple[tuple[str, Callable[[Evidence], Found]], ...] = (
    ("fills or says why not", manners.says_what_it_cannot_fill),
    ("shape, dtype, device", manners.keeps_form),
    ("finite", draws.is_finite),
    ("outliers", draws.has_no_outliers),
    ("seed", draws.follows_the_seed),
    ("layers drawn apart", draws.draws_each_layer_apart),
    ("global state", manners.leaves_the_process_alone),
    ("other layers", manners.ignores_other_layers),
    ("frozen, tied, buffers", manners.leaves_the_rest_alone),
    ("mode, hooks, gradients", manners.leaves_surroundings_alone),
    ("variance", laws.has_the_declared_variance),
    ("mean", laws.has_the_declared_mean),
    ("signal by width", laws.keeps_the_signal_it_declares),
    ("rows", draws.has_rows_of_its_own),
    ("precision", draws.works_in_every_precision),
    ("accelerator", draws.same_on_the_accelerator),
    ("output variance", laws.reaches_the_output_variance),
)


@dataclass(frozen=True)
class Result:
    """What one check found: PASS, FAIL or SKIP, and what was `seen`, or why nothing was looked at."""

    check: str
    outcome: Outcome
    seen: str


def conformance(scheme: str | Subject) -> list[Result]:
    """Hold a scheme against every check.

    Raises:
        UsageError: an unknown scheme or parameter, or one that fits none of the suite's models.
    """
    subject = scheme if isinstance(scheme, Subject) else subject_of(scheme)
    with restored(), one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one fill of each model is listened to
        evidence = gather(subject)
        if evidence.refusals and not evidence.cases and not evidence.raised:
            raise UsageError(
                f"'{subject.name}' fits none of the models that schemes are checked on: "
                f"{next(iter(evidence.refusals.values()))}"
            )
        return [_checked(name, check, evidence) for name, check in CHECKS]


def _checked(name: str, check: Callable[[Evidence], Found], evidence: Evidence) -> Result:
    """Run one check; a scheme that raises in it has failed it."""
    if not evidence.cases and check is not manners.says_what_it_cannot_fill:
        return Result(name, SKIP, "no model could be filled")
    try:
        return Result(name, *check(evidence))
    except Exception as error:  # noqa: BLE001 - whatever a scheme raises is what is to be told
        return Result(name, FAIL, f"it raises {usercode.describe_error(error)}")
