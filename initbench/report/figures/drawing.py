"""Figures drawn on all cores, by forked copies of this process: they have everything in memory that a figure needs.

A fork is safe from a process of one thread, and only then is one made: no lock can be held by a thread that the copy
lacks, and OpenMP has not started its own (`core.machine.is_single_threaded`). Elsewhere this process draws alone.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

from initbench.core.children import end_with_parent, no_interrupt_for_children
from initbench.core.interrupts import STOPPING
from initbench.core.machine import cores, is_single_threaded
from initbench.report.figures.picture import Picture

Wanted = tuple[Callable[[], Picture], Sequence[str]]  # what draws a figure, and the formats of its files

_held: list[Wanted] = []  # by a copy of this process


@contextmanager
def drawn_meanwhile(wanted: Sequence[Wanted]) -> Iterator[Callable[[], list[Picture]]]:
    """Draw figures and make their files while the block does other things; yield what waits for them."""
    jobs = min(cores(), len(wanted))
    if jobs < 2 or not is_single_threaded():
        yield partial(_drawn_here, wanted)
        return
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), _begin, (wanted,))
    try:
        with no_interrupt_for_children():
            futures = [executor.submit(_draw, number) for number in range(len(wanted))]
        yield partial(_drawn_by_copies, futures, wanted)
    except BaseException:
        for copy in set(multiprocessing.active_children()) - others:
            copy.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _drawn_here(wanted: Sequence[Wanted]) -> list[Picture]:
    return [_with_files(*figure) for figure in wanted]


def _drawn_by_copies(futures: Sequence[Future[Picture]], wanted: Sequence[Wanted]) -> list[Picture]:
    try:
        return [future.result() for future in futures]
    except BrokenProcessPool:  # a copy was killed, as when memory runs out: one process takes less
        return _drawn_here(wanted)


def _begin(wanted: Sequence[Wanted]) -> None:
    for number in STOPPING:  # the parent's answer, which says what to do next, is its own
        signal.signal(number, signal.SIG_DFL)
    end_with_parent()
    _held.extend(wanted)


def _draw(number: int) -> Picture:
    return _with_files(*_held[number])


def _with_files(draw: Callable[[], Picture], formats: Sequence[str]) -> Picture:
    picture = draw()
    picture.files(formats)  # kept by the picture
    return picture
