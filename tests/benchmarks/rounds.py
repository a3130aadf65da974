"""Rounds: the rate of multiplication, every contender once, the rate again; each in fresh processes."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from contenders import compiled_loop, ours
from contenders.common import Job, Trained
from workloads import Workload, flags

from initbench.records import store

HERE = Path(__file__).resolve().parent
STEADY = 0.05  # relative; a round in which the rate moved more than this is not calm
OURS = "initbench"
JAX_FORMS = ("fori_loop", "scan")  # contenders.jax_loop has them; JAX is not imported here


@dataclass(frozen=True)
class Ran:
    """One contender in one round; seconds are those of the wall clock, divided by the trials that passed in them.

    `in_all` has building, initializing and whatever else the calls do besides; for a whole command both are the same.
    `compilation` is in neither: its seconds pass once per process, and are not divided.
    """

    layout: str
    seconds: float
    in_all: float
    trained: list[Trained]
    compilation: float = 0.0


@dataclass(frozen=True)
class Round:
    """`gemm` holds the rate of all workers together, FLOP/s, before and after; `replayed` the seconds of the products
    of one trial of the workload on one core, None where they are not all GEMMs."""

    gemm: tuple[float, float]
    replayed: float | None
    ran: dict[str, Ran]

    @property
    def rate(self) -> float:
        return sum(self.gemm) / 2

    @property
    def calm(self) -> bool:
        return abs(self.gemm[1] - self.gemm[0]) <= STEADY * self.rate


Contend = Callable[[], Ran]
Tried = dict[str | int, Ran]  # with each number of DataLoader workers, or in each form of a loop; the fastest first


def run_rounds(job: Job, contenders: dict[str, Contend], count: int, spare: int) -> Iterator[Round]:
    """Yield rounds until `count` were calm or the spare ones are used up, too; every other one goes in reverse."""
    calm = made = 0
    while calm < count and made < count + spare:
        names = list(contenders)[:: 1 if made % 2 == 0 else -1]
        before = _module("roofline", job)
        ran = {name: contenders[name]() for name in names}
        after = _module("roofline", job)
        one = Round((before["gemm"], after["gemm"]), _replayed(job, ran, before, after), ran)
        made, calm = made + 1, calm + one.calm
        yield one


def _replayed(job: Job, ran: dict[str, Ran], *measured: dict[str, Any]) -> float | None:
    """Return the seconds that the products of a trial's steps and evaluations take one core, all being busy."""
    if measured[0]["step"] is None:
        return None
    step, image = (sum(one[key] for one in measured) / len(measured) for key in ("step", "image"))
    return job.trials[0].steps * step + ran[OURS].trained[0].evaluated * image


def contenders_of(workload: Workload, job: Job, tried: Mapping[str, Tried]) -> dict[str, Contend]:
    """Return who contends in a workload, by name, in the order in which they run."""
    few = replace(job, trials=job.trials[: workload.tutorial_trials])
    if "tutorial loop" in tried:
        few = replace(few, loader_workers=next(iter(tried["tutorial loop"])))
    if workload.command:
        return {"tutorial loop": partial(trials_of, replace(few, warm_up=False)), OURS: partial(command, workload, job)}
    last = replace(job, channels_last=True)
    known = {
        "tutorial loop": partial(loops, "tutorial", few),
        "Lightning": partial(loops, "lightning_loop", job),
        "eager loop": partial(loops, "eager", job),
        "eager loop, channels_last": partial(loops, "eager", last),
        "torch.compile": partial(loops, "compiled_loop", job),
        "torch.compile, channels_last": partial(loops, "compiled_loop", last),
        "JAX": partial(loops, "jax_loop", replace(job, form=next(iter(tried.get("JAX", JAX_FORMS))))),
    }
    missing = left_out()
    others = {name: known[name] for name in workload.contenders if name.partition(",")[0] not in missing}
    return {**others, OURS: partial(loops, "ours", job)}


def left_out() -> dict[str, str]:
    """Return which contenders cannot run here, and why."""
    jax = "" if importlib.util.find_spec("jax") else "JAX is not installed"
    return {name: why for name, why in (("torch.compile", compiled_loop.missing()), ("JAX", jax)) if why}


def try_layouts(workload: Workload, job: Job) -> dict[str, Tried]:
    """Try each layout of those contenders that have several: the tutorial loop with one trial, for it takes long."""
    one = replace(job, trials=job.trials[:1])
    tried = {}
    if "tutorial loop" in workload.contenders:
        counts = range(job.processes + 1)
        tried["tutorial loop"] = _fastest_first(
            (count, loops("tutorial", replace(one, loader_workers=count))) for count in counts
        )
    if "JAX" in workload.contenders and "JAX" not in left_out():
        tried["JAX"] = _fastest_first((form, loops("jax_loop", replace(job, form=form))) for form in JAX_FORMS)
    return tried


def _fastest_first(found: Iterable[tuple[str | int, Ran]]) -> Tried:
    return dict(sorted(found, key=lambda item: item[1].seconds))


def loops(name: str, job: Job) -> Ran:
    """Let a contender do a job, and take the seconds of its loops."""
    result = _module(f"contenders.{name}", job)
    count = len(job.trials)
    seconds, in_all = result["seconds"] / count, result["seconds_in_all"] / count
    return Ran(result["layout"], seconds, in_all, _trained(result), result["compilation"])


def trials_of(job: Job) -> Ran:
    """Let the tutorial loop do a job, and take the seconds of its trials, from building a network on.

    Not those of starting its process, which is started once for all 40: they would count for more in a few trials. This
    is in its favour, for those of `command` are all counted.
    """
    result = _module("contenders.tutorial", job)
    seconds = result["seconds_in_all"] / len(job.trials)
    return Ran(result["layout"], seconds, seconds, _trained(result))


def command(workload: Workload, job: Job) -> Ran:
    """Run `initbench compare` into an empty folder, and take the seconds from the start of its process to its end."""
    arguments = [sys.executable, "-m", "initbench", "compare", *_as_flags(flags(workload, job.dataset))]
    with tempfile.TemporaryDirectory() as folder:
        place = ["--out", folder, "--data-dir", job.data_dir]
        started = time.perf_counter()
        _run([*arguments, *place])
        seconds = (time.perf_counter() - started) / len(job.trials)
        if not list(Path(folder).glob("*/report.html")):
            raise SystemExit("`initbench compare` left no report.")
        records, _ = store.read_many(Path(folder), [trial.id for trial in job.trials])
    trained = [ours.trained(record, record.curve[-1].step) for record in records.values() if record.curve]
    return Ran(f"the command, {job.processes} cores", seconds, seconds, trained)


def _as_flags(recipe: dict[str, object]) -> Iterator[str]:
    for key, value in recipe.items():
        for one in value if isinstance(value, list) else [value]:
            yield from ("--" + {"schemes": "scheme"}.get(key, key).replace("_", "-"), str(one))


def _trained(result: dict[str, Any]) -> list[Trained]:
    return [_tuples(Trained(**one)) for one in result["trained"]]


def _tuples(trained: Trained) -> Trained:
    """JSON knows lists only."""
    return replace(trained, curve=[tuple(row) for row in trained.curve], final=[tuple(pair) for pair in trained.final])


def _module(name: str, job: Job) -> dict[str, Any]:
    """Run one of the scripts in a fresh process on a job, and return its result."""
    with tempfile.TemporaryDirectory() as folder:
        job_path, result_path = Path(folder, "job.json"), Path(folder, "result.json")
        job.write(job_path)
        _run([sys.executable, "-m", name, str(job_path), str(result_path)])
        return dict(json.loads(result_path.read_text()))


def _run(arguments: list[str]) -> None:
    """Run a process to its end; what it says is shown where it fails."""
    path = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent.parent), os.environ.get("PYTHONPATH")]))
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        arguments, cwd=HERE, env=environment | {"PYTHONPATH": path}, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} left with {done.returncode}:\n{done.stdout}\n{done.stderr}")
