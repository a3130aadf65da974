"""The names of recipes: of the package's own, and of those in the current folder."""

import tomllib
from pathlib import Path

from initbench.core.declared import registered
from initbench.core.spec import did_you_mean
from initbench.errors import UsageError

PACKAGE = Path(__file__).parents[1]
FOLDER = Path("experiments")  # of recipes


def recipes() -> dict[str, Path]:
    """Return the recipes by name: those of the package, and those in the current folder's `experiments`, which win."""
    return {path.stem: path for folder in (_recipes_of_package(), FOLDER) for path in sorted(folder.glob("*.toml"))}


def _recipes_of_package() -> Path:
    """Return where the package has its recipes: inside once it is installed, beside it in a checkout."""
    inside, checkout = PACKAGE / "experiments", PACKAGE.parent
    return checkout / "experiments" if not inside.is_dir() and (checkout / "pyproject.toml").is_file() else inside


def typed(path: Path) -> str:
    """Return what to type for a recipe: its path, or its name if it is one of the package."""
    return str(path) if path.parent == FOLDER else path.stem


def recipe_at(given: Path) -> Path:
    """Return the recipe that a path or a name means.

    `article` and `experiments/article.toml` are the package's own where the current folder has no such file.

    Raises:
        UsageError: a name that no recipe has.
    """
    if given.is_file():
        return given
    is_name = given.name == str(given) and not given.suffix
    known = recipes()
    if is_name and given.name not in known and not given.exists():
        if _is_scheme(given.name):
            raise UsageError(f"No recipe '{given}': it is a scheme, write -s {given}.")
        near = did_you_mean(given.name, list(known)) or "; `initbench list experiments` lists them."
        raise UsageError(f"No recipe '{given}'{near}")
    if is_name and _is_scheme(given.name):
        raise UsageError(f"'{given}' is a recipe and a scheme: write {known[given.name]}, or -s {given}.")
    return known.get(given.stem, given) if is_name or given == FOLDER / f"{given.stem}.toml" else given


def _is_scheme(name: str) -> bool:
    return any(name in (scheme.name, *scheme.aliases) for scheme in registered("scheme"))


def question(path: Path) -> str:
    """Return a recipe's question, "" if it has none."""
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("question", ""))
    except (ValueError, RecursionError, OSError):
        return "(cannot be read)"
