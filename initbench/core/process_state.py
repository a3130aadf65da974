"""What the user's code may change for the whole process, given back after each block in which it runs."""

import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch

Setting = tuple[Callable[[], Any], Callable[[Any], object]]  # read, and write back


def _attribute(name: str) -> Setting:
    return lambda: getattr(sys, name), lambda value: setattr(sys, name, value)


def _handler(number: int) -> Setting:
    return lambda: signal.getsignal(number), lambda handler: signal.signal(number, handler)


def _folder() -> str:
    with suppress(FileNotFoundError):
        return os.getcwd()  # noqa: PTH109 - `chdir` takes it back as it is
    return ""


SETTINGS: tuple[Setting, ...] = (
    (_folder, lambda folder: os.chdir(folder) if folder else None),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_num_threads, torch.set_num_threads),
    (np.geterr, lambda errors: np.seterr(**errors)),
    (gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable()),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    *map(_attribute, ("argv", "stdin", "stdout", "stderr", "excepthook", "displayhook")),
)
HANDLERS = tuple(map(_handler, (signal.SIGINT, signal.SIGTERM)))  # set by the main thread alone


@contextmanager
def process_kept() -> Iterator[None]:
    """Give back, after the block, folder, arguments, torch's defaults, global generators, warnings, streams, signals.

    Within it `sys.argv` holds the program's name alone: a script that reads its arguments gets its own defaults.
    Modules that were imported and environment variables stay, as later calls of the same code may need them.
    """
    main = threading.current_thread() is threading.main_thread()
    settings = SETTINGS + (HANDLERS if main else ())
    before = [read() for read, _ in settings]
    generators = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - the user's may be it
    sys.argv = sys.argv[:1]
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for (read, write), value in zip(settings, before, strict=True):
            if read() is not value and read() != value:
                write(value)
        torch.set_rng_state(generators[0])
        np.random.set_state(generators[1])  # noqa: NPY002
        random.setstate(generators[2])
