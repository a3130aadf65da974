"""`initbench check`: a scheme held against what every scheme must keep."""

import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import Annotated

import typer

from initbench.cli import completion, console, options
from initbench.errors import NotConforming

Scheme = Annotated[
    str,
    typer.Argument(
        help="Any scheme's text. `initbench list schemes` shows all names.", autocompletion=completion.scheme
    ),
]


@console.command
def check(scheme: Scheme, json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Fill small models with a scheme and check what every scheme must keep: seeds, laws, what is to be left alone.

    Leaves with 4 where a check fails.
    """
    with console.kept():
        from initbench.conformance import conformance, subject_of

    with redirect_stdout(sys.stderr), console.status_on(quiet=quiet) as told:  # the user's own code may print
        subject = subject_of(scheme)
        told(f"checking {subject.name}")
        results = conformance(subject)
    failed = [result.check for result in results if result.outcome == "FAIL"]
    if json:
        checks = [asdict(result) for result in results]
        console.show_json({"schema": 1, "scheme": subject.name, "passed": not failed, "checks": checks})
    else:
        console.show_table("", ("check", "result", "what was seen"), [(r.check, r.outcome, r.seen) for r in results])
    if failed:
        raise NotConforming(f"'{subject.name}' fails {len(failed)} of {len(results)} checks: {'; '.join(failed)}.")
    if not quiet:
        console.say(f"'{subject.name}' fails none of {len(results)} checks.")
