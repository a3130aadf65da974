"""MLflow: runs in a database and on a real server, read back with MLflow's own client."""

import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pandas as pd
import pytest
from analysis_data import a_comparison, a_curve, a_trial, finished
from stored import a_folder
from test_exports_collections import CURVE, RECORDS, files, run
from test_inert_output import BAITS, a_hostile_comparison

from initbench.comparison import load
from initbench.report.exports import log_runs, without_password

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow uses what SQLAlchemy has deprecated


@pytest.fixture
def client(tmp_path):
    """Return how to open what MLflow logged to."""
    module = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'initbench[mlflow]'")
    return module.MlflowClient


def logged(client, name="compare-test"):
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    return {run.data.tags["initbench.trial"]: run for run in runs}, len(runs)


def hold_logged(client, comparison, name="compare-test"):
    runs, count = logged(client, name)
    assert count == len(runs) == len(comparison.records)
    for record, row in zip(comparison.records, comparison.trials.to_dict("records"), strict=True):
        of = runs[record.trial.id]
        assert of.info.status == ("FINISHED" if record.outcome.status == "finished" else "FAILED")
        assert of.data.tags["initbench.outcome"] == record.outcome.status
        told = of.data.params
        assert (told["scheme"], told["lr"], told["seed"]) == (record.trial.scheme, "0.05", str(record.trial.seed))
        for metric in CURVE:
            history = client.get_metric_history(of.info.run_id, metric)
            assert [(point.step, point.value) for point in sorted(history, key=lambda point: point.step)] == [
                (point.step, getattr(point, metric)) for point in record.curve
            ]
        for column in ("test_accuracy", "test_loss", "final_val_loss", "initial_loss", "steps_to_target"):
            assert of.data.metrics.get(column) == (None if pd.isna(row[column]) else row[column]), column


@pytest.mark.ecosystem
def test_mlflow_logs_to_a_database_of_its_own_and_a_second_time_doubles_nothing(client, tmp_path):
    place = a_folder(tmp_path, RECORDS)
    for _ in range(2):
        shown = run("export", place, "--to", "mlflow")
        assert "compare-x/export/mlflow" in shown.stderr.replace("\n", "")
    assert files(place / "export") == {"mlflow/mlflow.db"}
    assert not (tmp_path / "mlruns").exists()
    comparison = load(place)
    opened = client(f"sqlite:///{place / 'export' / 'mlflow' / 'mlflow.db'}")
    hold_logged(opened, comparison, "compare-x")
    runs, _ = logged(opened, "compare-x")
    assert runs[RECORDS[4].trial.id].data.tags["initbench.diverged_at"] == "8"
    assert runs[RECORDS[5].trial.id].data.tags["initbench.reason"] == "out of memory"


@pytest.mark.ecosystem
def test_a_run_that_was_cut_off_or_holds_something_else_is_replaced(client, tmp_path):
    comparison = a_comparison(RECORDS)
    uri = f"sqlite:///{tmp_path / 'x.db'}"
    log_runs(comparison, uri)
    opened = client(uri)
    before, _ = logged(opened)
    opened.update_run(before[RECORDS[0].trial.id].info.run_id, status="RUNNING")
    again = finished(RECORDS[5].trial, test=0.7)  # what failed is there now
    other = a_comparison((*RECORDS[:5], again))
    log_runs(other, uri)
    hold_logged(opened, other)
    after, _ = logged(opened)
    changed = {key for key in before if before[key].info.run_id != after[key].info.run_id}
    assert changed == {RECORDS[0].trial.id, RECORDS[5].trial.id}


@pytest.mark.ecosystem
def test_a_curve_longer_than_a_request_is_logged_whole(client, tmp_path):
    curve = a_curve([0.5] * 700, steps=range(700))
    comparison = a_comparison([finished(a_trial(), curve=curve)])
    log_runs(comparison, f"sqlite:///{tmp_path / 'x.db'}")
    hold_logged(client(f"sqlite:///{tmp_path / 'x.db'}"), comparison)


@pytest.mark.ecosystem
def test_mlflow_takes_any_names(client, tmp_path):
    comparison = a_hostile_comparison([BAITS[1], BAITS[7], "x" * 3000])
    log_runs(comparison, f"sqlite:///{tmp_path / 'x.db'}")
    with sqlite3.connect(tmp_path / "x.db") as database:
        names = [name for (name,) in database.execute("select name from runs")]
    database.close()
    assert len(names) == len(comparison.records)
    assert all(name.isprintable() for name in names)


@contextmanager
def a_server(folder):
    """Run `mlflow server` on the loopback, with SQLite; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
               "--artifacts-destination", str(folder / "artifacts")]  # fmt: skip
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 120
        while not healthy(address):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, 15)  # workers are its children
        server.wait(30)


def healthy(address):
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310 - the loopback
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.ecosystem
def test_mlflow_logs_to_a_server(client, tmp_path):
    pytest.importorskip("flask", reason="the MLflow server is not installed: pip install mlflow")
    place = a_folder(tmp_path, RECORDS)
    (tmp_path / "server").mkdir()
    with a_server(tmp_path / "server") as address:
        for _ in range(2):
            run("export", place, "--to", "mlflow", "--uri", address)
        hold_logged(client(address), load(place), "compare-x")
    assert not (place / "export").exists()


@pytest.mark.ecosystem
def test_an_address_where_nobody_answers_is_said_without_its_password(client, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    place = a_folder(tmp_path, RECORDS[:1])
    refused = run("export", place, "--to", "mlflow", "--uri", "http://me:secret@127.0.0.1:9", code=4)
    assert "Cannot write the runs to MLflow at http://127.0.0.1:9" in refused.stderr
    assert "secret" not in refused.output


@pytest.mark.ecosystem
def test_a_file_that_is_no_database_and_one_that_is_a_link_are_refused_and_left(client, tmp_path):
    place = a_folder(tmp_path, RECORDS[:1])
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "mlflow.db").write_text("mine " * 1000)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "mlflow.db").symlink_to(tmp_path / "target")
    for folder, told in (("one", "file is not a database"), ("two", "a link"), ("a?b", "a ? in its path")):
        assert told in run("export", place, "--to", "mlflow", "-o", tmp_path / folder, code=4).stderr
    assert (tmp_path / "one" / "mlflow.db").read_text() == "mine " * 1000
    assert not (tmp_path / "target").exists()
    assert not list(tmp_path.glob("a*"))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("postgresql://u:p@w@host:5432/db", "postgresql://host:5432/db"),
        ("sqlite:////tmp/a@b.db", "sqlite:////tmp/a@b.db"),
        ("databricks", "databricks"),
    ],
)
def test_an_address_is_shown_without_its_password(uri, shown):
    assert without_password(uri) == shown
