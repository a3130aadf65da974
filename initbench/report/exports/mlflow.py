"""Trials as MLflow runs, in an SQLite file or on a tracking server."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initbench.analysis.frames import TRIAL_COLUMNS, trials_frame
from initbench.analysis.results import Results
from initbench.core.text import printable
from initbench.errors import ConfigurationError
from initbench.records.store import writing
from initbench.report.exports.trials import CURVE_METRICS, Tracked, needs, tracked
from initbench.report.sentences import introduction

DATABASE = "mlflow.db"
TRIAL, CONTENT = "initbench.trial", "initbench.content"  # tags by which a run is found again
RUNNING = "RUNNING"  # the status of a run until its last batch was taken
LONGEST_NAME = 250  # characters of a name that the server's columns take
MOST_METRICS = 900  # of one request, which takes 1000 of metrics, parameters and tags together
# Columns of a trial's row that hold what came of it.
RESULTS = list(TRIAL_COLUMNS)[list(TRIAL_COLUMNS).index("initial_loss") :]
# The user's own settings win. A wrong address is told in seconds, not after MLflow's four minutes of retries.
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


@dataclass(frozen=True)
class Run:
    """One trial as MLflow has it; `metrics` are (name, value, step)."""

    name: str
    status: str
    parameters: dict[str, str]
    metrics: tuple[tuple[str, float, int], ...]
    tags: dict[str, str]

    @property
    def content(self) -> str:
        """A digest of what the run holds but for seconds, which differ from machine to machine."""
        metrics = [metric for metric in self.metrics if not metric[0].startswith("seconds_")]
        text = json.dumps([self.name, self.status, self.parameters, metrics, self.tags])
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def write_mlflow(comparison: Results, folder: Path) -> None:
    """Write `folder/mlflow.db`, for `mlflow server --backend-store-uri sqlite:///…/mlflow.db`.

    Raises:
        ConfigurationError: MLflow's client is not installed, or the folder cannot be written.
    """
    _library()  # what is not installed is said before a folder is made
    database = folder.resolve() / DATABASE
    if "?" in str(database) or database.is_symlink():
        raise ConfigurationError(
            f"SQLite cannot write {database}: it is a link or has a ? in its path; pass another --output."
        )
    with writing(database):
        folder.mkdir(parents=True, exist_ok=True)
    log_runs(comparison, f"sqlite:///{database}")


def log_runs(comparison: Results, uri: str) -> None:
    """Log a run per trial to an experiment of the comparison's name, at a server or in a database.

    A run has parameters, the curve by step (losses in nats, accuracies as shares), the results at the last step, and
    tags that say which trial it is. A run that is there already and holds the same is left alone, one that holds
    something else or was cut off is replaced, so exporting again doubles nothing. The times of a run are those of the
    export; a trial that diverged or failed is FAILED, and nothing stands in for what it did not reach.

    Raises:
        ConfigurationError: MLflow's client is not installed, or what is at `uri` cannot be reached or refuses.
    """
    connect, errors = _library()
    with _answers(uri, errors):
        client = connect(uri)
        experiment = _experiment(client, comparison)
        known = _known(client, experiment)
        for run in _runs(comparison):
            _log(client, experiment, run, known.get(run.tags[TRIAL], []))


def _library() -> tuple[Callable[[str], Any], tuple[type[Exception], ...]]:
    """Return what opens a store by its address, and what that may raise."""
    for key, value in DEFAULTS.items():
        os.environ.setdefault(key, value)
    with needs("mlflow"):
        from mlflow import MlflowClient  # noqa: PLC0415 - of an extra
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - of an extra
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - of an extra
    return MlflowClient, (MlflowException, SQLAlchemyError, ImportError, OSError)


def without_password(uri: str) -> str:
    """Return an address as it may be shown."""
    return re.sub(r"(?<=://)[^/]*@", "", uri)


def _experiment(client: Any, comparison: Results) -> str:  # noqa: ANN401 - MLflow's client
    """Return the id of the experiment with the comparison's name, made where there is none."""
    name = (printable(comparison.name).strip() or "comparison")[:LONGEST_NAME]
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, tags={"mlflow.note.content": introduction(comparison)[:5000]}))


def _known(client: Any, experiment: str) -> dict[str, list[Any]]:  # noqa: ANN401 - MLflow's client
    """Return the runs that the experiment has, by trial; there is one a trial unless an export was cut off."""
    known: dict[str, list[Any]] = {}
    token: str | None = None
    while token != "":
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            known.setdefault(run.data.tags.get(TRIAL, ""), []).append(run)
        token = page.token or ""
    return known


def _log(client: Any, experiment: str, run: Run, known: list[Any]) -> None:  # noqa: ANN401 - MLflow's client
    """Log a run unless it is there as it would be written."""
    from mlflow.entities import Metric, Param  # noqa: PLC0415 - of an extra

    if any(other.data.tags.get(CONTENT) == run.content and other.info.status != RUNNING for other in known):
        return
    for other in known:
        client.delete_run(other.info.run_id)
    id_ = client.create_run(experiment, run_name=run.name, tags=run.tags | {CONTENT: run.content}).info.run_id
    parameters = [Param(key, value) for key, value in run.parameters.items()]
    metrics = [Metric(key, value, 0, step) for key, value, step in run.metrics]
    client.log_batch(id_, metrics=metrics[:MOST_METRICS], params=parameters)
    for start in range(MOST_METRICS, len(metrics), MOST_METRICS):
        client.log_batch(id_, metrics=metrics[start : start + MOST_METRICS])
    client.set_terminated(id_, run.status)


def _runs(comparison: Results) -> Iterator[Run]:
    trials = list(tracked(comparison))
    rows = trials_frame([(entry.record, comparison.target_of(entry.record)) for entry in trials])
    for entry, (_, row) in zip(trials, rows[RESULTS].iterrows(), strict=True):
        yield _run(entry, {str(name): float(value) for name, value in row.dropna().items()})


def _run(entry: Tracked, results: dict[str, float]) -> Run:
    trial, outcome, curve = entry.record.trial, entry.record.outcome, entry.record.curve
    last = curve[-1].step if curve else 0
    by_step = [(name, getattr(point, name), point.step) for point in curve for name in CURVE_METRICS]
    at_the_end = [(name, value, 0 if name == "initial_loss" else last) for name, value in results.items()]
    tags = {
        TRIAL: trial.id,
        "initbench.part": entry.part,
        "initbench.outcome": outcome.status,
        **({"initbench.diverged_at": str(outcome.step)} if outcome.step is not None else {}),
        **({"initbench.reason": printable(outcome.reason)} if outcome.reason else {}),
    }
    return Run(
        name=printable(f"{trial.scheme}, lr {trial.lr:g}, seed {trial.seed}")[:LONGEST_NAME],
        status="FINISHED" if outcome.status == "finished" else "FAILED",
        parameters={key: str(value) for key, value in entry.parameters.items()},
        metrics=(*by_step, *at_the_end),
        tags=tags,
    )


@contextmanager
def _answers(uri: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn what MLflow raises into a sentence that repeats no password of an address."""
    try:
        yield
    except errors as error:
        place = without_password(uri)
        reason = str(error).replace(uri, place).strip().partition("\n")[0]
        raise ConfigurationError(f"Cannot write the runs to MLflow at {place}: {reason[:200]}") from None
