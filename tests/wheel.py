"""Build the sdist and the wheel, install the wheel into a fresh environment, and use it: `make wheel`.

Dependencies are those of the environment that runs this, so nothing but the build backend is downloaded.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
COMPARE = ("compare", "-s", "kaiming", "-s", "xavier", "--steps", "20", "--seeds", "2", "--jobs", "2", "-q")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        wheel = build(place / "dist")
        check_files(wheel)
        use(install(wheel, place / "environment"), place)
    print(f"{wheel.name}: built, installed in a fresh environment, used.")


def build(folder: Path) -> Path:
    """Build the sdist, and the wheel from it."""
    env = os.environ | {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    run = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    expected = {f"initbench-{VERSION}.tar.gz", f"initbench-{VERSION}-py3-none-any.whl"}
    assert {path.name for path in folder.iterdir()} == expected
    return folder / f"initbench-{VERSION}-py3-none-any.whl"


def check_files(wheel: Path) -> None:
    """Compare the wheel's files with those of the package: templates, py.typed and pages included, nothing besides."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    found = (path for path in (ROOT / "initbench").rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    package = {path.relative_to(ROOT).as_posix() for path in found}
    package |= {f"initbench/experiments/{path.name}" for path in (ROOT / "experiments").iterdir()}
    info = f"initbench-{VERSION}.dist-info"
    described = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    missing, unexpected = (package | described) - inside, inside - package - described
    assert not missing, f"not in the wheel: {sorted(missing)}"
    assert not unexpected, f"in the wheel without being in the package: {sorted(unexpected)}"


def install(wheel: Path, environment: Path) -> Path:
    """Return the `bin` of a new environment that holds the wheel, and sees the dependencies of this one."""
    venv.create(environment)
    paths = sysconfig.get_paths("venv", {"base": str(environment), "platbase": str(environment)})
    python = Path(paths["scripts"]) / Path(sys.executable).name
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # What follows the environment's own folder on sys.path. An editable initbench there stays unseen: its .pth is not
    # read where a folder is named in another .pth.
    (Path(paths["purelib"]) / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    return python.parent


def use(bin_folder: Path, place: Path) -> None:
    """Run a few commands of the installed package, outside the repository."""
    python = bin_folder / Path(sys.executable).name
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def output(*command: object) -> str:
        run = [str(part) for part in command]
        done = subprocess.run(run, cwd=place, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{run} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    source = Path(output(python, "-c", "import initbench; print(initbench.__file__)").strip())
    assert source.is_relative_to(bin_folder.parent), f"{source} was used in place of the wheel"
    command = bin_folder / "initbench"
    assert output(command, "--version").startswith(f"initbench {VERSION} ")
    assert "kaiming_uniform" in output(command, "list", "schemes")
    for recipe in ("article", "experiments/article.toml"):
        assert "trials, 0 of them stored" in output(command, "compare", recipe, "--dry-run")
    assert "2 seeds cannot tell 2 schemes apart" in output(command, *COMPARE, "--name", "wheel")
    assert (place / "results" / "wheel" / "report.html").stat().st_size > 0


if __name__ == "__main__":
    main()
