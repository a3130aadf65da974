"""`initbench doctor`: what works here."""

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

from initbench.cli import console, options

LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "scikit-learn", "pydantic", "typer")


@console.command
def doctor(data_dir: options.DataDir = None, out: options.Out = options.OUT) -> None:
    """Show versions, device, threads, folders and datasets: what works here."""
    import platform

    import torch

    from initbench.datasets import DATASETS, default_data_dir, locate
    from initbench.environment import choose_device, cores, device_name

    device = choose_device("auto")
    folder = data_dir or default_data_dir()
    rows = [
        ("initbench", version("initbench")),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("libraries", ", ".join(f"{name} {version(name)}" for name in LIBRARIES)),
        ("device", f"{device}: {device_name(device)}"),
        ("cuda", f"{torch.version.cuda or 'not built in'}; available: {torch.cuda.is_available()}"),
        ("workers", f"{cores()} processes of one thread each"),
        ("results", f"{out.resolve()}: {_writable(out)}"),
        ("data", str(folder)),
        *((f"  {name}", (place := locate(name, folder)).state + f": {place.note}") for name in DATASETS),
    ]
    console.show_table("", ("", ""), rows)


def _writable(folder: Path) -> str:
    """Try to write, for permission bits do not tell about full or read-only disks."""
    nearest = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"x")
    except OSError as error:
        return f"cannot be written ({os.strerror(error.errno or 0)}); choose another with --out"
    return "can be written"
