"""Compile the training loops in the background while the program imports what trains."""

from initbench.cli import console


def start_compiling(*, device: str, quiet: bool) -> None:
    """Compile the training loops in another process, unless this machine has them cached or a GPU is to train."""
    if device != "cpu":
        return
    from initbench.training.compiled import kernels  # loads LLVM

    if kernels.are_ready():
        return
    begun = kernels.begin()
    if begun and not quiet:
        console.notice("Compiling the training loops for this machine (once, about 3 s).")
    elif not quiet:
        console.notice(
            f"Cannot cache compiled training loops in {kernels.folder()}, so every run compiles them (about 3 s). "
            "Set INITBENCH_CACHE to a folder that only you can write to."
        )
