"""What starts before the rest of the program is imported."""

from initbench.cli import console


def compile_early(*, needed: bool, quiet: bool) -> None:
    """Compile the training loops in another process, unless this machine has them already."""
    from initbench.training.compiled import kernels

    if not needed or kernels.are_ready():
        return
    begun = kernels.begin()
    if begun and not quiet:
        console.notice("Compiling the training loops for this machine (once, about 3 s).")
    elif not quiet:
        console.notice(
            f"Cannot keep compiled training loops in {kernels.folder()}, so every run compiles them again (about 3 s). "
            "Set INITBENCH_CACHE to a folder that only you can write to."
        )
