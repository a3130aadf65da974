"""Kernels by name: compiled on first use, with their machine code cached for later processes.

The cache is in the user's own folder, one object file per kernel, in a subfolder named after a hash of everything that
the code depends on: the versions of Python, NumPy, Numba and LLVM, the processor, and every source file here. So no
file is ever stale, and a process that finds its files needs only LLVM's loader: 50 ms, whereas importing Numba and
loading from Numba's own cache takes 700. A process waits for a kernel that another one is compiling. If the cache
cannot be written, each process compiles in memory.
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

# The kernels of a first trial; others depend on its activation and optimizer.
FIRST = (
    "products.product", "products.add_product", "products.transpose", "products.gather_bytes", "products.gather_floats",
    "activations.relu", "activations.relu_back", "chain.evaluate", "chain.train",
)  # fmt: skip
DIGEST = 32  # bytes of SHA-256 before the code; a truncated or changed file is compiled again

_one_at_a_time = threading.RLock()
_compilers: list[subprocess.Popen[bytes]] = []
_loaded: list[llvm.ExecutionEngine] = []  # addresses are valid as long as these live


@cache
def address(name: str) -> int:
    """Return the address of a kernel's machine code; `name` is module.function, such as "activations.relu"."""
    with _one_at_a_time:
        code = _read(name) or _made(name)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target().create_target_machine(jit=True))
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        _loaded.append(engine)
        return int(engine.get_function_address(symbol(name)))


@cache
def function(name: str, count: int) -> Callable[..., None]:
    """Return a kernel as a Python function of `count` integers and addresses, which releases the GIL."""
    # Functions compiled by Numba take two more arguments, for a result and an exception; kernels use neither.
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
    """Return whether these kernels are in the cache, without reading them."""
    return all(_place(name).exists() for name in names)


def begin() -> bool:
    """Start a process that compiles the kernels of a first trial, unless they are cached; return whether it started.

    It runs while this process imports torch. A kernel needed before it is ready is waited for.
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
    """Return whether the cache can be written."""
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder()).close()
        return _is_private(folder())
    except OSError:
        return False


def processor() -> str:
    """Return LLVM's name of the processor that code is compiled for."""
    return os.environ.get("NUMBA_CPU_NAME") or str(llvm.get_host_cpu_name())


@cache
def folder() -> Path:
    """Return the folder of object files, which need not exist."""
    parts = [sys.version, *(version(package) for package in ("numpy", "numba", "llvmlite"))]
    parts += [llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    parts += [f"{key}={value}" for key, value in sorted(os.environ.items()) if key.startswith("NUMBA_")]
    digest = hashlib.sha256("\0".join(parts).encode())
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
    """Return cached machine code; None if it is missing or damaged, or others could have written it."""
    try:
        if not _is_private(folder()):
            return None
        kept = _place(name).read_bytes()
    except OSError:
        return None
    code = kept[DIGEST:]
    return code if kept[:DIGEST] == hashlib.sha256(code).digest() else None


def _made(name: str) -> bytes:
    """Compile a kernel, unless another process did while this one waited, and cache it if possible."""
    from initbench.training.compiled.compiling import machine_code  # noqa: PLC0415 - it imports Numba

    with _alone():
        code = _read(name)
        if code is None:
            code = machine_code(name, symbol(name))
            with suppress(OSError):  # not writable: the next process compiles it again
                _keep(_place(name), hashlib.sha256(code).digest() + code)
        return code


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of the cache folder, so that one process compiles at a time; no lock if it is not writable."""
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder() / "lock").open("a")
    except OSError:
        yield
        return
    with lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes or the process dies
        yield


def _keep(place: Path, content: bytes) -> None:
    """Write a file atomically."""
    if not _is_private(place.parent):
        return
    with tempfile.TemporaryDirectory(dir=place.parent) as beside:
        part = Path(beside, place.name)
        part.write_bytes(content)
        part.replace(place)


def _is_private(place: Path) -> bool:
    """Return whether only this user can have written to a folder, whose files are executed."""
    status = place.stat()
    if not hasattr(os, "geteuid"):  # Windows has no such mode; the cache is in the user's own profile
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
