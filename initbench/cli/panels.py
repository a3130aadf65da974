"""The headings under which `--help` lists the options of a command that has many."""

from typing import Any

from typer.core import TyperCommand

QUESTION = "Question"
TRAINING = "Training"
PLACE = "Where it runs"
OUTPUT = "Output"
PANELS = (QUESTION, TRAINING, PLACE, OUTPUT)
MANY = 12  # options: fewer need no headings
WIDEST = 28  # columns: the help of a longer option begins on the next line


class PanelCommand(TyperCommand):
    """A command whose help lists many options by panel; those that name no panel are listed in the last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own copies of click's types
        """Write the arguments, then the options of each panel, all in the same two columns."""
        parameters = self.get_params(ctx)
        few = len(parameters) < MANY
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ("Arguments", "Options", *PANELS)}
        for parameter in parameters:
            name, text = parameter.get_help_record(ctx) or ("", "")
            if parameter.param_type_name == "argument":
                sections["Arguments"].append((parameter.metavar or name, text))
            else:
                panel = getattr(parameter, "rich_help_panel", None) or OUTPUT
                sections["Options" if few else panel].append((name, text))
        lengths = [len(name) for records in sections.values() for name, _ in records]
        width = max(length for length in lengths if length <= WIDEST)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl([(name.ljust(width), text) for name, text in records], col_max=width)
