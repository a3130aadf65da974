"""How many examples tests draw, and how many rounds they take.

`make test` draws a quarter of them (the Hypothesis profile `ci`), and INITBENCH_TORTURE=10 ten times as many.
"""

import os
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("INITBENCH_TORTURE", "1"))


def examples(count: int) -> settings:
    """Return settings for so many examples of the profile `dev`; fixtures may be shared by examples."""
    shared = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    drawn = max(1, count * TIMES * settings().max_examples // 100)
    return settings(deadline=None, max_examples=drawn, suppress_health_check=shared)


def rounds(few: int, many: int) -> pytest.MarkDecorator:
    """Parametrize a test by `rounds`: a few, and in the long suite many, INITBENCH_TORTURE times over."""
    return pytest.mark.parametrize("rounds", [few, pytest.param(many * TIMES, marks=pytest.mark.long)])


def one_in(count: int, cases: Iterable[object]) -> list[object]:
    """Return the cases of a parametrized test, of which `make test` runs each `count`-th; a tuple has many values."""
    return [case if i % count == 0 else _long(case) for i, case in enumerate(cases)]


def _long(case: object) -> object:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.long)
