"""What the cells of a table are sorted by: the number that a cell begins with."""

import re

_NUMBER = re.compile(r"\[?(?:[<≥] )?([−-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|∞))(?![\w-])")
_SHARE = re.compile(r"(\d+)/(\d+)")
_LEVELS = {"PASS": "0", "WARN": "1", "FAIL": "2"}


def sort_key(cell: str) -> str:
    """Return the number that a cell is sorted by, as JavaScript reads it; nothing for `never` and other words.

    `7/10` counts as a share, `0.91 ± 0.02 (3/10)` by its mean, `[1, 2]` by its low end, PASS before WARN before FAIL.
    """
    if cell in _LEVELS:
        return _LEVELS[cell]
    if share := _SHARE.fullmatch(cell):
        return repr(int(share[1]) / int(share[2])) if int(share[2]) else ""
    number = _NUMBER.match(cell)
    return number[1].replace("−", "-").replace("∞", "Infinity") if number else ""
