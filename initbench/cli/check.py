"""`initbench check`: run the conformance suite on a scheme."""

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
        help="Scheme, as for --scheme. `initbench list schemes` lists all names.",
        metavar="SCHEME",
        autocompletion=completion.scheme,
    ),
]


@console.command
def check(scheme: Scheme, json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Run the conformance suite on a scheme: fill small models, then check seeds, distribution and untouched tensors.

    Exits with status 4 if a check fails.
    """
    with console.gc_frozen():
        from initbench.conformance import conformance, subject_of

    with redirect_stdout(sys.stderr), console.status_on(quiet=quiet) as show_step:  # the user's own code may print
        subject = subject_of(scheme)
        show_step(f"checking {subject.name}")
        results = conformance(subject)
    failed = [result.check for result in results if result.outcome == "FAIL"]
    skipped = sum(result.outcome == "SKIP" for result in results)
    if json:
        checks = [asdict(result) for result in results]
        console.show_json({"schema": 1, "scheme": subject.name, "passed": not failed, "checks": checks})
    else:
        console.show_table("", ("check", "result", "what was seen"), [(r.check, r.outcome, r.seen) for r in results])
    if failed:
        raise NotConforming(f"'{subject.name}' fails {len(failed)} of {len(results)} checks: {'; '.join(failed)}.")
    if not quiet:
        remark = f" ({skipped} skipped)" if skipped else ""
        console.say(f"'{subject.name}' passes all {len(results)} checks{remark}.")
