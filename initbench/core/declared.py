"""The functions that the package registers, read from its source without importing torch.

Shell completion and a mistyped name must be answered at once, and importing the registries imports torch. What is read
here is the decorator that fills a registry, so a new scheme needs no second entry; a test compares the two.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# The function whose parameters every entry of a kind has after its own.
COMMON = {"optimizer": "regime", "dataset": "changed"}
# Where the functions of a kind are defined, and the registry that their decorator names.
HOMES = {
    "scheme": ("schemes", "SCHEMES"),
    "model": ("networks/models.py", "MODELS"),
    "dataset": ("datasets", "DATASETS"),
    "optimizer": ("training/optimizers.py", "OPTIMIZERS"),
    "schedule": ("training/schedules.py", "SCHEDULES"),
}


@dataclass(frozen=True)
class Named:
    """A registered function: `parameters` maps each settable one to its default as source, None if it has none.

    `keyword_only` are those after a `*`. `summary` is the first line of its docstring, `common` names the parameters
    that every entry of its kind has.
    """

    name: str
    aliases: tuple[str, ...]
    parameters: Mapping[str, str | None]
    keyword_only: frozenset[str]
    summary: str
    common: tuple[str, ...] = ()


def registered(kind: str) -> list[Named]:
    """Return the functions that the package registers as a kind: scheme, model, dataset or optimizer."""
    home, registry = HOMES[kind]
    path = PACKAGE / home
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    common = next((_parameters(node.args) for node in functions if node.name == COMMON.get(kind)), {})
    return list(_decorated(functions, f"{registry}.register", common))


def installed(kind: str) -> list[str]:
    """Return the names that other installed packages add, without importing these packages."""
    return [point.name for point in entry_points(group=f"initbench.{kind}s")]


def _decorated(functions: list[ast.FunctionDef], register: str, common: Mapping[str, str | None]) -> Iterator[Named]:
    for node in functions:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == register:
                aliases = tuple(ast.literal_eval(alias) for alias in decorator.args)
                summary = (ast.get_docstring(node) or "").partition("\n")[0]
                keyword_only = frozenset(argument.arg for argument in node.args.kwonlyargs)
                parameters = {**_parameters(node.args), **common}
                yield Named(node.name, aliases, parameters, keyword_only, summary, tuple(common))


def _parameters(arguments: ast.arguments) -> dict[str, str | None]:
    """Return the parameters after the `/`, as `registry.Registry.register` does."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    settable = pairs[len(arguments.posonlyargs) :]
    return {argument.arg: None if default is None else ast.unparse(default) for argument, default in settable}
