"""Kernels by name: compiled when first asked for, their machine code kept for the next process.

It lies in a folder of the user's own, an object file a kernel, in a subfolder named by all that the code depends on:
the versions of Python, NumPy, Numba and LLVM, the processor, and every source file here. So no file is ever stale, and
a process that finds its files needs LLVM's loader alone: 50 ms, where importing Numba and having it read a cache of its
own takes 700. A process that finds a kernel being compiled by another waits for it. Where nothing can be kept, code is
compiled in memory, in every process.
"""

import ctypes
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding as llvm

from initbench.core.paths import cache_dir

try:
    import fcntl
except ImportError:  # Windows: two processes that begin at once both compile, and the later one's file stays
    fcntl = None  # type: ignore[assignment]

# What a first trial needs, whatever its activation and optimizer.
FIRST = (
    "products.product", "products.add_product", "products.turn", "products.gather_bytes", "products.gather_floats",
    "activations.relu", "activations.relu_back", "chain.evaluate", "chain.train",
)  # fmt: skip
DIGEST = 32  # bytes of SHA-256 before the code: a file that was cut or changed is made anew

_one_at_a_time = threading.RLock()
_compilers: list[subprocess.Popen[bytes]] = []
_loaded: list[llvm.ExecutionEngine] = []  # which the addresses live as long as


@cache
def address(name: str) -> int:
    """Return where a kernel's machine code lies; `name` is its module's and its own, as "activations.relu"."""
    with _one_at_a_time:
        code = _read(name) or _made(name)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target().create_target_machine(jit=True))
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        _loaded.append(engine)
        return int(engine.get_function_address(symbol(name)))


@cache
def function(name: str, count: int) -> Callable[..., None]:
    """Return a kernel as Python calls it, with `count` whole numbers and addresses; other threads run meanwhile."""
    # As every function that Numba compiles, it has a place for a result and one for an exception, and uses neither.
    code = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_ssize_t] * (2 + count))(address(name))
    nowhere = ctypes.c_void_p()

    def call(*arguments: int) -> None:
        place = ctypes.addressof(nowhere)
        code(place, place, *arguments)

    return call


def symbol(name: str) -> str:
    """Return the name of a kernel in its object file."""
    return "initbench_" + name.replace(".", "_")


def are_ready(names: tuple[str, ...] = FIRST) -> bool:
    """Say whether kernels were compiled here before, without reading them."""
    return all(_place(name).exists() for name in names)


def begin() -> bool:
    """Have another process compile what a first trial needs, if that was not done here before; say whether it does.

    So it happens while this one imports torch. Whoever needs a kernel before it is there waits for it.
    """
    if are_ready() or not can_keep():
        return False
    if any(compiler.poll() is None for compiler in _compilers):
        return True  # a program that runs several commands starts one compiler, not one per command
    _compilers.append(
        subprocess.Popen(  # noqa: S603 - this very interpreter and package
            [sys.executable, "-m", __package__],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    )
    return True


def can_keep() -> bool:
    """Say whether machine code can be kept for the next process."""
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder()).close()
        return _is_private(folder())
    except OSError:
        return False


def processor() -> str:
    """Return LLVM's name of the processor that code is made for."""
    return os.environ.get("NUMBA_CPU_NAME") or str(llvm.get_host_cpu_name())


@cache
def folder() -> Path:
    """Return the folder of object files, whether it exists or not."""
    told = [sys.version, *(version(package) for package in ("numpy", "numba", "llvmlite"))]
    told += [llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    told += [f"{key}={value}" for key, value in sorted(os.environ.items()) if key.startswith("NUMBA_")]
    digest = hashlib.sha256("\0".join(told).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return cache_dir() / "compiled" / digest.hexdigest()[:16]


@cache
def _target() -> llvm.Target:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple()


def _place(name: str) -> Path:
    return folder() / f"{name}.o"


def _read(name: str) -> bytes | None:
    """Return kept machine code, None where there is none, or it is not whole, or others could have written it."""
    try:
        if not _is_private(folder()):
            return None
        kept = _place(name).read_bytes()
    except OSError:
        return None
    code = kept[DIGEST:]
    return code if kept[:DIGEST] == hashlib.sha256(code).digest() else None


def _made(name: str) -> bytes:
    """Compile a kernel, unless another process has done so while this one waited for it, and keep it if possible."""
    from initbench.training.compiled.compiling import machine_code  # noqa: PLC0415 - it loads Numba

    with _alone():
        code = _read(name)
        if code is None:
            code = machine_code(name, symbol(name))
            with suppress(OSError):  # nowhere to keep it: the next process compiles it again
                _keep(_place(name), hashlib.sha256(code).digest() + code)
        return code


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other processes of this folder from compiling meanwhile, where it can be written at all."""
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder() / "lock").open("a")
    except OSError:
        yield
        return
    with lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file closes, or the process dies
        yield


def _keep(place: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    if not _is_private(place.parent):
        return
    with tempfile.TemporaryDirectory(dir=place.parent) as beside:
        part = Path(beside, place.name)
        part.write_bytes(content)
        part.replace(place)


def _is_private(place: Path) -> bool:
    """Say whether only this user can have written to a folder: what lies there is run."""
    status = place.stat()
    if not hasattr(os, "geteuid"):  # Windows, whose mode says nothing; the cache lies in the user's own profile
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
