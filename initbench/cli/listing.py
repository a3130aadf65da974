"""`initbench list`: the names that can be used."""

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from initbench.cli import console

if TYPE_CHECKING:
    from initbench.registry import Registry


class What(StrEnum):
    """What can be listed."""

    SCHEMES = "schemes"
    MODELS = "models"
    DATASETS = "datasets"
    OPTIMIZERS = "optimizers"
    EXPERIMENTS = "experiments"


@console.command
def listing(what: Annotated[What, typer.Argument(help="What to list.")]) -> None:
    """List schemes, models, datasets, optimizers or experiments, with their parameters and defaults."""
    if what is What.EXPERIMENTS:
        _show_experiments(Path("experiments"))
    else:
        _show_registry(_registry(what))
    if what is What.SCHEMES:
        console.show_text(
            "\nCompose by part: 'conv=kaiming_uniform; linear=xavier_uniform; bias=constant(0.1); head=zeros'."
            "\nParts: weight (a bare name), conv, linear, first, head, bias, name:<glob>; the most specific wins."
            "\nA bias is zero unless a part or a preset (torch_default, …) says otherwise. Where a bare scheme does not"
            "\nfit a layer, that layer keeps torch_default's weights and a notice says so; a named part that does not"
            "\nfit is an error."
        )


def _registry(what: What) -> "Registry[Any]":
    from initbench.datasets import DATASETS
    from initbench.models import MODELS
    from initbench.optimizers import OPTIMIZERS
    from initbench.schemes import SCHEMES

    registries: dict[What, Registry[Any]] = {
        What.SCHEMES: SCHEMES,
        What.MODELS: MODELS,
        What.DATASETS: DATASETS,
        What.OPTIMIZERS: OPTIMIZERS,
    }
    return registries[what]


def _show_registry(registry: "Registry[Any]") -> None:
    rows = [
        (entry.signature, entry.summary + (f" Also: {', '.join(entry.aliases)}." if entry.aliases else ""))
        for entry in registry.values()
    ]
    console.show_table("", (registry.kind, "what it is"), rows)


def _show_experiments(folder: Path) -> None:
    rows = []
    for path in sorted(folder.glob("*.toml")):
        try:
            question = str(tomllib.loads(path.read_text(encoding="utf-8")).get("question", ""))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
            question = "(cannot be read)"
        rows.append((str(path), question))
    if rows:
        console.show_table("", ("recipe", "question"), rows)
    else:
        console.say(f"No recipes in {folder.resolve()}: `initbench new experiment NAME` writes one.")
