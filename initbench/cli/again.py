"""The same command again with nothing to train: what it showed last time, if not a byte it was made from has changed.

An answer is kept by plan, and names the content of every record and of the folder's stamp. So it is shown again without
what computes verdicts and draws; where anything differs, all is done anew.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import typer

from initbench.cli import console
from initbench.cli.options import Output
from initbench.cli.progress import progress_on
from initbench.cli.shown import Shown, show
from initbench.core import kept
from initbench.core.interrupts import kept_as_interrupt
from initbench.records import store
from initbench.records.manifest import Manifest, read_earlier, write_manifest
from initbench.records.record import Record
from initbench.report.freshness import whole_stamp
from initbench.running.study import Study

COMPARISONS = 100  # whose answers are kept
MOST = 2000  # trials of an answer: that its records are those on disk takes a millisecond each to see


@dataclass(frozen=True)
class Answer:
    """What a command prints when everything is stored; `document` is that of --json, printed instead of `shown`."""

    shown: Sequence[Shown]
    document: dict[str, Any] | None
    next_commands: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Kept:
    """An answer with the manifest that the command leaves in the folder."""

    answer: Answer
    manifest: Manifest


def show_answer(answer: Answer) -> None:
    """Print an answer."""
    if answer.document is not None:
        console.show_json(answer.document)
    else:
        show(answer.shown)


def show_files(study: Study, output: Output) -> None:
    """Print where the files are, and open the report if that is asked for."""
    report = study.folder / "report.html"
    if not output.quiet:
        if any((study.folder / "plots").glob("*")):
            console.show_path("plots", study.folder / "plots")
        console.show_path("report", report)
    if output.open_report:
        typer.launch(report.resolve().as_uri())


def show_next_commands(answer: Answer) -> None:
    """Print what to run next."""
    for i, (command, purpose) in enumerate(answer.next_commands):
        console.show_fact("" if i else "next", command, f"  # {purpose}")


def say_how_to_continue(study: Study) -> None:
    """Print how much is stored after an interruption, and the command that continues."""
    planned = len({trial.id for trial in study.all_trials})
    console.say(f"Interrupted with {study.stored} of {planned} trials stored. To continue: {study.command}")


def show_again(found: Kept, study: Study, output: Output) -> None:
    """Do what the command does where everything is stored and its folder is up to date."""
    try:
        with kept_as_interrupt():
            store.sweep(study.out, *study.out.glob("trials/*"))
            write_manifest(study.folder, found.manifest)
            with progress_on(quiet=output.quiet) as observer:
                for stored in _looked_up(found.manifest, study):
                    observer.started([], stored)
            show_answer(found.answer)
            show_files(study, output)
            show_next_commands(found.answer)
    except KeyboardInterrupt:
        say_how_to_continue(study)
        raise


def _looked_up(manifest: Manifest, study: Study) -> Iterator[int]:
    """Yield how many trials are looked up at a time: those that tune, again if the grid was extended, the others."""
    asked = tuple(trial.id for trial in study.tuning)
    if asked:
        yield len(set(asked))
        if manifest.tuning != asked:
            yield len(set(manifest.tuning))
    yield len({*manifest.trials, *manifest.crossed})


def recalled(study: Study, output: Output) -> Kept | None:
    """Return the answer that is kept for a plan, None where it is to be worked out."""
    if not _is_keepable(study, output):
        return None
    found = kept.recall(_place(study), _question(study, output))
    if found is None or whole_stamp(study.folder) != found["stamp"]:
        return None
    if any(_digest(study, trial_id) != digest for trial_id, digest in found["records"].items()):
        return None
    manifest = Manifest.model_validate_json(found["manifest"])
    shown = [Shown(**piece) for piece in found["shown"]]
    return Kept(Answer(shown, found["document"], found["next_commands"]), manifest)


def remember(answer: Answer, study: Study, records: Sequence[Record], output: Output) -> None:
    """Keep an answer to all of a study's records, unless the files hold others by now or the folder is not whole."""
    manifest, stamp = read_earlier(study.folder), whole_stamp(study.folder)
    if manifest is None or stamp is None or not _is_keepable(study, output):
        return
    digests = {record.trial.id: hashlib.sha256(store.encode(record)).hexdigest() for record in records}
    if digests.keys() == {*manifest.every} and all(_digest(study, key) == value for key, value in digests.items()):
        document = {"manifest": manifest.model_dump_json(by_alias=True), "stamp": stamp, "records": digests}
        kept.keep(_place(study), _question(study, output), document | asdict(answer), COMPARISONS)


def _is_keepable(study: Study, output: Output) -> bool:
    """Return whether what the command prints is an answer alone: no details of this run, and no condition."""
    return not output.verbose and not output.fail_if and len(study.all_trials) <= MOST


def _question(study: Study, output: Output) -> str:
    """Return what an answer depends on besides records and folder: the plan, the names of folders, the flags."""
    asked = study.manifest().model_dump_json(by_alias=True)
    flags = [output.json, output.all_pairs, output.quiet]
    return json.dumps([asked, str(study.folder), os.environ.get("INITBENCH_OUT"), flags])


def _place(study: Study) -> str:
    name = hashlib.sha256(os.fsencode(study.folder.resolve())).hexdigest()[:16]
    return f"answers/{name}.json"


def _digest(study: Study, trial_id: str) -> str | None:
    try:
        return hashlib.sha256(store.path_of(study.out, trial_id).read_bytes()).hexdigest()
    except OSError:
        return None
