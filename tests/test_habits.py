"""What shells, machines and folders do to a program: closed pipes, full devices, limits, odd names, file modes."""

import errno
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from initbench.cli import app, console
from initbench.cli.shortage import shortage_in
from initbench.cli.streams import Stream
from initbench.records import store

ROOT = Path(__file__).parents[1]
RUN = "from initbench.__main__ import main; main()"
QUICK = ("-m", "linear", "-s", "kaiming", "-s", "zeros", "--steps", "2", "--seeds", "1", "--jobs", "1")


def started(*arguments, line, **environment):
    """Run the program in a shell, as `$run`; return the exit code of the program and what it said on stderr."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    script = f'run() {{ "$0" -c "{RUN}" "$@"; echo $? >code; }}; {line}'
    done = subprocess.run(
        ["/bin/bash", "-c", script, sys.executable, *arguments], stderr=subprocess.PIPE, text=True, check=False, env=env
    )
    return int(Path("code").read_text()), done.stderr


# --- streams and limits ----------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ('run "$@" | true', 141, ""),
        ('run "$@" >/dev/full', 4, "error: Cannot write to standard output: No space left on device.\n"),
        pytest.param('run "$@" 2>/dev/full >/dev/null', 0, "", marks=pytest.mark.long),
        pytest.param('run "$@" >&-', 0, "", marks=pytest.mark.long),
        pytest.param('run "$@" >/dev/null 2>&- <&-', 0, "", marks=pytest.mark.long),
    ],
)
def test_a_stream_that_cannot_be_written_is_no_bug(line, code, said):
    assert started("--help", line=line) == (code, said)


def test_a_stream_that_failed_ends_a_command_and_stays_failed(capfd):
    read, write = os.pipe()
    os.close(read)
    stream = Stream(os.fdopen(write, "wb"), line_buffering=True)
    with pytest.raises(SystemExit) as ended, console.errors_reported():
        stream.write("one\n")
    assert ended.value.code == 141
    with pytest.raises(SystemExit):
        stream.write("two\n")
    stream.close()
    assert capfd.readouterr().err == ""


@pytest.mark.long
@pytest.mark.process
def test_a_comparison_into_a_closed_pipe_has_stored_its_trials(cache):
    arguments = ("compare", *QUICK, "--name", "p", "-q")
    assert started(*arguments, line='run "$@" | true', INITBENCH_CACHE=str(cache)) == (141, "")
    assert Path("results/p/report.html").stat().st_size
    assert len(list(Path("results/trials").glob("*/*.json"))) == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "Not enough memory or threads (MemoryError)"),
        (ImportError("READ THIS\nlibx.so: failed to map segment from shared object"), "(ImportError: libx.so: failed"),
        (RuntimeError("can't start new thread"), "Not enough memory or threads"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "free disk space"),
        (ModuleNotFoundError("No module named 'rich'", name="rich"), "`initbench doctor`"),
        (OSError("libllvmlite.so: cannot open shared object file"), "`initbench doctor`"),
        (ImportError("cannot import name 'x'", name="initbench.core"), None),
        (KeyError("x"), None),
    ],
)
def test_what_the_machine_lacks_is_said_to_be_lacking(capsys, error, said):
    outer = RuntimeError("while loading")
    outer.__cause__ = error
    assert (said in (shortage_in(outer) or "")) if said else shortage_in(outer) is None
    with pytest.raises(SystemExit) as ended, console.errors_reported():
        raise error
    assert ended.value.code == (4 if said else 1)
    assert ("please report" in capsys.readouterr().err) == (said is None)


@pytest.mark.long
@pytest.mark.process
@pytest.mark.parametrize("kilobytes", [100_000, 500_000, 800_000])
def test_a_limit_on_memory_is_said_in_a_sentence(cache, kilobytes):
    code, said = started("compare", *QUICK, "-q", line=f'ulimit -v {kilobytes}; run "$@"', INITBENCH_CACHE=str(cache))
    assert code == 4
    assert said.count("\n") == 1
    assert "ulimit" in said


@pytest.mark.process
def test_a_folder_that_was_removed_is_said_to_be(tmp_path):
    (tmp_path / "gone").mkdir()
    lines = f"import os; os.rmdir(os.getcwd()); {RUN}"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", lines, "--help"], cwd=tmp_path / "gone", env=env, capture_output=True, check=False
    )
    assert done.returncode == 4
    assert done.stderr == b"error: The current folder no longer exists: change to another one.\n"


# --- recipes of the package ------------------------------------------------------------------------------------------


def test_the_package_s_recipes_run_anywhere_and_a_file_of_that_name_wins():
    def dry_run(recipe, code=0):
        result = CliRunner().invoke(app, ["compare", recipe, "--dry-run"])
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    assert dry_run("article") == dry_run("experiments/article.toml")
    listed = CliRunner().invoke(app, ["list", "experiments"]).stdout
    assert [line.split()[0] for line in listed.splitlines()[1:] if line[0] != " "] == ["article", "first_look"]
    assert "did you mean 'article'?" in dry_run("artcle", code=2)
    assert "No recipe at experiments/artcle.toml" in dry_run("experiments/artcle.toml", code=4)
    made = CliRunner().invoke(app, ["new", "experiment", "article"])
    assert str(Path("experiments/article.toml").resolve()) in made.stderr
    assert "initbench compare experiments/article.toml" in made.stderr
    assert dry_run("article") == dry_run("experiments/article.toml")
    assert "mlp(depth=8" in dry_run("article")


# --- names and modes of folders ---------------------------------------------------------------------------------------


def test_a_folder_whose_name_is_not_utf_8_is_refused_before_training(monkeypatch):
    bad = os.fsdecode(b"bad\xff")
    for arguments in (("--out", bad), ("--data-dir", bad), (f"{bad}/recipe.toml",)):
        monkeypatch.setattr(sys, "argv", ["initbench", "compare", *arguments])  # which is stored
        Path(bad).mkdir(exist_ok=True)
        Path(bad, "recipe.toml").write_text("seeds = 2\n")
        result = CliRunner().invoke(app, ["compare", *QUICK, "-q", *arguments])
        assert result.exit_code == 2, result.output
        assert "bad\\udcff" in result.stderr
        assert "a name is not UTF-8" in result.stderr
    assert not Path("results").exists()
    assert [path.name for path in Path(bad).iterdir()] == ["recipe.toml"]


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_folders_of_the_cache_honour_the_umask(monkeypatch, tmp_path, mask):
    from initbench import datasets

    monkeypatch.setenv("INITBENCH_CACHE", str(tmp_path / "cache"))
    before = os.umask(mask)
    try:
        folder = datasets.prepare("digits").folder
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o777 & ~mask}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o666 & ~mask}


# --- the library in a program of one's own ---------------------------------------------------------------------------


def test_use_of_the_library_leaves_warning_filters_as_they_are(tmp_path):
    import torch

    import initbench

    def use(seeds):
        initbench.compare(["kaiming"], model="linear", steps=2, seeds=seeds, jobs=1, out=tmp_path, name="w")
        initbench.inspect(torch.nn.Linear(8, 4), torch.randn(16, 8))

    use(1)  # libraries that are loaded then bring filters of their own
    before = list(warnings.filters)
    use(2)
    assert warnings.filters == before


# --- folders merged --------------------------------------------------------------------------------------------------


def test_trials_copied_from_another_folder_are_not_trained_again_and_other_versions_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))

    def compared(out, seeds):
        result = CliRunner().invoke(app, ["compare", *QUICK, "--seeds", seeds, "--name", "m", "--out", str(out)])
        assert result.exit_code == 0, result.output
        return result

    compared(tmp_path / "whole", "4")
    compared(tmp_path / "a", "0,1")
    compared(tmp_path / "b", "2,3")
    shutil.copytree(tmp_path / "b" / "trials", tmp_path / "a" / "trials", dirs_exist_ok=True)
    assert "0 trials to train, 8 stored" in compared(tmp_path / "a", "4").stderr

    def layers(out):  # trials.csv has times
        return (tmp_path / out / "m" / "layers.csv").read_bytes()

    assert layers("a") == layers("whole")
    for path in (tmp_path / "a" / "trials").glob("*/*.json"):
        record = store.read(tmp_path / "a", path.stem)
        if record.trial.seed > 1:
            other = replace(record.environment, initbench="0.0.9")
            path.write_bytes(store.encode(record.model_copy(update={"environment": other})))
    said = " ".join(compared(tmp_path / "a", "4").stdout.split())
    assert "2 kinds of machine" in said
    assert "initbench 0.0.9): 4 trials" in said


# --- a narrow terminal -----------------------------------------------------------------------------------------------


def test_on_20_columns_every_number_stands_beside_what_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))
    commands = (("compare", *QUICK, "-q"), ("inspect", "-m", "mlp(depth=3)", "-s", "kaiming", "--seeds", "2", "-q"))
    said = {}
    for columns in (20, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        said[columns] = [CliRunner().invoke(app, command).stdout for command in commands]
    for narrow, wide in zip(said[20], said[200], strict=True):
        assert max(map(len, narrow.splitlines())) <= 20
        words = {word.strip("(),:.") for word in narrow.split()}
        numbers = {word.strip("(),:.") for word in wide.split() if any(letter.isdigit() for letter in word)}
        assert numbers <= words
    assert "steps to 90 %:\nnever (0/1)" in said[20][0]
    assert "‖∂z‖²: ×" in said[20][1]


# --- time ------------------------------------------------------------------------------------------------------------


def test_no_time_passes_for_a_trial_while_the_program_is_stopped(monkeypatch):
    from initbench.running import clock

    moments = iter([100.0, 100.1, 103.0, 163.0, 163.1])  # stopped for a minute
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(moments))
    running = clock.RunningTime()
    assert [running.now() for _ in range(4)] == pytest.approx([100.1, 103.0, 103.0, 103.1])
