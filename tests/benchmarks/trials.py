"""What a whole trial costs: beside JAX's training loop alone, and around its own. One process with one thread each.

`python -m tests.benchmarks.trials` trains, stores and prints seconds a trial as JSON: `loop` from the first evaluation
to the last, `training` with the final evaluation, `whole` with network, weights, step 0, record and file.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from initbench.datasets import default_data_dir
from initbench.records import store
from initbench.records.recipe import Trial
from initbench.running import bootstrap
from initbench.running.plan import draft_of, plan_study
from initbench.running.study import Study

HERE = Path(__file__).resolve().parent
SEEDS, ROUNDS = 40, 3
FLAGS = {
    "schemes": ["kaiming_uniform"], "baseline": "kaiming_uniform", "model": "mlp(depth=8, width=64)", "lr": 0.002,
    "batch_size": 64, "steps": 200, "seeds": SEEDS, "device": "cpu",
}  # fmt: skip
JAX_FORMS = ("fori_loop", "scan")


@dataclass(frozen=True)
class Whole:
    """Medians over rounds: a whole trial and its loop as multiples of JAX's loop, None without JAX, and what is around.

    `around` is everything but the loop, as a multiple of it.
    """

    of_jax: float | None
    loop_of_jax: float | None
    around: float
    milliseconds: float


def measure() -> Whole:
    """Time trials and JAX's loop in turn, each in a fresh process."""
    rounds = []
    forms = JAX_FORMS if importlib.util.find_spec("jax") else ()
    for _ in range(ROUNDS):
        ours = json.loads(_run("tests.benchmarks.trials", cwd=HERE.parent.parent))
        jax = [_jax(form) for form in forms]
        rounds.append((ours, min(jax, default=None)))
    with_jax = [(ours, jax) for ours, jax in rounds if jax is not None]
    return Whole(
        of_jax=statistics.median(ours["whole"] / jax for ours, jax in with_jax) if with_jax else None,
        loop_of_jax=statistics.median(ours["training"] / jax for ours, jax in with_jax) if with_jax else None,
        around=statistics.median(ours["whole"] / ours["loop"] - 1 for ours, _ in rounds),
        milliseconds=1000 * statistics.median(ours["whole"] for ours, _ in rounds),
    )


def _study() -> Study:
    return plan_study(draft_of(None, FLAGS, "argument"), Path())


def _jax(form: str) -> float:
    """Return the seconds of a loop as a JAX user would write it, compiled before."""
    trials = [trial.model_dump(mode="json") for trial in _study().trials]
    job = {"trials": trials, "dataset": "digits", "data_dir": str(default_data_dir()), "processes": 1, "form": form}
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "job.json"), Path(folder, "result.json")
        asked.write_text(json.dumps(job))
        _run("contenders.jax_loop", str(asked), str(answered), cwd=HERE)
        return float(json.loads(answered.read_text())["seconds"]) / len(trials)


def _run(module: str, *arguments: str, cwd: Path) -> str:
    paths = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent.parent), os.environ.get("PYTHONPATH")]))
    program = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(program, cwd=cwd, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Train and store all trials but the first, which warms up."""
    bootstrap.keep_memory()
    from initbench.running.worker import train_group
    from initbench.training import loop

    fitting: list[float] = []

    def timed(fit: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            begun = time.perf_counter()
            found = fit(*given)
            fitting.append(time.perf_counter() - begun)
            return found

        return run

    study = _study()
    (dataset,) = study.datasets.values()
    with tempfile.TemporaryDirectory() as folder, patch.object(loop, "_fit", timed(loop._fit)):

        def train(trial: Trial) -> float:
            (record,) = train_group((trial,), dataset)
            store.write(Path(folder), record)
            return record.timings.seconds_train

        first, *others = study.trials
        train(first)
        fitting.clear()
        begun = time.perf_counter()
        training = sum(map(train, others))
        whole = time.perf_counter() - begun
    parts = {"whole": whole, "training": training, "loop": sum(fitting)}
    sys.stdout.write(json.dumps({name: seconds / len(others) for name, seconds in parts.items()}))


if __name__ == "__main__":
    main()
