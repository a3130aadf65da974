"""The main path of `run` and `compare`: plan, train with progress, write the folder, show it."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import pandas as pd
import typer

from initbench.analysis.conditions import Condition, check_condition, parse_condition
from initbench.analysis.summary import SETTING
from initbench.cli import console, details
from initbench.cli.details import next_commands
from initbench.cli.options import Output, Where
from initbench.cli.present import show_all_pairs, show_comparison, summary_document
from initbench.cli.progress import progress_on
from initbench.comparison import Comparison, load
from initbench.core.interrupts import command_line, kept_as_interrupt
from initbench.errors import ConditionMet, ConfigurationError, TrialsFailed
from initbench.records.recipe import Draft
from initbench.report.freshness import is_fresh
from initbench.running.backend import Backend
from initbench.running.executor import choose_backend
from initbench.running.foreseen import too_few_seeds
from initbench.running.plan import plan_study
from initbench.running.runner import carry_out
from initbench.running.study import Study
from initbench.schemes import parse_scheme


def run_grid(verb: str, draft: Draft, where: Where, output: Output) -> None:
    """Run a grid of trials and show the results."""
    backend = choose_backend(where.executor, where.jobs, where.trial_timeout, shared_folder=where.shared_folder)
    conditions, study = _plan(verb, draft, where, output, remote=backend.remote)
    if output.dry_run:
        _show_plan(study, output)
        return
    _show_details(details.before(study, backend), output)
    comparison = _train_and_show(study, backend, output)
    _show_details_and_next(comparison, study, output)
    _raise_if_failed(comparison)
    _raise_if_met(conditions, comparison)


def _show_details_and_next(comparison: Comparison, study: Study, output: Output) -> None:
    """Show details, if requested, and what to run next; Ctrl-C is handled here too, after the table."""
    try:
        with kept_as_interrupt():
            _show_details(details.after(comparison, study), output)
            _show_next_commands(comparison, study, output)
    except KeyboardInterrupt:
        _say_how_to_continue(study)
        raise


def _plan(verb: str, draft: Draft, where: Where, output: Output, *, remote: bool) -> tuple[list[Condition], Study]:
    """Check all input before anything is trained or written."""
    try:
        with kept_as_interrupt(), redirect_stdout(sys.stderr):  # user code may print, and stdout is for data
            texts = output.fail_if or ()
            conditions = [parse_condition(text, lambda scheme: str(parse_scheme(scheme))) for text in texts]
            study = plan_study(draft, where.out, where.data_dir, verb=verb, command=command_line(), remote=remote)
    except KeyboardInterrupt:
        console.say(f"Interrupted before training began. To continue: {command_line()}")
        raise
    # As warnings of the library they would be in the way of everyone who takes a quick look.
    for notice in (*study.notices, *too_few_seeds(study.recipe)) if not output.quiet else ():
        console.notice(notice)
    return conditions, study


def _train_and_show(study: Study, backend: Backend, output: Output) -> Comparison:
    """Train, write the folder and show it; after Ctrl-C, show what is finished."""
    try:
        with kept_as_interrupt():
            with redirect_stdout(sys.stderr), progress_on(quiet=output.quiet) as observer:
                comparison = carry_out(study, backend, observer)
            with console.status_on(quiet=output.quiet) as show_step:
                show_step("drawing plots and the report")
                _refresh(study, comparison)
            _show(comparison, study, output)
    except KeyboardInterrupt:
        _show_what_is_stored(study, output)
        raise
    return comparison


def _refresh(study: Study, comparison: Comparison, *, draw: bool = True) -> None:
    """Write the comparison's folder unless it is up to date: drawing takes seconds."""
    if not is_fresh(study.folder, comparison):
        from initbench.report.folder import write_folder  # loads matplotlib

        write_folder(study.folder, comparison, draw=draw)


def _show(comparison: Comparison, study: Study, output: Output) -> None:
    report = study.folder / "report.html"
    if output.json:
        console.show_json(summary_document(comparison, study.folder))
    else:
        show_comparison(comparison)
        if output.all_pairs:
            show_all_pairs(comparison)
    if not output.quiet:
        if any((study.folder / "plots").glob("*")):
            console.show_path("plots", study.folder / "plots")
        console.show_path("report", report)
    if output.open_report:
        typer.launch(report.resolve().as_uri())


def _show_details(facts: Iterator[tuple[str, str]], output: Output) -> None:
    """Show the details that -v requests."""
    for label, text in facts if output.verbose and not output.quiet else ():
        console.show_fact(label, text)


def _show_next_commands(comparison: Comparison, study: Study, output: Output) -> None:
    commands = next_commands(comparison, study.folder) if comparison.records and not output.quiet else ()
    for i, (command, purpose) in enumerate(commands):
        console.show_fact("" if i else "next", command, f"  # {purpose}")


def _show_plan(study: Study, output: Output) -> None:
    """Show the grid of a dry run, on stdout."""
    stored, recipe, trials = study.stored, study.recipe, study.all_trials
    axes: dict[str, Any] = {
        "schemes": list(recipe.schemes),
        "model": list(recipe.model),
        "dataset": [f"{d.name} ({d.train_size} train)" for d in study.datasets.values()],
        "optimizer": list(recipe.optimizer),
        "lr": list(recipe.lr),
        **({"tuning_seeds": list(recipe.tuning_seeds)} if study.tuning else {}),
        "seeds": list(recipe.seeds),
        "batch_size": recipe.batch_size,
        "steps": sorted({trial.steps for trial in trials}),
        "baseline": study.baseline,
        "device": study.device,
        "folder": str(study.folder),
    }
    if output.json:
        console.show_json({"schema": 1, **axes, "trials": len(trials), "stored": stored})
        return
    rows = [(key, *_cells(value, study.origins.get(key, ""))) for key, value in axes.items()]
    console.show_table("", ("axis", "values", "from"), rows)
    console.show_text(
        f"{len(trials)} trial{'s'[: len(trials) > 1]}, {stored} of them stored: {len(trials) - stored} to train."
    )
    if study.tuning:
        most = (
            2
            * len(recipe.schemes)
            * len(recipe.seeds)
            * len(study.datasets)
            * len(recipe.model)
            * len(recipe.optimizer)
        )
        console.show_text(
            f"These tune the learning rate; then at most {most} more are scored, at each scheme's own best rate and at "
            "the common one. If the best rate is at the edge of the grid, the grid is extended once."
        )


def _cells(value: Any, origin: str) -> tuple[str, str]:  # noqa: ANN401 - any value of a recipe
    texts = [str(item) for item in value] if isinstance(value, list) else [str(value)]
    separator = "\n" if any(len(text) > 12 for text in texts) else ", "  # one name per line
    return separator.join(texts), origin


def _show_what_is_stored(study: Study, output: Output) -> None:
    """After Ctrl-C, show the finished trials, without figures, which take seconds, and how to continue."""
    try:
        comparison = load(study.folder)
    except ConfigurationError:  # stopped before the folder was created
        console.say(f"Interrupted before training began. To continue: {study.command}")
        return
    console.say()
    if comparison.records:
        _refresh(study, comparison, draw=False)
        _show(comparison, study, output)
    _say_how_to_continue(study)


def _say_how_to_continue(study: Study) -> None:
    planned = len({trial.id for trial in study.all_trials})
    console.say(f"Interrupted with {study.stored} of {planned} trials stored. To continue: {study.command}")


def _raise_if_met(conditions: list[Condition], comparison: Comparison) -> None:
    """Raise if a condition of --fail-if holds: in the summary or, with tuned rates, at each scheme's own rate."""
    own = [panel.rows(comparison.summary) for panel in comparison.panels if panel.rule == "own lr"]
    summary, pair_on = (pd.concat(own), SETTING[:3]) if own else (comparison.summary, SETTING)
    checked = [check_condition(condition, summary, pair_on) for condition in conditions]
    met = [sentence for is_met, sentence in checked if is_met]
    if met:
        raise ConditionMet("\n".join(met))


def _raise_if_failed(comparison: Comparison) -> None:
    failed = [record for record in comparison.records if record.outcome.status == "failed"]
    if failed:
        reasons = Counter(record.outcome.reason for record in failed)
        first, times = reasons.most_common(1)[0]
        others = "The others are stored; the" if len(failed) < len(comparison.records) else "None finished; the"
        raise TrialsFailed(
            f"{len(failed)} of {len(comparison.records)} trials failed, {times} of them with: {first}. "
            f"{others} same command retries the failed ones."
        )
