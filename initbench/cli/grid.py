"""The main path of `run` and `compare`: prepare, train with progress, write the folder, show it."""

import shlex
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import typer

from initbench.analysis.comparison import Comparison
from initbench.analysis.freshness import is_fresh
from initbench.cli import console
from initbench.cli.present import show_comparison, summary_document
from initbench.cli.progress import progress_on
from initbench.comparing import Place, Prepared, carry_out, prepare
from initbench.errors import TrialsFailed
from initbench.folder import load
from initbench.recipe import Draft


@dataclass(frozen=True)
class Wishes:
    """How a run is to be shown."""

    as_json: bool
    dry_run: bool
    quiet: bool
    open_report: bool


def run_grid(verb: str, draft: Draft, place: Place, wishes: Wishes) -> None:
    """Carry out a grid of trials and show what came of it."""
    prepared = prepare(draft, place, verb, command=shlex.join(["initbench", *sys.argv[1:]]))
    for notice in prepared.plan.notices if not wishes.quiet else ():
        console.notice(notice)
    if wishes.dry_run:
        _show_plan(prepared, wishes)
        return
    try:
        with progress_on(quiet=wishes.quiet) as observer:
            comparison = carry_out(prepared, observer)
    except KeyboardInterrupt:
        _show_what_is_stored(prepared, wishes)
        raise
    _refresh(prepared, comparison)
    _show(comparison, prepared, wishes)
    _require_none_failed(comparison)


def _refresh(prepared: Prepared, comparison: Comparison) -> None:
    """Write the comparison's folder, unless it holds all that already: drawing costs seconds."""
    if not is_fresh(prepared.folder, comparison):
        from initbench.analysis.folder import write_folder  # loads matplotlib

        write_folder(prepared.folder, comparison)


def _show(comparison: Comparison, prepared: Prepared, wishes: Wishes) -> None:
    report = prepared.folder / "report.html"
    if wishes.as_json:
        console.show_json(summary_document(comparison, prepared.folder))
    else:
        show_comparison(comparison)
    if not wishes.quiet:
        console.show_path("plots", prepared.folder / "plots")
        console.show_path("report", report)
    if wishes.open_report:
        typer.launch(report.resolve().as_uri())


def _show_plan(prepared: Prepared, wishes: Wishes) -> None:
    """Show the grid of a dry run, on stdout."""
    recipe, trials = prepared.plan.recipe, prepared.plan.trials
    stored = prepared.stored
    axes: dict[str, Any] = {
        "schemes": list(recipe.schemes),
        "model": list(recipe.model),
        "dataset": [f"{d.name} ({d.train_size} train)" for d in prepared.plan.datasets.values()],
        "optimizer": list(recipe.optimizer),
        "lr": list(recipe.lr),
        "seeds": list(recipe.seeds),
        "batch_size": recipe.batch_size,
        "steps": sorted({trial.steps for trial in trials}),
        "baseline": prepared.plan.baseline,
        "device": prepared.plan.device,
        "folder": str(prepared.folder),
    }
    if wishes.as_json:
        console.show_json({"schema": 1, **axes, "trials": len(trials), "stored": stored})
        return
    rows = [(key, *_cells(value, prepared.plan.origins.get(key, ""))) for key, value in axes.items()]
    console.show_table("", ("axis", "values", "from"), rows)
    console.show_text(
        f"{len(trials)} trial{'s'[: len(trials) > 1]}, {stored} of them stored: {len(trials) - stored} to train."
    )


def _cells(value: Any, origin: str) -> tuple[str, str]:  # noqa: ANN401 - any value of a recipe
    texts = [str(item) for item in value] if isinstance(value, list) else [str(value)]
    separator = "\n" if any(len(text) > 12 for text in texts) else ", "  # names go one a line
    return separator.join(texts), origin


def _show_what_is_stored(prepared: Prepared, wishes: Wishes) -> None:
    """After Ctrl-C: summarize what is finished, and say how to go on."""
    comparison = load(prepared.folder)
    console.say()
    if comparison.records:
        _refresh(prepared, comparison)
        _show(comparison, prepared, wishes)
    done, planned = len(comparison.records), len(prepared.asked.trials)
    console.say(f"Interrupted with {done} of {planned} trials stored. To continue: {prepared.asked.command}")


def _require_none_failed(comparison: Comparison) -> None:
    failed = [record for record in comparison.records if record.outcome.status == "failed"]
    if failed:
        reasons = Counter(record.outcome.reason for record in failed)
        first, times = reasons.most_common(1)[0]
        raise TrialsFailed(
            f"{len(failed)} of {len(comparison.records)} trials failed, {times} of them with: {first}. "
            "The others are stored; the same command tries the failed ones again."
        )
