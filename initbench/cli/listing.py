"""`initbench list`: the names that can be used, and the full entry of one."""

import inspect
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from initbench.cli import completion, console
from initbench.cli.names import FOLDER, question, recipes, typed
from initbench.errors import UsageError

if TYPE_CHECKING:
    from initbench.core.registry import Entry, Registry
    from initbench.schemes.rule import Filler

COMPOSING = (
    "\nCompose by part: 'conv=kaiming_uniform; linear=xavier_uniform; bias=constant(0.1); head=zeros'."
    "\nParts: weight (a bare name), conv, linear, first, last, head, bias, name:<glob>; the most specific wins. `last`"
    " is the last layer of each residual branch."
    "\nA bias is zero unless a part or a preset (torch_default, …) says otherwise. If a bare scheme does not fit a"
    " layer, that layer keeps torch_default's weights and a notice says so; a named part that does not fit is an error."
    "\n\n`initbench list schemes NAME` shows parameters, paper and intended use of a scheme;"
    " `initbench check NAME` runs the conformance suite on it."
)
# Values for parameters without a default in an example, by JSON type.
EXAMPLES: dict[str, Any] = {"number": 0.1, "integer": 2, "string": "kaiming_normal", "boolean": True}
COMMANDS = {
    "scheme": ('initbench inspect -s "{}"{}', 'initbench check "{}"'),
    "model": ('initbench inspect -m "{}"',),
    "dataset": ("initbench compare -d {}",),
    "optimizer": ('initbench compare -o "{}"',),
    "schedule": ("initbench compare -o \"sgd(schedule='{}', warmup=0.1)\"",),
}
MODELS = {"Conv": " -m cnn", "resnet": ' -m "resnet(branch_scale=True)"'}  # layers that the default model lacks
NEEDS = {
    "nothing": "no data",
    "inputs": "a batch of inputs",
    "labels": "a batch of inputs with labels",
}


class What(StrEnum):
    """What can be listed."""

    SCHEMES = "schemes"
    MODELS = "models"
    DATASETS = "datasets"
    OPTIMIZERS = "optimizers"
    SCHEDULES = "schedules"
    EXPERIMENTS = "experiments"


NOTES = {
    What.DATASETS: "\nEach also takes subset=None (training images, or below 1 a share of them), noise=0.0 (share of"
    " wrong training labels) and augment='' (moves of training images: flip, crop(4), shift(2)):"
    '\n"mnist(subset=1000, noise=0.1, augment=\'shift(2)\')". So do files and folders: "my_images.npz(subset=0.1)".',
    What.MODELS: "\nWrite what you change: \"mlp(depth=2, width=[256, 128], activation='mish', norm='batch')\";"
    " `initbench list models NAME` shows what each takes. No scheme knows a gain of gelu, silu, elu, softsign,"
    " hardtanh, mish, prelu and sine by name, as torch.nn.init knows none: `initbench inspect` measures the one that"
    " keeps E[z²].",
    What.OPTIMIZERS: "\nEach also takes schedule='constant' (`initbench list schedules`), warmup=0 (steps, or below 1 a"
    " share of them) and clip=None (the most that the gradient's norm over all parameters may be):"
    "\n\"sgd(momentum=0.9, schedule='cosine', warmup=0.1, clip=1.0)\". --lr is the rate after the warmup.",
}
Name = Annotated[
    str | None,
    typer.Argument(help="Show the full entry for NAME.", metavar="NAME", autocompletion=completion.listed),
]


@console.command
def listing(what: Annotated[What, typer.Argument(help="What to list.")], name: Name = None) -> None:
    """List schemes, models, datasets, optimizers, schedules or experiments; with NAME, show its full entry."""
    if what is What.EXPERIMENTS:
        _show_experiments(name)
        return
    registry = _registry(what)
    if name is not None:
        _show_page(registry.find(name))
    elif what is What.SCHEMES:
        _show_schemes(registry)
        console.show_text(COMPOSING)
    else:
        rows = [(entry.signature, entry.summary + _also(entry)) for entry in registry.values()]
        console.show_table("", (registry.kind, "what it is"), rows)
        console.show_text(NOTES.get(what, ""))


def _registry(what: What) -> "Registry[Any]":
    from initbench.datasets import DATASETS
    from initbench.networks.models import MODELS
    from initbench.schemes import SCHEMES
    from initbench.training.optimizers import OPTIMIZERS
    from initbench.training.schedules import SCHEDULES

    registries: dict[What, Registry[Any]] = {
        What.SCHEMES: SCHEMES,
        What.MODELS: MODELS,
        What.DATASETS: DATASETS,
        What.OPTIMIZERS: OPTIMIZERS,
        What.SCHEDULES: SCHEDULES,
    }
    return registries[what]


def _show_schemes(registry: "Registry[Filler]") -> None:
    rows = []
    for entry in registry.values():
        traits = Traits(registry.build(_example(entry)))
        remarks = "".join(f" {remark}" for remark in traits.remarks)
        rows.append((entry.name, traits.layers, traits.data, entry.summary + remarks + _also(entry)))
    console.show_table("", ("scheme", "for", "data", "what it does"), rows)


def _also(entry: "Entry[Any]") -> str:
    return f" Also: {', '.join(entry.aliases)}." if entry.aliases else ""


class Traits:
    """What a scheme declares about itself, in words."""

    def __init__(self, filler: "Filler") -> None:
        from initbench.networks.layers import Layer
        from initbench.schemes import Preset, Procedure

        layer = Layer("layer", "linear", "layer.weight", "layer.bias", (8, 8))
        self.procedure = filler if isinstance(filler, Procedure) else None
        filling = filler.base if isinstance(filler, Procedure) else filler
        self.branches = isinstance(filling, Preset) and filling.branches
        self.rule = filling.weight(layer) if isinstance(filling, Preset) else filling

    @property
    def layers(self) -> str:
        """The layers it can fill, in one word."""
        if self.branches or (self.procedure is not None and self.procedure.scales):
            return "resnet"
        linear, conv = self.rule.fits(2), self.rule.fits(4)
        return "any" if linear and conv else "Linear" if linear else "Conv"

    @property
    def data(self) -> str:
        """What it needs of a batch, in one word."""
        needs = self.procedure.needs if self.procedure is not None else "nothing"
        return "-" if needs == "nothing" else needs

    @property
    def remarks(self) -> list[str]:
        """Its unusual declared properties."""
        drawn = not self.rule.deterministic or self.procedure is not None
        rows = "Rows may be equal, opposite or 0." if self.rule.degenerate and self.procedure is None else ""
        return [text for text in ("" if drawn else "Deterministic.", rows) if text]


def _show_page(entry: "Entry[Any]") -> None:
    """Show the full entry: signature, description, parameters, needs and example commands."""
    console.show_text(entry.signature, style="bold")
    if entry.aliases:
        console.show_text(f"also: {', '.join(entry.aliases)}")
    console.show_text(f"\n{_reflowed(inspect.getdoc(entry.factory) or '')}\n")
    if entry.parameters:
        console.show_table(
            "", ("parameter", "default", "accepts"), [_parameter(*item) for item in entry.parameters.items()]
        )
        console.show_text()
    example, model = _example(entry), ""
    if entry.kind == "scheme":
        model = _show_traits(example)
    for command in COMMANDS[entry.kind]:
        console.show_text(command.format(example, model))


def _show_traits(example: str) -> str:
    """Show what a scheme declares, and return the option for a model it fits."""
    from initbench.schemes import SCHEMES, where_it_fits

    traits = Traits(SCHEMES.build(example))
    fits = "residual networks that declare their branches" if traits.layers == "resnet" else where_it_fits(traits.rule)
    needs = NEEDS[traits.procedure.needs if traits.procedure is not None else "nothing"]
    console.show_text(" ".join([f"Fills: {fits}. Needs: {needs}.", *traits.remarks]) + "\n")
    return MODELS.get(traits.layers, "")


def _reflowed(text: str) -> str:
    """Join the lines of each paragraph, to be wrapped to the terminal; an indented paragraph keeps its lines."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(p if "\n " in p or p.startswith(" ") else " ".join(p.split("\n")) for p in paragraphs)


def _parameter(name: str, parameter: inspect.Parameter) -> tuple[str, str, str]:
    default = "(required)" if parameter.default is parameter.empty else repr(parameter.default)
    return name, default, _in_words(_json_schema(parameter))


def _json_schema(parameter: inspect.Parameter) -> dict[str, Any]:
    import pydantic

    return pydantic.TypeAdapter(parameter.annotation).json_schema()


def _in_words(schema: dict[str, Any]) -> str:
    """Describe what a parameter accepts, from the JSON schema of its type."""
    if "anyOf" in schema:
        return " or ".join(map(_in_words, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(map(repr, schema["enum"]))
    words = {
        "number": "a number",
        "integer": "a whole number",
        "boolean": "True or False",
        "string": "a quoted string",
        "null": "None",
        "array": "a list of them",
    }
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join(filter(None, [words.get(schema.get("type", ""), "a value"), " and ".join(bounds)]))


def _example(entry: "Entry[Any]") -> str:
    """Return an entry with values for the parameters that have no default."""
    needed = [p for p in entry.parameters.values() if p.default is p.empty]
    values = [repr(EXAMPLES.get(_json_schema(p).get("type", ""), 1)) for p in needed]
    return f"{entry.name}({', '.join(values)})" if values else entry.name


def _show_experiments(name: str | None) -> None:
    paths = recipes()
    if name is not None:
        _show_recipe(name, paths)
        return
    console.show_table("", ("recipe", "question"), [(typed(path), question(path)) for path in paths.values()])
    if not any(path.parent == FOLDER for path in paths.values()):
        console.say(f"None of your own in {FOLDER.resolve()}: `initbench new experiment NAME` writes one.")


def _show_recipe(name: str, paths: dict[str, Path]) -> None:
    from initbench.core.spec import did_you_mean

    if name not in paths:
        raise UsageError(
            f"No recipe '{name}' in {FOLDER.resolve()} or the package{did_you_mean(name, list(paths)) or '.'}"
        )
    try:
        console.show_text(paths[name].read_text(encoding="utf-8").rstrip())
    except (UnicodeDecodeError, OSError):
        raise UsageError(f"{paths[name]} cannot be read as text.") from None
