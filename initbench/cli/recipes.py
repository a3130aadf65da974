"""The recipes of the current folder, and the question that each asks; read by listings and by shell completion."""

import tomllib
from pathlib import Path

FOLDER = Path("experiments")


def recipes() -> dict[str, Path]:
    """Return the recipes in the current folder's `experiments`, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def question(path: Path) -> str:
    """Return what a recipe asks, nothing where it does not say."""
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("question", ""))
    except (ValueError, RecursionError, OSError):
        return "(cannot be read)"
