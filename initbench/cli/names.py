"""The names that can be typed, read from the source of the files that register them: no torch is loaded for them.

Shell completion must answer at once, and the registries live beside the code that torch runs. What is read here is the
very decorator that fills a registry, so a new scheme needs no second entry; a test holds the two against each other.
"""

import ast
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# Where the functions of a kind are, and the registry that their decorator names.
HOMES = {
    "scheme": ("schemes", "SCHEMES"),
    "model": ("networks/models.py", "MODELS"),
    "dataset": ("datasets", "DATASETS"),
    "optimizer": ("training/optimizers.py", "OPTIMIZERS"),
}


@dataclass(frozen=True)
class Named:
    """A registered function: `parameters` maps what a user may set to its default as source, None where there is none.

    `summary` is the first line of its docstring.
    """

    name: str
    aliases: tuple[str, ...]
    parameters: Mapping[str, str | None]
    summary: str


def registered(kind: str) -> list[Named]:
    """Return what the package registers of a kind: scheme, model, dataset or optimizer."""
    home, registry = HOMES[kind]
    path = PACKAGE / home
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    return [named for file in files for named in _in_file(file, f"{registry}.register")]


def installed(kind: str) -> list[str]:
    """Return the names that other installed packages add; nothing of theirs is imported."""
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
    """Return what comes after the `/`, as `registry.Registry.register` does."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    settable = pairs[len(arguments.posonlyargs) :]
    return {argument.arg: None if default is None else ast.unparse(default) for argument, default in settable}


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
