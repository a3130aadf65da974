# ruff: noqa: T201 - it prints what it measured
"""What a comparison costs beside its training: `python -m tests.benchmarks.ends`, from the repository.

Commands as multiples of importing the libraries in the same round: the default comparison and inspection from nothing,
then with everything stored, a dry run, a misspelt scheme. Then 4,000 short trials; 10,000 stored ones read, summarized
and drawn; what a trial takes outside its training, at 1,000 trials; a whole trial beside JAX's loop (`trials`).
Commands run in fresh processes, files in the cache of the system; each line says the processor time too, which a busy
machine changes less. `--page results/reference/bench/ends.md` also writes what was, what is and what the floor is.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from initbench.cli.present import show_document
from initbench.cli.progress import progress_on
from initbench.comparison import Comparison, load
from initbench.core.paths import cache_dir
from initbench.records import store
from initbench.records.manifest import read_earlier, write_manifest
from initbench.records.record import Record
from initbench.report.document import document_of
from initbench.report.figures.comparison import pictures
from initbench.report.markdown import summary_markdown
from initbench.report.page.comparison import render_report
from initbench.report.table_files import csv_bytes
from initbench.running import pool, runner
from initbench.running.plan import draft_of, plan_study
from initbench.running.worker import train_group
from tests.benchmarks import machine, trials

REPEATS = 7
INITBENCH = (sys.executable, "-m", "initbench")
IMPORTS = (sys.executable, "-c", "import torch, pandas, scipy.stats, matplotlib.pyplot")
MISTYPED = 2  # exit code
COLD = 3
STORED = 10_000
SHORT = 4_000
TRIALS = 1_000
MEASURED = ("weight_std", "forward_moment", "gradient_moment", "cosine", "activation_moment", "weight_norm")


def main() -> None:
    """Measure all of them, print them, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="also write the ratios to this file, in Markdown")
    options = parser.parse_args()
    conditions = f"load {os.getloadavg()[0]:.1f} at the start"
    print(f"{os.cpu_count()} cores, {conditions}")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        found = {**_whole(), **_untrained(out), **_cold(out / "cold"), **_short(out / "short")}
        _many(out)
        _overhead(out / "overhead")
    if options.page is not None:
        options.page.write_text("\n".join(_page(found, conditions)) + "\n", encoding="utf-8")
        print(f"written to {options.page}")


@dataclass(frozen=True)
class End:
    """A measured end: what it was before, its mark, and under which name the floor is measured, if it is."""

    name: str
    was: str
    mark: float | None
    floor: str = ""
    unit: str = "×"


ENDS = (
    End("a whole trial, of JAX's loop alone", "2.4 ×", 1.25, "its training alone, of JAX's loop"),
    End("around a trial's loop, of the loop", "0.91 ×", 0.5),
    End("compare from nothing, answer", "", 1.8, "import torch"),
    End("compare from nothing, done", "5.9 ×", 2.4, "import torch"),
    End("compare, all stored", "0.95 ×", 0.3, "a bare interpreter"),
    End("compare --dry-run", "1.14 ×", 0.15, "a bare interpreter"),
    End("compare, a scheme mistyped", "1.14 ×", 0.15, "a bare interpreter"),
    End("inspect from nothing, answer", "", None, "import torch"),
    End("inspect from nothing, done", "1.6 ×", 0.8, "import torch"),
    End("inspect again", "", None, "a bare interpreter"),
    End("4,000 trials of 20 steps, whole", "142 s", None, unit="s"),
    End("4,000 trials of 20 steps, memory", "1.06 GB", None, unit="GB"),
)


def _page(found: dict[str, float], conditions: str) -> Iterator[str]:
    yield "# What stands around the training"
    yield ""
    yield "Written by `python -m tests.benchmarks.ends --page`. Of a command, × are multiples of the time of `python -c"
    yield '"import torch, pandas, scipy.stats, matplotlib.pyplot"` in the same round. Of a trial, they are of a'
    yield "training loop: 200 steps of 8 × 64 on digits at batch 64, one process with one thread. *Was* is what was"
    yield "measured before the work on these ends began, *floor* a part that the line cannot do without."
    yield ""
    yield " ".join([*machine.describe(), f"{conditions[0].upper()}{conditions[1:]}."])
    yield ""
    yield "| what | was | is | mark | | floor |"
    yield "|---|---:|---:|---:|---|---|"
    for end in ENDS:
        value = found.get(end.name)
        now = "not measured" if value is None else f"{value:.2f} {end.unit}"
        mark = "" if end.mark is None else f"{end.mark:g} {end.unit}"
        state = "" if end.mark is None or value is None else "met" if value <= end.mark else "**missed**"
        floor = f"{end.floor}: {found[end.floor]:.2f} ×" if end.floor in found else ""
        yield f"| {end.name} | {end.was} | {now} | {mark} | {state} | {floor} |"


def _whole() -> dict[str, float]:
    """Time whole trials in rounds with JAX's loop."""
    whole = trials.measure()
    named = {
        "a whole trial, of JAX's loop alone": whole.of_jax,
        "its training alone, of JAX's loop": whole.loop_of_jax,
        "around a trial's loop, of the loop": whole.around,
    }
    found = {name: value for name, value in named.items() if value is not None}
    ratios = "; ".join(f"{name} {value:.2f}" for name, value in found.items())
    print(f"a whole trial {whole.milliseconds:.1f} ms; {ratios}", flush=True)
    return found


def _untrained(out: Path) -> dict[str, float]:
    """Time commands that train nothing and that were run before, in interleaved rounds with the imports."""
    compare, inspect = ("compare", "--out", str(out), "--name", "base", "--quiet"), ("inspect", "--out", str(out))
    known = {
        "compare, all stored": compare,
        "compare --dry-run": (*compare, "--dry-run"),
        "compare, a scheme mistyped": (*compare, "--scheme", "kaimig"),
        "inspect again": inspect,
    }
    for command in known.values():
        _command(*command)
    bare = {
        "a bare interpreter": (sys.executable, "-c", "pass"),
        "import torch": (sys.executable, "-c", "import torch"),
    }
    programs = {"imports": IMPORTS} | bare | {name: (*INITBENCH, *command) for name, command in known.items()}
    rounds = [{name: _run(*program) for name, program in programs.items()} for _ in range(REPEATS)]
    ratios = {}
    for name in programs:
        walls, processors = zip(*(took[name] for took in rounds), strict=True)
        ratios[name] = statistics.median(took[name][0] / took["imports"][0] for took in rounds)
        _say(f"{name}, median of {REPEATS}", walls, processors, more=f", {ratios[name]:.2f} of the imports'")
    return ratios


def _cold(out: Path) -> dict[str, float]:
    """Time commands with nothing stored but compiled loops, data and facts of networks, beside the imports."""
    rounds = []
    for number in range(COLD):
        shutil.rmtree(cache_dir() / "inspections", ignore_errors=True)
        commands = {"compare": ("compare", "-q"), "inspect": ("inspect", "-q")}
        took = {"imports": _first_line(*IMPORTS)}
        for name, command in commands.items():
            took[name] = _first_line(*INITBENCH, *command, "--out", str(out / f"{name}{number}"))
        rounds.append(took)
    ratios = {}
    for name in ("compare", "inspect"):
        for what, place in (("answer", 0), ("done", 1)):
            seconds = [took[name][place] for took in rounds]
            of_imports = statistics.median(took[name][place] / took["imports"][1] for took in rounds)
            ends = f"({min(seconds):.2f} to {max(seconds):.2f}), {of_imports:.2f} of the imports'"
            ratios[f"{name} from nothing, {what}"] = of_imports
            print(f"{name} from nothing, {what:26s} {statistics.median(seconds):7.2f} s {ends}", flush=True)
    return ratios


def _first_line(*program: str) -> tuple[float, float]:
    """Run a program and return the seconds until its first line of output, and until its end."""
    begun = time.perf_counter()
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout is not None
        run.stdout.readline()
        answered = time.perf_counter() - begun
        run.stdout.read()
    assert run.returncode == 0
    return answered, time.perf_counter() - begun


def _short(out: Path) -> dict[str, float]:
    """Train 4,000 trials of 20 steps, with their report."""
    command = ("compare", "-q", "--steps", "20", "--seeds", str(SHORT // 8), "--out", str(out))
    begun = time.perf_counter()
    with subprocess.Popen((*INITBENCH, *command), stdout=subprocess.DEVNULL) as run:
        _, status, used = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 0
    whole = time.perf_counter() - begun
    each, most = 1000 * whole / SHORT, used.ru_maxrss / 1e6
    print(f"{SHORT} trials of 20 steps: {whole:.1f} s, {each:.1f} ms a trial; {most:.2f} GB in the parent", flush=True)
    return {"4,000 trials of 20 steps, whole": whole, "4,000 trials of 20 steps, memory": most}


def _many(out: Path) -> None:
    """Report on many trials: whole in a fresh process, then part by part in this one."""
    name = out / "many"
    print(f"{_vary(load(out / 'base'), name)} trials, like those with other numbers:")
    _say("report, whole", *([seconds] for seconds in _command("report", str(name), "--quiet")))
    comparison, took = _timed(lambda: load(name))
    _say("  read", *took)
    parts: dict[str, Callable[[], Any]] = {
        "tables": lambda: (comparison.trials, comparison.curves, comparison.layers),
        "verdicts": lambda: (comparison.summary, comparison.judgements, comparison.survivals),
        "step 0": lambda: comparison.step_zero_checks,
        "CSV": lambda: [csv_bytes(f) for f in (comparison.trials, comparison.curves, comparison.layers)],
        "summary.md": lambda: summary_markdown(document_of(comparison)),
    }
    for part, act in parts.items():
        _say(f"  {part}", *_timed(act)[1])
    drawn, took = _timed(lambda: [picture for picture in pictures(comparison) if picture.svg and picture.png])
    _say(f"  {len(drawn)} figures", *took)
    _say("  report.html", *_timed(lambda: render_report(document_of(comparison), drawn, beside=[]))[1])
    with redirect_stdout(StringIO()):
        took = _timed(lambda: show_document(document_of(comparison)))[1]
    _say("  shown", *took)


def _overhead(out: Path) -> None:
    """Run trials whose records are there at once: what is left is submitting, storing with fsync, and telling."""
    given = {"model": "linear", "steps": 1, "seeds": TRIALS // 8}
    study, took = _timed(lambda: plan_study(draft_of(None, given, "argument"), out))
    _say(f"plan of {len(study.trials)} trials", *took)
    trials, (dataset,) = study.trials, study.datasets.values()
    made = {trial.id: train_group((trial,), dataset) for trial in trials}
    pool.train_group = lambda group, _: made[group[0].id]
    with progress_on(quiet=False) as observer:
        _, took = _timed(lambda: runner.train_missing(study, trials, pool.LocalPool(jobs=1), observer))
    _say("outside training, a trial", *([1000 * seconds / len(trials)] for (seconds,) in took), unit="ms")
    encoded, took = _timed(lambda: [store.write_atomically(out / "same", b"x" * 12_000) for _ in trials])
    _say("  of which a file written and synced", *([1000 * s / len(encoded)] for (s,) in took), unit="ms")


def _vary(comparison: Comparison, folder: Path) -> int:
    """Store as many trials as `STORED` beside `folder`, each a real one with measurements moved by up to 3 %."""
    earlier = read_earlier(folder.parent / comparison.name)
    assert earlier is not None
    ids = []
    for record in _varied(comparison.records):
        ids.append(record.trial.id)
        path = store.path_of(folder.parent, record.trial.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.encode(record))  # a sync for each of so many would take a minute
    write_manifest(folder, earlier.model_copy(update={"name": folder.name, "trials": tuple(ids)}))
    return len(ids)


def _varied(records: tuple[Record, ...]) -> Iterator[Record]:
    draw = random.Random(0)  # noqa: S311 - numbers to fill files with

    def moved(part: Any, *names: str) -> dict[str, float]:
        measured = {name: value for name in names if (value := getattr(part, name)) is not None}
        return {name: value * draw.uniform(0.97, 1.03) for name, value in measured.items()}

    for number in range(STORED):
        like = records[number % len(records)]
        seed = like.trial.seed + 1000 * (1 + number // len(records))  # the real ones stay as they are
        parts = {
            "trial": like.trial.model_copy(update={"seed": seed}),
            "curve": tuple(replace(point, **moved(point, "train_loss", "val_loss")) for point in like.curve),
            "layers": tuple(replace(layer, **moved(layer, *MEASURED)) for layer in like.layers),
            "final": like.final and replace(like.final, **moved(like.final, "train_loss", "val_loss", "test_loss")),
        }
        yield like.model_copy(update=parts)


def _command(*arguments: str) -> tuple[float, float]:
    """Run the command line in a fresh process and return its wall and processor seconds."""
    return _run(*INITBENCH, *arguments)


def _run(*program: str) -> tuple[float, float]:
    before = os.times()
    ended = subprocess.run(program, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    assert ended.returncode in {0, MISTYPED}, program
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return after.elapsed - before.elapsed, spent


def _timed(act: Callable[[], Any]) -> tuple[Any, tuple[list[float], list[float]]]:
    """Return what `act` returns, and its wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    found = act()
    return found, ([time.perf_counter() - wall], [time.process_time() - processor])


def _say(what: str, walls: Any, processors: Any, unit: str = "s", more: str = "") -> None:
    spread = f" ({min(walls):.2f} to {max(walls):.2f})" if len(walls) > 1 else ""
    spent = f"{statistics.median(processors):7.2f} {unit} of processor"
    print(f"{what:44s} {statistics.median(walls):7.2f} {unit}{spread}, {spent}{more}", flush=True)


if __name__ == "__main__":
    main()
