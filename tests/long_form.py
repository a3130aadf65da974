"""How often the tests that draw their cases draw them: INITBENCH_TORTURE times as often as in the ordinary suite."""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("INITBENCH_TORTURE", "1"))


def examples(count: int) -> settings:
    """Return settings for so many examples in the ordinary suite; fixtures may be shared by examples."""
    shared = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(deadline=None, max_examples=count * TIMES, suppress_health_check=shared)
