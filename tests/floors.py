"""Run the unit tests with the lowest versions that pyproject.toml allows, and on newer Pythons: `make floors`.

The lowest versions are those of what the package itself needs; what these need, and the tools of the tests, are the
newest. Newer Pythons get the versions of constraints.txt.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv-floors"
NEWER = ("3.12", "3.13")
FAILURES = FAILED, UNFIT = "FAILED", "FAILED: cannot be installed"
SLOW = ("long", "ecosystem", "process", "cluster", "browser", "shells", "simulation")


def main() -> None:
    lowest = [need.replace(">=", "==") for need in project()["dependencies"]]
    outcomes = {"lowest": tested("lowest", sys.executable, lowest)}
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for version in NEWER:
        python = find(version)
        outcomes[version] = tested(version, python, pinned) if python else "not tested: no such Python here"
    print("\nlowest versions allowed, and newer Pythons:")
    for name, outcome in outcomes.items():
        print(f"  {name:<8}{outcome}")
    sys.exit(any(outcome in FAILURES for outcome in outcomes.values()))


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def find(version: str) -> str | None:
    """Return a Python of this version: on the path, or one that pyenv keeps."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for python in (shutil.which(f"python{version}"), *map(str, kept)):
        if python and subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return python
    return None


def tested(name: str, python: str, constraints: list[str]) -> str:
    """Install into an environment of this name under these constraints, test, and return how it went."""
    own = PLACE / name / "bin" / "python"
    if not own.exists():
        subprocess.run([python, "-m", "venv", PLACE / name], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        print(*(line for line in constraints if not line.startswith("-e")), sep="\n", file=file, flush=True)
        pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", file.name]
        if subprocess.run([*pip, "--editable", f"{ROOT}[dev]"], check=False).returncode:
            return UNFIT
    marked = " and ".join(f"not {marker}" for marker in SLOW)
    tests = [own, "-m", "pytest", "-n", "2", "--dist", "worksteal", "-m", marked, "--hypothesis-profile", "ci"]
    env = {variable: value for variable, value in os.environ.items() if variable != "PYTHONPATH"}
    return FAILED if subprocess.run(tests, cwd=ROOT, env=env, check=False).returncode else "passed"


if __name__ == "__main__":
    main()
