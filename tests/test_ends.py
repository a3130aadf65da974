"""Start-up and the ends of a run: what is loaded, read, drawn and written no more often than need be."""

import csv
import gc
import io
import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from analysis_data import a_comparison, a_trial, diverged, finished
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from typer.testing import CliRunner

from initbench.analysis import frames
from initbench.analysis.statistics.flips import FLIPS, drawn_signs, drawn_sums
from initbench.cli import app
from initbench.cli.console import gc_frozen
from initbench.core.gc_pause import collector_paused
from initbench.records import store
from initbench.report.figures import plots
from initbench.report.figures.comparison import pictures
from initbench.report.table_files import csv_bytes

FEW = ["-s", "kaiming_uniform", "-s", "torch_default", "-m", "linear", "--steps", "3", "--seeds", "2", "--jobs", "1"]


def loaded_by(statement):
    command = [sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(told.stdout.split())


def test_a_worker_loads_nothing_but_what_trains():
    modules = loaded_by("import initbench.training.chains, initbench.running.worker")
    assert "torch" in modules
    assert not modules & {
        "pandas", "matplotlib", "scipy.stats", "sklearn", "torchvision", "typer", "rich", "jinja2", "numba",
    }  # fmt: skip


def test_a_worker_process_is_reached_before_torch_is_loaded():
    assert "torch" not in loaded_by("import initbench.running.bootstrap")


def test_what_hands_out_trials_loads_no_torch():
    assert not loaded_by("import initbench.running.executor") & {"torch", "scipy", "pandas"}


def test_an_inspection_is_measured_before_pandas_is_loaded():
    modules = loaded_by("import initbench.inspected, initbench.cli.present_inspection")
    assert not modules & {"pandas", "matplotlib", "initbench.analysis.results"}


@pytest.mark.long
def test_a_report_loads_no_torch_and_a_repeated_comparison_no_matplotlib(tmp_path):
    def loaded_for(*command):
        return loaded_by(f"sys.argv[1:] = {[*command]}; from initbench.cli import app; app(standalone_mode=False)")

    compare = ["compare", *FEW, "--out", str(tmp_path), "--name", "one", "-q"]
    assert "matplotlib" in loaded_for(*compare)  # the first time there is something to draw
    assert not loaded_for(*compare) & {"matplotlib", "sklearn", "torchvision", "torch", "pandas"}
    assert not loaded_for("report", str(tmp_path / "one"), "-q") & {"torch", "sklearn"}


@pytest.fixture
def reads(monkeypatch):
    """The ids that were read from the store, in order."""
    seen, read = [], store.read

    def spy(out, trial_id):
        seen.append(trial_id)
        return read(out, trial_id)

    monkeypatch.setattr(store, "read", spy)
    return seen


def test_each_stored_trial_is_read_once(tmp_path, reads):
    for stored in (0, 4):
        reads.clear()
        result = CliRunner().invoke(app, ["compare", *FEW, "--out", str(tmp_path), "--name", "one"])
        assert result.exit_code == 0
        assert len(list(tmp_path.glob("trials/*/*.json"))) == 4
        assert sorted(reads) == sorted(set(reads))
        assert len(reads) == 4 - stored, f"{stored} were stored"  # an answer shown again reads none


def test_the_comparison_of_a_tuned_run_is_the_one_that_its_folder_holds(tmp_path):
    import initbench

    made = initbench.compare(
        ["kaiming_uniform"], model="linear", lr=[0.01, 0.1], steps=3, seeds=2, jobs=1, out=tmp_path, name="one"
    )
    assert made.tuning
    assert made == initbench.load(tmp_path / "one")


def test_a_record_laid_out_anew_is_the_same_record(tmp_path):
    record = finished(a_trial(scheme="é; bias=constant(0.1)"))
    path = store.write(tmp_path, record)
    written = path.read_bytes()
    assert store._as_written(written) is not None
    assert store.read(tmp_path, record.trial.id) == record
    path.write_text(json.dumps(json.loads(written), indent=2))
    assert store._as_written(path.read_bytes()) is None
    assert store.read(tmp_path, record.trial.id) == record


def test_a_payload_that_was_changed_is_not_taken_as_written(tmp_path):
    record = finished(a_trial())
    path = store.write(tmp_path, record)
    path.write_bytes(path.read_bytes().replace(b'"seed":0', b'"seed":1'))
    with pytest.raises(store.DamagedFile, match="checksum"):
        store.read(tmp_path, record.trial.id)


def test_curves_and_layers_are_rows_of_their_records():
    records = [finished(a_trial(seed=0)), diverged(a_trial(seed=1), curve=()), finished(a_trial(seed=2))]
    for frame, columns, parts in (
        (frames.curves_frame(records), frames.CURVE_COLUMNS, "curve"),
        (frames.layers_frame(records), frames.LAYER_COLUMNS, "layers"),
    ):
        rows = [
            {"trial": r.trial.id, "scheme": r.trial.scheme, "lr": r.trial.lr, "seed": r.trial.seed} | asdict(part)
            for r in records
            for part in getattr(r, parts)
        ]
        pd.testing.assert_frame_equal(frame, frames.table(rows, columns))
        assert rows
    assert list(frames.layers_frame([]).dtypes) == list(frames.table([], frames.LAYER_COLUMNS).dtypes)


NUMBERS = st.floats() | st.sampled_from([0.0, -0.0, 1e16, 1e-5, float("nan"), 5e-324])


@given(st.lists(st.tuples(NUMBERS, st.integers(-(2**63), 2**63 - 1), st.none() | st.integers(0, 9), st.sampled_from(
    ["plain", "a, b", 'a "b"', "é; bias", ""])), max_size=8))  # fmt: skip
def test_csv_is_that_of_pandas(rows):
    kinds = {"x": "float64", "n": "int64", "steps": "Int64", "scheme": "str"}
    frame = frames.table([dict(zip(kinds, row, strict=True)) for row in rows], kinds)
    assert csv_bytes(frame).decode() == frame.to_csv(index=False, lineterminator="\n")
    assert len(list(csv.reader(io.StringIO(csv_bytes(frame).decode())))) == len(rows) + 1


@pytest.mark.parametrize("n", [21, 24, 50])
def test_sums_under_drawn_signs_are_plain_sums(n):
    differences = np.round(np.random.default_rng(n).normal(size=n) * 288) / 288
    signs = drawn_signs(n, 0)
    plain = 2.0 * np.unpackbits(signs.T, axis=1, count=n) - 1
    assert plain.shape == (FLIPS, n)
    np.testing.assert_allclose(drawn_sums(differences, signs), plain @ differences, atol=1e-12)
    assert abs(plain.mean()) < 5 / np.sqrt(plain.size)
    assert len(np.unique(signs[:, :1000], axis=1).T) == 1000


def test_some_seeds_are_drawn_and_the_legend_says_how_many():
    seeds = plots.SEEDS_DRAWN + 5
    comparison = a_comparison([finished(a_trial(seed=seed)) for seed in range(seeds)])
    drawn = {picture.name: picture.figure for picture in pictures(comparison)}
    for name in ("steps_to_target", "final_accuracy"):
        ids = [line.get_gid() or "" for line in drawn[name].axes[0].lines]
        assert sum(".seed" in gid for gid in ids) == plots.SEEDS_DRAWN
        said = [text.get_text() for text in drawn[name].legends[0].get_texts()]
        assert f"one seed (first {plots.SEEDS_DRAWN} per scheme)" in said
    lines = [c for c in drawn["loss"].axes[0].collections if isinstance(c, LineCollection)]
    assert len({line.get_gid() for line in lines}) == plots.SEEDS_DRAWN
    said = drawn["loss"].legends[0].get_title().get_text()
    assert f"thin: {plots.SEEDS_DRAWN} seeds" in said
    assert f"n = {seeds} seeds" in said


def test_the_collector_is_left_as_it_was():
    for switch, state in ((gc.disable, False), (gc.enable, True)):
        switch()
        with collector_paused():
            assert not gc.isenabled()
        assert gc.isenabled() is state
    with pytest.raises(KeyError), gc_frozen():
        raise KeyError
    assert gc.isenabled()
