"""The errors a user can cause.

Each message is one sentence with the value, the place and the remedy; the command line prints it without a
traceback and exits with status `exit_code`.

    InitbenchError
    ├── UsageError          2  invalid input: an unknown name, a parameter out of range
    ├── ConditionMet        5  the condition of `--fail-if` holds
    ├── TrialsFailed        3  some trials failed; the others are stored
    ├── NotConforming       4  a scheme fails checks of the conformance suite
    └── ConfigurationError  4  a recipe, folder or device that cannot be used
        └── DataError       4  a dataset that is missing, damaged or of the wrong shape
"""

from typing import ClassVar


class InitbenchError(Exception):
    """Any error that a user can cause and fix."""

    exit_code: ClassVar[int] = 4


class UsageError(InitbenchError):
    """Invalid input: a name that does not exist, or a value out of range."""

    exit_code = 2


class TrialsFailed(InitbenchError):  # noqa: N818 - named after the outcome, like the exit code
    """Some trials of a run failed; the others are stored."""

    exit_code = 3


class ConditionMet(InitbenchError):  # noqa: N818 - named after the outcome, like the exit code
    """A condition of `--fail-if` holds."""

    exit_code = 5


class NotConforming(InitbenchError):  # noqa: N818 - named after the outcome, like the exit code
    """A scheme fails checks of the conformance suite."""


class ConfigurationError(InitbenchError):
    """A recipe, a folder or a device that cannot be used."""


class DataError(ConfigurationError):
    """A dataset that is missing, damaged or of the wrong shape."""


class InitbenchWarning(UserWarning):
    """A non-fatal notice for the user."""
