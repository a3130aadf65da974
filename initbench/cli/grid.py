"""The second half of `run` and `compare`: train with progress, write the folder, show it."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from functools import partial

import pandas as pd
import scipy.stats  # noqa: F401 - what shows results uses it; imported later, outside gc_frozen, it takes twice as long

from initbench.analysis.conditions import Condition, check_condition, parse_condition
from initbench.analysis.summary import SETTING
from initbench.cli import console, details
from initbench.cli.again import Answer, remember, say_how_to_continue, show_answer, show_files, show_next_commands
from initbench.cli.details import next_commands
from initbench.cli.options import Output
from initbench.cli.present import shown_of, shown_of_all_pairs, summary_document
from initbench.cli.progress import progress_on
from initbench.comparison import Comparison, load
from initbench.core.interrupts import kept_as_interrupt
from initbench.errors import ConditionMet, ConfigurationError, TrialsFailed
from initbench.report.document import Document, document_of
from initbench.report.freshness import is_fresh
from initbench.running.backend import Backend
from initbench.running.facts import canonical
from initbench.running.runner import carry_out
from initbench.running.study import Study


def train_grid(study: Study, backend: Backend, output: Output) -> None:
    """Train what is missing of a study, show the results, and draw them."""
    conditions = conditions_of(output)
    _show_details(details.before(study, backend), output)
    comparison, document, answer = _train_and_show(study, backend, output)
    _draw_and_end(comparison, document, answer, study, output)
    _raise_if_failed(comparison)
    _raise_if_met(conditions, comparison)


def conditions_of(output: Output) -> list[Condition]:
    """Return the conditions of --fail-if.

    Raises:
        UsageError: a condition that cannot be read.
    """
    return [parse_condition(text, partial(canonical, "scheme")) for text in output.fail_if or ()]


def _train_and_show(study: Study, backend: Backend, output: Output) -> tuple[Comparison, Document, Answer]:
    """Train and show the answer; after Ctrl-C, show what is finished."""
    try:
        with kept_as_interrupt():
            with redirect_stdout(sys.stderr), progress_on(quiet=output.quiet) as observer:
                comparison = carry_out(study, backend, observer)
            document = document_of(comparison)
            answer = _answer(document, study, output)
            show_answer(answer)
    except KeyboardInterrupt:
        _show_what_is_stored(study, output)
        raise
    return comparison, document, answer


def _draw_and_end(comparison: Comparison, document: Document, answer: Answer, study: Study, output: Output) -> None:
    """Write the folder with its figures, and show where it is, details if requested, and what to run next."""
    try:
        with kept_as_interrupt():
            with console.status_on(quiet=output.quiet) as show_step:
                show_step("drawing plots and the report")
                _refresh(study, document)
            show_files(study, output)
            _show_details(details.after(comparison, study), output)
            if comparison.records and not output.quiet:
                answer = replace(answer, next_commands=tuple(next_commands(comparison, study.folder)))
            show_next_commands(answer)
            if not any(record.outcome.status == "failed" for record in comparison.records):
                remember(answer, study, (*comparison.records, *comparison.tuning, *comparison.crossed), output)
    except KeyboardInterrupt:
        _refresh(study, document, draw=False)
        say_how_to_continue(study)
        raise


def _refresh(study: Study, document: Document, *, draw: bool = True) -> None:
    """Write the comparison's folder unless it is up to date: drawing takes seconds."""
    if not is_fresh(study.folder, document.results):
        from initbench.report.folder import figures_meanwhile, write_document  # loads matplotlib

        with figures_meanwhile(document.results) if draw else nullcontext() as drawn:
            write_document(study.folder, document, drawn)


def _answer(document: Document, study: Study, output: Output) -> Answer:
    """Return what is printed of a comparison, but for the next commands, which come after it."""
    more = shown_of_all_pairs(document.results) if output.all_pairs else ()
    return Answer(
        shown=() if output.json else (*shown_of(document, quiet=output.quiet, verbose=output.verbose), *more),
        document=summary_document(document, study.folder) if output.json else None,
    )


def _show_details(facts: Iterator[tuple[str, str]], output: Output) -> None:
    """Show the details that -v requests."""
    for label, text in facts if output.verbose and not output.quiet else ():
        console.show_fact(label, text)


def _show_what_is_stored(study: Study, output: Output) -> None:
    """After Ctrl-C, show the finished trials, without figures, which take seconds, and how to continue."""
    try:
        comparison = load(study.folder)
    except ConfigurationError:  # stopped before the folder was created
        console.say(f"Interrupted before training began. To continue: {study.command}")
        return
    console.say()
    if comparison.records:
        document = document_of(comparison)
        _refresh(study, document, draw=False)
        show_answer(_answer(document, study, output))
        show_files(study, output)
    say_how_to_continue(study)


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
        short = any("memory" in reason.lower() for reason in reasons)
        raise TrialsFailed(
            f"{len(failed)} of {len(comparison.records)} trials failed, {times} of them with: {first}. "
            f"{others} same command retries the failed ones."
            + (" If memory is short, train fewer at a time: lower --jobs." if short else "")
        )
