"""`initbench new`: write a commented recipe, and the JSON schema with which editors complete and check recipes."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from initbench.cli import console
from initbench.cli.examples import epilog
from initbench.cli.names import FOLDER
from initbench.cli.panels import PanelCommand
from initbench.core.declared import installed, registered

app = typer.Typer(no_args_is_help=True, help="Write a commented recipe to start from, or a schema for editors.")

SCHEMA_FILE = "recipe.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
TITLE = "A recipe of initbench"  # by which a schema written by this command is recognized
NAMES = {"schemes": "scheme", "model": "model", "dataset": "dataset", "optimizer": "optimizer", "baseline": "scheme"}

TEMPLATE = """\
#:schema ./{schema}
# {name}: write here what you want to know and what you expect, before you see any result.
# Run it:      initbench compare {path}
# Preview:     initbench compare {path} --dry-run
question = "Does kaiming_uniform train faster than xavier_uniform in a ReLU network?"

# Axes: one value or a list; every combination is trained with every seed. `initbench list schemes` lists the names.
schemes = [
    "torch_default",
    "xavier_uniform",
    "kaiming_uniform",
    "kaiming_uniform; bias=constant(0.1)",
]
baseline = "torch_default"    # what the others are compared with
model = "mlp(depth=8, width=64)"
dataset = "digits"            # also mnist, fashion_mnist, kmnist, cifar10, cifar100, a .npz file, an image folder
optimizer = "sgd"             # plain SGD, because adaptive optimizers hide a bad start
lr = 0.02                     # one rate for all; a list or "tune" scores each scheme at its own best rate
batch_size = 64
epochs = 20                   # or steps = 400
seeds = 10                    # 10 means 0 to 9; fewer than 6 can show no difference at the 5 % level
# target = 0.9                # validation accuracy for steps-to-target; default: that of the nearest class mean

# Claims to test, fixed before the first trial; `compare` judges each supported, refuted or undecided.
[[claims]]
text = "Kaiming makes training converge faster than Xavier under ReLU."
metric = "steps_to_target"    # test_accuracy, test_loss, generalization_gap, instability, initial_loss, …
better = "kaiming_uniform"
than = "xavier_uniform"
source = "He et al. 2015"
"""

Folder = Annotated[Path, typer.Option("--folder", help="Folder of recipes.", metavar="DIR")]


@app.callback()
def group() -> None:
    """Write a commented recipe to start from, or a schema for editors."""


@app.command(
    "experiment",
    epilog=epilog("new experiment"),
    cls=PanelCommand,
    short_help="Write a commented recipe that runs as is.",
)
@console.command
def experiment(
    name: Annotated[str, typer.Argument(help="Name of the recipe; the file is <folder>/<name>.toml.", metavar="NAME")],
    folder: Folder = FOLDER,
) -> None:
    """Write <folder>/<name>.toml, a commented recipe that runs as is, and next to it the schema for editors."""
    from pydantic import TypeAdapter, ValidationError

    from initbench.errors import ConfigurationError, UsageError
    from initbench.records.recipe import RunName

    try:
        TypeAdapter(RunName).validate_python(name)
    except ValidationError:
        raise UsageError(f"'{name}' cannot name an experiment: use letters, digits and . _ + - (at most 64).") from None
    path = folder / f"{name}.toml"
    _refuse_foreign(folder / SCHEMA_FILE)
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=name, path=path, schema=SCHEMA_FILE))
    except FileExistsError:
        if folder.is_dir():
            raise ConfigurationError(f"{path} already exists: choose another name.") from None
        raise ConfigurationError(f"{folder} is not a directory: choose another --folder.") from None
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}.") from None
    console.show_path("recipe", path.resolve())
    _write_schema(folder / SCHEMA_FILE)
    console.show_fact("next", f"initbench compare {path} --dry-run", "  # preview what it would train")
    console.show_fact("", f"initbench compare {path}")


@app.command(
    "schema",
    epilog=epilog("new schema"),
    cls=PanelCommand,
    short_help="Write the schema with which editors complete recipes.",
)
@console.command
def schema(folder: Folder = FOLDER) -> None:
    """Write <folder>/recipe.schema.json, with which editors complete and check recipes.

    A recipe whose first line is `#:schema ./recipe.schema.json` is completed and checked by editors that support TOML
    through Taplo (Even Better TOML in VS Code, and others). An older schema is overwritten.
    """
    _refuse_foreign(folder / SCHEMA_FILE)
    _write_schema(folder / SCHEMA_FILE)


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe file; known names are examples, because other names are allowed."""
    from initbench.records.recipe import Recipe

    document = {"$schema": DIALECT, **Recipe.model_json_schema(), "title": TITLE}
    for key, kind in NAMES.items():
        document["properties"][key]["examples"] = [*(named.name for named in registered(kind)), *installed(kind)]
    return document


def _refuse_foreign(path: Path) -> None:
    from initbench.errors import ConfigurationError

    try:
        ours = not path.exists() or json.loads(path.read_text(encoding="utf-8")).get("title") == TITLE
    except (OSError, ValueError, RecursionError, AttributeError):
        ours = False
    if not ours:
        raise ConfigurationError(
            f"{path} exists and was not written by this command: move it, or pass another --folder."
        )


def _write_schema(path: Path) -> None:
    from initbench.records.store import write_atomically

    write_atomically(path, (json.dumps(recipe_schema(), indent=1) + "\n").encode())
    console.show_path("schema", path.resolve())
