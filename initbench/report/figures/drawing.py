"""Figures drawn on all cores, by forked copies of this process: they have everything in memory that a figure needs.

Where a fork would not be safe (`core.forked`) this process draws alone.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

from initbench.core.forked import can_fork, forked
from initbench.core.gc_pause import collector_paused
from initbench.core.machine import cores
from initbench.report.figures.picture import Picture

Wanted = tuple[Callable[[], Picture], Sequence[str]]  # what draws a figure, and the formats of its files
Drawn = Callable[[], list[Picture]]  # waits for the figures

_held: list[Wanted] = []  # by a copy of this process


@contextmanager
def drawn_meanwhile(wanted: Sequence[Wanted]) -> Iterator[Drawn]:
    """Draw figures and make their files while the block does other things; yield what waits for them."""
    if len(wanted) < 2 or not can_fork():
        yield partial(_drawn_here, wanted)
        return
    with forked(min(cores(), len(wanted)), _held.extend, wanted) as copies:
        # From the last, which of an inspection takes longest: begun last, it would keep one core waiting.
        futures = [copies.submit(_draw, number) for number in reversed(range(len(wanted)))]
        yield partial(_drawn_by_copies, futures[::-1], wanted)


def _drawn_here(wanted: Sequence[Wanted]) -> list[Picture]:
    return [_with_files(*figure) for figure in wanted]


def _drawn_by_copies(futures: Sequence[Future[Picture]], wanted: Sequence[Wanted]) -> list[Picture]:
    try:
        return [future.result() for future in futures]
    except BrokenProcessPool:  # a copy was killed, as when memory runs out: one process takes less
        return _drawn_here(wanted)


def _draw(number: int) -> Picture:
    return _with_files(*_held[number])


def _with_files(draw: Callable[[], Picture], formats: Sequence[str]) -> Picture:
    with collector_paused():
        picture = draw()
        picture.files(formats)  # kept by the picture
    return picture
