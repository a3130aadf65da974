"""`initbench new experiment`: write a commented recipe."""

from pathlib import Path
from typing import Annotated

import typer

from initbench.cli import console

app = typer.Typer(no_args_is_help=True, help="Write a commented recipe to start from.")

TEMPLATE = """\
# {name}: say here what you want to know and what you expect, before you look.
# Run it:      initbench compare {path}
# See first:   initbench compare {path} --dry-run
question = "Does kaiming_uniform train faster than xavier_uniform in a ReLU network?"

# Axes: one value or a list; every combination is trained with every seed. `initbench list schemes` shows the names.
schemes = [
    "torch_default",
    "xavier_uniform",
    "kaiming_uniform",
    "kaiming_uniform; bias=constant(0.1)",
]
baseline = "torch_default"    # what the others are compared with
model = "mlp(depth=8, width=64)"
dataset = "digits"            # also mnist, fashion_mnist, kmnist, cifar10, cifar100, a .npz file, an image folder
optimizer = "sgd"             # plain, so that nothing repairs a bad start
lr = 0.05                     # compares at that rate; a list or "tune" gives each scheme its own best of a grid
batch_size = 64
epochs = 10                   # or steps = 200
seeds = 10                    # 10 stands for 0 to 9; fewer than 6 can show no difference at the 5 % level
# target = 0.9                # validation accuracy for steps-to-target; left out: halfway from chance to 1

# What you or others assert, fixed before the first trial; `compare` says supported, refuted or undecided.
[[claims]]
text = "Kaiming makes training converge faster than Xavier under ReLU."
metric = "steps_to_target"    # test_accuracy, test_loss, generalization_gap, instability, initial_loss, …
better = "kaiming_uniform"
than = "xavier_uniform"
source = "He et al. 2015"
"""


@app.callback()
def group() -> None:
    """Write a commented recipe to start from."""


@app.command("experiment")
@console.command
def experiment(
    name: Annotated[str, typer.Argument(help="Its name; the file is <folder>/<name>.toml.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where recipes live.")] = Path("experiments"),
) -> None:
    """Write <folder>/<name>.toml, a commented recipe that runs as it is."""
    from pydantic import TypeAdapter, ValidationError

    from initbench.errors import ConfigurationError, UsageError
    from initbench.recipe import RunName

    try:
        TypeAdapter(RunName).validate_python(name)
    except ValidationError:
        raise UsageError(f"'{name}' cannot name an experiment: use letters, digits and . _ + - (at most 64).") from None
    path = folder / f"{name}.toml"
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=name, path=path))
    except FileExistsError:
        if folder.is_dir():
            raise ConfigurationError(f"{path} exists already: choose another name.") from None
        raise ConfigurationError(f"{folder} is no directory: choose another --folder.") from None
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}.") from None
    console.show_path("recipe", path)
    console.say(f"run it: initbench compare {path}")
