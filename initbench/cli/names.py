"""The names that can be typed: of registered functions, read from source without importing torch, and of recipes.

Shell completion must answer at once, and importing the registries imports torch. What is read here is the decorator
that fills a registry, so a new scheme needs no second entry; a test compares the two.
"""

import ast
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from initbench.core.spec import did_you_mean
from initbench.errors import UsageError

PACKAGE = Path(__file__).parents[1]
FOLDER = Path("experiments")  # of recipes
# Where the functions of a kind are defined, and the registry that their decorator names.
HOMES = {
    "scheme": ("schemes", "SCHEMES"),
    "model": ("networks/models.py", "MODELS"),
    "dataset": ("datasets", "DATASETS"),
    "optimizer": ("training/optimizers.py", "OPTIMIZERS"),
}


@dataclass(frozen=True)
class Named:
    """A registered function: `parameters` maps each settable one to its default as source, None if it has none.

    `summary` is the first line of its docstring.
    """

    name: str
    aliases: tuple[str, ...]
    parameters: Mapping[str, str | None]
    summary: str


def registered(kind: str) -> list[Named]:
    """Return the functions that the package registers as a kind: scheme, model, dataset or optimizer."""
    home, registry = HOMES[kind]
    path = PACKAGE / home
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    return [named for file in files for named in _in_file(file, f"{registry}.register")]


def installed(kind: str) -> list[str]:
    """Return the names that other installed packages add, without importing these packages."""
    return [point.name for point in entry_points(group=f"initbench.{kind}s")]


def _in_file(file: Path, register: str) -> Iterator[Named]:
    functions = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    for node in functions:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == register:
                aliases = tuple(ast.literal_eval(alias) for alias in decorator.args)
                summary = (ast.get_docstring(node) or "").partition("\n")[0]
                yield Named(node.name, aliases, _parameters(node.args), summary)


def _parameters(arguments: ast.arguments) -> dict[str, str | None]:
    """Return the parameters after the `/`, as `registry.Registry.register` does."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    settable = pairs[len(arguments.posonlyargs) :]
    return {argument.arg: None if default is None else ast.unparse(default) for argument, default in settable}


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
        near = did_you_mean(given.name, list(known)) or "; `initbench list experiments` lists them."
        raise UsageError(f"No recipe '{given}'{near}")
    return known.get(given.stem, given) if is_name or given == FOLDER / f"{given.stem}.toml" else given


def question(path: Path) -> str:
    """Return a recipe's question, "" if it has none."""
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("question", ""))
    except (ValueError, RecursionError, OSError):
        return "(cannot be read)"
