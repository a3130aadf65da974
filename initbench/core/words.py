"""Counts, lists, names and signs as sentences have them."""

from collections.abc import Iterable, Sequence


def counted(number: int, noun: str) -> str:
    """Return `1 trial` or `3 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def quoted(name: str) -> str:
    """Return a name in quotes if its own semicolons or commas would blur the list or sentence it stands in."""
    return f"“{name}”" if {";", ","} & set(name) else name


def listed(names: Iterable[str]) -> str:
    """Return names separated by commas."""
    return ", ".join(map(quoted, names))


def joined(parts: Iterable[str]) -> str:
    """Return `a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def seed_range(seeds: Sequence[int]) -> str:
    """Return sorted seeds as `0 to 9` where none is left out between the ends, else as `0, 2, 7`."""
    whole = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


def true_minus(text: str) -> str:
    """Return a number with a true minus sign (U+2212) in place of a leading hyphen."""
    return text.replace("-", "−", 1) if text.startswith("-") else text


def rounded_up(count: int) -> str:
    """Return a count that is only an estimate, rounded up to two digits.

    >>> rounded_up(22), rounded_up(13_787)
    ('22', '14,000')
    """
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // step) * step:,}"
