"""The errors a user can cause.

Each message is one sentence with the value, the place and the remedy; the command line prints it without a
traceback and leaves with `exit_code`.

    InitbenchError
    ├── UsageError          2  what was typed: an unknown name, a parameter out of range
    ├── ConditionMet        5  what `--fail-if` names came true
    ├── TrialsFailed        3  some trials failed; the others are stored
    ├── NotConforming       4  a scheme breaks what every scheme must keep
    └── ConfigurationError  4  a recipe, a folder, a device
        └── DataError       4  a data file that is absent, damaged or of another shape
"""

from typing import ClassVar


class InitbenchError(Exception):
    """Any error that a user can cause and mend."""

    exit_code: ClassVar[int] = 4


class UsageError(InitbenchError):
    """Something typed that does not exist or is out of range."""

    exit_code = 2


class TrialsFailed(InitbenchError):  # noqa: N818 - the name says the outcome, as the exit code does
    """Some trials of a run failed; the others are stored."""

    exit_code = 3


class ConditionMet(InitbenchError):  # noqa: N818 - the name says the outcome, as the exit code does
    """A condition of `--fail-if` holds."""

    exit_code = 5


class NotConforming(InitbenchError):  # noqa: N818 - the name says the outcome, as the exit code does
    """A scheme fails checks of the conformance suite."""


class ConfigurationError(InitbenchError):
    """A recipe, a folder or a device that cannot be used."""


class DataError(ConfigurationError):
    """A dataset that is absent, damaged or of the wrong shape."""


class InitbenchWarning(UserWarning):
    """Something that a user should know and that stops nothing."""
