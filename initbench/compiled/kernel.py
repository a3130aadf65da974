"""Kernels: functions of addresses, compiled when first asked for, their machine code kept for the next process.

It lies in a folder of the user's own, as object files by name, in a subfolder for all that the code depends on: the
versions of Python, NumPy, Numba and LLVM, the processor, and every source file here. So a file is never stale, and a
process that finds its files needs LLVM's loader alone, which takes it 50 ms, where importing Numba and having it read
its own cache takes 700. A process that finds a kernel being compiled by another waits for it. Where nothing can be kept
code is compiled in memory, in every process.
"""

try:
    import fcntl
except ImportError:  # Windows: two processes that begin at once both compile, and the later one's file stays
    fcntl = None  # type: ignore[assignment]

CHECKSUM = 32  # bytes of SHA-256 before the code: a file that was cut or changed is made anew
