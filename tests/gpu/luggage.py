"""What a bare machine lacks, packed into one folder: wheels, and MNIST.

`python -m tests.gpu.luggage FOLDER [DATA]` packs it where pip works; `unpack` needs no pip.
"""

import gzip
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What machines with PyTorch often lack; their own dependencies are among them.
PACKAGES = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "pooch", "platformdirs")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def pack(folder: Path, data: Path | None, python: str = "3.12") -> None:
    """Download the wheels at the versions of this environment, and pack MNIST."""
    from importlib.metadata import version

    folder.mkdir(parents=True, exist_ok=True)
    wanted = [f"{name}=={version(name)}" for name in PACKAGES]
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version",
         python, *platforms, "--dest", str(folder), *wanted],
        check=True,
    )  # fmt: skip
    for source in sorted((data / "MNIST" / "raw").glob("*ubyte")) if data else ():
        (folder / f"{source.name}.gz").write_bytes(gzip.compress(source.read_bytes()))


def unpack(luggage: Path | None, into: Path) -> tuple[Path, Path]:
    """Unpack wheels and data, and return the folder to import from and the folder of datasets.

    The package itself runs from this checkout; what it asks of its own distribution is written beside the wheels.
    """
    site, raw = into / "site", into / "data" / "MNIST" / "raw"
    site.mkdir(parents=True)
    raw.mkdir(parents=True)
    for wheel in sorted(luggage.glob("*.whl")) if luggage else ():
        zipfile.ZipFile(wheel).extractall(site)
    for packed in sorted(luggage.glob("*ubyte.gz")) if luggage else ():
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = re.search(r'__version__ = "([^"]+)"', (ROOT / "initbench" / "__init__.py").read_text())
    number = project.get("version") or (found[1] if found else "0")
    about = site / f"{project['name']}-{number}.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {number}\n")
    return site, into / "data"


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
