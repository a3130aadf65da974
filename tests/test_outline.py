"""Comparisons of many trials: read and written a part at a time, with the numbers of the whole."""

import hashlib
import json
import math
from importlib import import_module

import pandas as pd
import pytest
from analysis_data import a_trial, diverged, failed, finished
from stored import a_folder
from typer.testing import CliRunner

from initbench.analysis import frames
from initbench.cli import app
from initbench.comparison import load, outline
from initbench.records import store
from initbench.records.record import Final
from initbench.report import table_files
from initbench.report.table_files import csv_bytes

LOSSES = ("train_loss", "val_loss", "test_loss")
ACCURACIES = ("train_accuracy", "val_accuracy", "test_accuracy")
RECORDS = [
    *[finished(a_trial(seed=seed), test=0.9 - seed / 100, val=0.85 + seed / 100) for seed in range(4)],
    diverged(a_trial("orthogonal", seed=0)),
    failed(a_trial("orthogonal", seed=1)),
    finished(a_trial("orthogonal", seed=2), val=0.1),
]


def test_an_outline_has_the_tables_of_the_whole(tmp_path, monkeypatch):
    folder = a_folder(tmp_path, RECORDS, target=0.8)
    absent, broken = (store.path_of(tmp_path, record.trial.id) for record in RECORDS[:2])
    absent.unlink()
    broken.write_bytes(broken.read_bytes()[:-9])
    whole = load(folder)
    monkeypatch.setattr(frames, "ROWS_AT_ONCE", 2)
    found = outline(folder)
    pd.testing.assert_frame_equal(found.trials, whole.trials)
    pd.testing.assert_frame_equal(found.summary, whole.summary)
    assert (found.missing, found.damaged) == (whole.missing, whole.damaged)
    assert len(found.trials) == len(RECORDS) - 2


def test_a_report_of_too_many_trials_is_their_summary(tmp_path, monkeypatch):
    folder = a_folder(tmp_path, RECORDS)
    monkeypatch.setattr(import_module("initbench.cli.report"), "MOST", len(RECORDS) - 1)
    ran = CliRunner().invoke(app, ["report", str(folder), "--json"])
    assert ran.exit_code == 0
    written = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
    whole = load(folder)
    assert set(written) == {"recipe.json", "summary.csv", "trials.csv"}
    assert written["trials.csv"] == csv_bytes(whole.trials)
    assert written["summary.csv"] == csv_bytes(whole.summary)
    assert "summary.csv and trials.csv only" in ran.stderr
    assert [row["scheme"] for row in json.loads(ran.stdout)["summary"]] == list(whole.summary["scheme"])


def test_a_table_written_in_parts_is_that_written_at_once(monkeypatch):
    trials = frames.trials_frame([(record, 0.8) for record in RECORDS])
    at_once = csv_bytes(trials)
    monkeypatch.setattr(table_files, "ROWS_AT_ONCE", 3)
    assert csv_bytes(trials) == at_once
    assert at_once.count(b"\n") == 1 + len(RECORDS)


def test_a_number_that_is_not_finite_is_none_and_in_a_file_is_damage(tmp_path):
    assert Final(**dict.fromkeys(LOSSES, math.nan), **dict.fromkeys(ACCURACIES, 0.5)).test_loss is None
    path = store.write(tmp_path, RECORDS[0])
    payload = json.loads(path.read_bytes())["payload"]
    for literal in ("NaN", "1e999"):
        text = store._canonical(payload).replace(b'"test_loss":0.25', b'"test_loss":' + literal.encode())
        checksum = hashlib.sha256(text).hexdigest()
        head = f'{{"checksum":"{checksum}","format":1,"payload":'.encode()
        path.write_bytes(head + text + b',"timings":{"seconds_init":0.0,"seconds_train":0.0}}\n')
        with pytest.raises(store.DamagedFile, match="not a record"):
            store.read(tmp_path, RECORDS[0].trial.id)
