"""What is begun before the rest of the program is imported."""

from initbench.cli import console


def compile_early(*, needed: bool, quiet: bool) -> None:
    """Have the training loops compiled in another process, where this machine has not got them yet."""
    from initbench.compiled import kernels

    if not needed or kernels.are_ready():
        return
    begun = kernels.begin()
    if begun and not quiet:
        console.notice("The training loops are compiled for this machine, once: some 3 s.")
    elif not quiet:
        console.notice(
            f"The training loops are compiled anew each time, some 3 s: {kernels.folder()} cannot be written by you "
            "alone. INITBENCH_CACHE names another folder."
        )
