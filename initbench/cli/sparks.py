"""Curves in a line of text."""

from collections.abc import Sequence

SPARKS = "▁▂▃▄▅▆▇█"


def block(share: float) -> str:
    """Return the block that stands for a share of the height, at least the lowest."""
    return SPARKS[min(len(SPARKS) - 1, max(0, int(share * len(SPARKS))))]


def picked(count: int, width: int) -> list[int]:
    """Return at most `width` of the places 0 … count - 1, evenly spaced, with both ends."""
    if count <= width:
        return list(range(count))
    return [round(i * (count - 1) / (width - 1)) for i in range(width)]


def spark(shares: Sequence[float], width: int) -> str:
    """Draw shares from 0 to 1 as at most `width` blocks."""
    return "".join(block(shares[i]) for i in picked(len(shares), width))
