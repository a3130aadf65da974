"""The options that commands share, declared once."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from initbench.cli import completion
from initbench.report.figures.style import FORMATS, STYLES, Files


def _known(formats: str) -> str:
    unknown = [part for part in formats.split(",") if part not in FORMATS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is no format of figures; they are {', '.join(FORMATS)}")
    return formats


Schemes = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--scheme",
        help="A scheme; repeat for several. `initbench list schemes` shows all.",
        autocompletion=completion.scheme,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option("-m", "--model", help="For example 'cnn(depth=4)'; repeatable.", autocompletion=completion.model),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "-d",
        "--dataset",
        help="A name, a .npz file or an image folder; repeatable.",
        autocompletion=completion.dataset,
    ),
]
Optimizers = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--optimizer",
        help="For example 'sgd(momentum=0.9)'; repeatable.",
        autocompletion=completion.optimizer,
    ),
]
Rates = Annotated[
    str | None,
    typer.Option(
        "--lr",
        help="Learning rate; a comma list or 'tune' is a grid, and each scheme gets its own best.",
        autocompletion=completion.rate,
    ),
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Images a step.")]
Epochs = Annotated[float | None, typer.Option("--epochs", help="Passes over the training split.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Updates, in place of --epochs.")]
Seeds = Annotated[str | None, typer.Option("--seeds", help="A count (10 stands for 0 to 9) or a comma list.")]
Target = Annotated[
    float | None,
    typer.Option("--target", help="Validation accuracy that counts as converged. Default: halfway from chance to 1."),
]
Baseline = Annotated[
    str | None,
    typer.Option("--baseline", help="The scheme that others are compared with.", autocompletion=completion.scheme),
]
Device = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda or mps.", autocompletion=completion.device)
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="float32, tf32 or bfloat16. The low ones can change the conclusion: tables name them.",
        autocompletion=completion.precision,
    ),
]
Jobs = Annotated[int | None, typer.Option("--jobs", min=1, help="Worker processes. Default: one a core.")]
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor",
        help="Where trials are trained: dask (workers on this machine), a Dask scheduler's address or its file. "
        "Default: processes of this machine.",
        autocompletion=completion.executor,
    ),
]
SharedFolder = Annotated[
    bool,
    typer.Option(
        "--shared-folder/--no-shared-folder",
        help="Whether the cluster's workers see the results folder under the same path and write into it.",
    ),
]
TrialTimeout = Annotated[
    float | None,
    typer.Option("--trial-timeout", min=1e-3, help="Seconds after which a trial counts as failed. Default: never."),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", envvar="INITBENCH_DATA", help="Where datasets lie (torchvision's layout).")
]
Out = Annotated[Path, typer.Option("--out", envvar="INITBENCH_OUT", help="The results folder.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of this comparison's folder.")]
Vary = Annotated[
    str | None,
    typer.Option(
        "--vary",
        help="init,order crosses weight seeds with data-order seeds (seeds² trials).",
        autocompletion=completion.vary,
    ),
]
AllPairs = Annotated[bool, typer.Option("--all-pairs", help="Show every scheme against every other, too.")]
FailIf = Annotated[
    list[str] | None,
    typer.Option("--fail-if", help="Leave with 5 where it holds: 'a.test_accuracy < b.test_accuracy'; repeatable."),
]
Style = Annotated[
    Literal["screen", "paper"],
    typer.Option("--style", help="Figures for a screen, or as wide as a paper's column."),
]
Formats = Annotated[
    str, typer.Option("--format", callback=_known, help="Files of each figure in plots/: png, svg, pdf.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document in place of the table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the grid and what is stored already; train nothing.")]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="Say also the device, the engines, what each scheme cost, and every file."),
]
Plain = Annotated[
    bool, typer.Option("--plain", help="No colour and no line that changes, as where there is no terminal.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print the table and errors only.")]
Open = Annotated[bool, typer.Option("--open", help="Open the report in a browser.")]

Folder = Annotated[
    Path | None,
    typer.Argument(help="A comparison's folder. Default: the latest.", autocompletion=completion.folder),
]

OUT = Path("results")
STYLE: Style = "screen"
FORMAT: Formats = "png,svg"


def given(**values: Any) -> dict[str, Any]:  # noqa: ANN401 - one value an option
    """Return the options that were given, as recipe values: comma lists become lists of numbers.

    What is no number stays text, for the recipe's check to name among all other mistakes.
    """
    chosen = {key: value for key, value in values.items() if value is not None and value != []}
    for key, kind in (("lr", float), ("seeds", int)):
        if key in chosen:
            numbers = [_number(text.strip(), kind) for text in chosen[key].split(",")]
            chosen[key] = numbers if len(numbers) > 1 else numbers[0]
    return chosen


def figures(style: Style, formats: Formats) -> Files:
    """Return what was asked of figures, each format once."""
    return Files(STYLES[style], tuple(dict.fromkeys(formats.split(","))))


def _number(text: str, kind: type[int] | type[float]) -> float | str:
    try:
        return kind(text)
    except ValueError:
        return text
