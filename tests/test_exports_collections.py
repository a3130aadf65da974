"""Exports that hold every trial, read back with the libraries that they are made for."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from analysis_data import a_comparison, a_trial, diverged, failed, finished
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples
from stored import a_folder
from test_inert_output import BAITS, a_hostile_comparison, baits
from typer.testing import CliRunner

from initbench.cli import app
from initbench.comparison import load
from initbench.records.record import Point
from initbench.report.exports import COLLECTIONS
from initbench.report.exports.tensorboard import EVENTS
from initbench.report.exports.trials import paths, tracked

KAIMING = "conv=kaiming_uniform(mode='fan_out'); bias=constant(0.1)"
RECORDS = (
    *(finished(a_trial("torch_default", seed), test=0.8 + seed / 100) for seed in range(2)),
    *(finished(a_trial(KAIMING, seed), test=0.9) for seed in range(2)),
    diverged(a_trial("constant(0.05)", 0)),
    failed(a_trial("constant(0.05)", 1)),
)
CURVE = ("train_loss", "val_loss", "val_accuracy")


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def files(place):
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}


# ---- Parquet


@pytest.fixture
def pq():
    return pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'initbench[parquet]'")


@pytest.mark.ecosystem
def test_parquet_is_the_frames_with_their_types_and_what_is_missing_is_null(pq, tmp_path):
    run("export", a_folder(tmp_path, RECORDS), "--to", "parquet")
    place = tmp_path / "compare-x" / "export" / "parquet"
    names = ("trials", "curves", "layers", "summary", "verdicts")
    assert files(place) == {f"{name}.parquet" for name in names}
    comparison = load(tmp_path / "compare-x")
    for name in names:
        frame = getattr(comparison, name)
        pd.testing.assert_frame_equal(pd.read_parquet(place / f"{name}.parquet"), frame)
        table = pq.read_table(place / f"{name}.parquet")
        assert table.column_names == list(frame.columns)
        for column in frame:
            assert table[column].null_count == frame[column].isna().sum(), column
            assert not any(isinstance(value, float) and math.isnan(value) for value in table[column].to_pylist())
            kind = str(table.schema.field(column).type)
            assert kind.removeprefix("large_") == {"str": "string", "float64": "double"}.get(
                str(frame[column].dtype), str(frame[column].dtype).lower()
            )
    lost = pq.read_table(place / "trials.parquet").to_pylist()[4:]
    assert [(row["outcome"], row["test_accuracy"], row["steps_to_target"]) for row in lost] == [
        ("diverged", None, None), ("failed", None, None)
    ]  # fmt: skip


@pytest.mark.ecosystem
def test_parquet_has_the_tuning_trials_where_there_are_any(pq, tmp_path):
    tuning = tuple(finished(a_trial("torch_default", 7, lr=lr)) for lr in (0.1, 0.2))
    COLLECTIONS["parquet"](a_comparison(RECORDS, tuning=tuning), tmp_path / "x")
    assert pq.read_table(tmp_path / "x" / "tuning.parquet")["lr"].to_pylist() == [0.1, 0.2]


# ---- TensorBoard


@pytest.fixture
def read_events():
    """Return how TensorBoard itself reads a run."""
    reason = "tensorboard is not installed: pip install 'initbench[tensorboard]'"
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)

    def read(place):
        return module.EventAccumulator(str(place), size_guidance={module.SCALARS: 0}).Reload()

    return read


def hparams_of(events):
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    (content,) = (events.summary_metadata["_hparams_/session_start_info"].plugin_data.content,)
    data = plugin_data_pb2.HParamsPluginData.FromString(content)
    assert data.version == metadata.PLUGIN_DATA_VERSION
    values = data.session_start_info.hparams
    return {key: values[key].string_value or values[key].number_value for key in values}


def test_tensorboard_reads_the_curves_that_are_stored(read_events, tmp_path):
    run("export", a_folder(tmp_path, RECORDS), "--to", "tensorboard")
    place = tmp_path / "compare-x" / "export" / "tensorboard" / "compare-x"
    runs = {
        "torch_default/lr-0.05/seed-0", "torch_default/lr-0.05/seed-1",
        "conv-kaiming_uniform-mode-fan_out-bias-constant-0.1/lr-0.05/seed-0",
        "conv-kaiming_uniform-mode-fan_out-bias-constant-0.1/lr-0.05/seed-1",
        "constant-0.05/lr-0.05/seed-0", "constant-0.05/lr-0.05/seed-1",
    }  # fmt: skip
    assert files(place) == {f"{name}/{EVENTS}" for name in runs}
    for record, path in zip(RECORDS, paths(list(tracked(a_comparison(RECORDS)))), strict=True):
        events = read_events(place / path)
        assert sorted(events.Tags()["scalars"]) == (sorted(CURVE) if record.curve else [])
        for name in CURVE if record.curve else ():
            scalars = events.Scalars(name)
            assert [scalar.step for scalar in scalars] == [point.step for point in record.curve]
            assert [scalar.value for scalar in scalars] == [np.float32(getattr(p, name)) for p in record.curve]
        told = hparams_of(events)
        assert told["scheme"] == record.trial.scheme
        assert (told["lr"], told["seed"], told["outcome"]) == (0.05, record.trial.seed, record.outcome.status)


def test_a_second_export_doubles_nothing_and_drops_runs_that_are_no_more(read_events, tmp_path):
    home = tmp_path / "logs" / "compare-test"
    COLLECTIONS["tensorboard"](a_comparison(RECORDS), tmp_path / "logs")
    before = {path: path.read_bytes() for path in home.rglob(EVENTS)}
    (home / "constant-0.05" / "notes.txt").write_text("mine")
    COLLECTIONS["tensorboard"](a_comparison(RECORDS, name="other"), tmp_path / "logs")
    COLLECTIONS["tensorboard"](a_comparison(RECORDS), tmp_path / "logs")
    assert {path: path.read_bytes() for path in home.rglob(EVENTS)} == before
    assert len(read_events(home / "torch_default" / "lr-0.05" / "seed-0").Scalars("val_loss")) == 10
    COLLECTIONS["tensorboard"](a_comparison(RECORDS[:1]), tmp_path / "logs")
    left = {f"torch_default/lr-0.05/seed-0/{EVENTS}", "constant-0.05/notes.txt"}
    assert files(home) == left
    assert len(files(tmp_path / "logs" / "other")) == len(RECORDS)
    assert not list(home.glob("conv*"))


def test_runs_of_several_settings_parts_and_schemes_that_read_alike_are_told_apart():
    trials = [
        a_trial("a/b"), a_trial("a-b"), a_trial("../..", model="mlp(depth=2)"), a_trial("CON", order_seed=3)
    ]  # fmt: skip
    tuning = (finished(a_trial("a/b", 7, lr=1e-5)),)
    every = list(tracked(a_comparison([finished(trial) for trial in trials], tuning=tuning)))
    assert [of.part for of in every] == ["scored"] * 4 + ["tuning"]
    named = paths(every)
    assert named[0] == f"mlp-depth-8-width-64/a-b/lr-0.05/seed-0-{trials[0].id}"
    assert named[1] == f"mlp-depth-8-width-64/a-b/lr-0.05/seed-0-{trials[1].id}"
    assert named[2:] == [
        "mlp-depth-2/x/lr-0.05/seed-0", "mlp-depth-8-width-64/con/lr-0.05/seed-0-order-3",
        "mlp-depth-8-width-64/a-b/lr-1e-05/seed-7",
    ]  # fmt: skip


@examples(20)
@given(st.lists(baits, min_size=1, max_size=3))
def test_a_run_of_any_name_has_a_path_of_its_own_that_goes_down(texts):
    every = list(tracked(a_hostile_comparison(texts)))
    named = paths(every)
    assert len({name.lower() for name in named}) == len(every)
    for name in named:
        for part in name.split("/"):
            assert part.isascii()
            assert part.isprintable()
            assert part.strip(". ") == part
            assert 0 < len(part) < 120
            assert not set(part) & set('\\:*?"<>|$`')


def test_event_files_stay_where_they_were_asked_for(read_events, tmp_path):
    comparison = a_hostile_comparison([BAITS[0], "../../x", "/etc/passwd"])
    COLLECTIONS["tensorboard"](comparison, tmp_path / "logs")
    assert all(name.startswith("logs/") for name in files(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    place = a_folder(tmp_path, RECORDS)
    (place / "export").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert "leads out of" in run("export", place, "--to", "tensorboard", code=4).stderr
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "logs2").mkdir()
    (tmp_path / "logs2" / "compare-x").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert "leads out of" in run("export", place, "--to", "tensorboard", "-o", tmp_path / "logs2", code=4).stderr
    assert not list((tmp_path / "elsewhere").iterdir())


# ---- without the libraries


@pytest.mark.parametrize(
    ("to", "absent"), [("parquet", "pyarrow.parquet"), ("tensorboard", "tensorboard"), ("mlflow", "mlflow")]
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(to, absent, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, absent, None)
    for loaded in [name for name in sys.modules if name.startswith(f"{absent}.")]:
        monkeypatch.setitem(sys.modules, loaded, None)
    missing = run("export", a_folder(tmp_path, RECORDS), "--to", to, code=4)
    assert f"pip install 'initbench[{to}]'" in missing.stderr
    assert [path.name for path in (tmp_path / "compare-x").rglob("*")] == ["recipe.json"]


@pytest.mark.parametrize("to", COLLECTIONS)
def test_a_file_in_the_place_of_a_folder_is_said(to, tmp_path):
    pytest.importorskip({"parquet": "pyarrow"}.get(to, to), reason=f"pip install 'initbench[{to}]'")
    (tmp_path / "file").write_text("mine")
    refused = run("export", a_folder(tmp_path, RECORDS), "--to", to, "-o", tmp_path / "file", code=4)
    assert "Cannot write" in refused.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_exporting_loads_no_torch_and_none_of_the_libraries_until_asked(tmp_path):
    code = (
        "import sys, initbench.report.exports\n"
        "print(*sorted({'torch', 'tensorboard', 'mlflow', 'pyarrow', 'matplotlib'} & sys.modules.keys()))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(loaded.stdout.split()) <= {"pyarrow"}  # pandas loads it where it is installed


def test_a_loss_that_is_no_number_is_exported_as_that(read_events, tmp_path):
    # No stored curve has one; a record made by hand may.
    curve = (Point(step=0, epoch=0.0, train_loss=math.inf, val_loss=math.nan, val_accuracy=0.1),)
    COLLECTIONS["tensorboard"](a_comparison([diverged(a_trial(), curve=curve)]), tmp_path)
    events = read_events(next(tmp_path.rglob(EVENTS)).parent)
    assert events.Scalars("train_loss")[0].value == math.inf
    assert math.isnan(events.Scalars("val_loss")[0].value)
