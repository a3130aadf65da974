"""What is shown while trials run: the table, row by row, on terminals of any size; and the real thing on a real one."""

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from analysis_data import a_curve, a_trial, diverged, failed, finished
from rich.console import Console

from initbench.cli import console
from initbench.cli.console import SPARKS, picked, spark
from initbench.cli.live import Board
from initbench.records.record import Timings
from initbench.running.pace import StepCounter
from initbench.running.time_left import TimeLeft, in_words

ROOT = Path(__file__).parents[1]
COMPARE = ("compare", "-s", "kaiming", "-s", "torch_default", "-m", "mlp(depth=2, width=16)", "--steps", "9000",
           "--seeds", "3", "--jobs", "1", "--name", "seen")  # fmt: skip


def shown(board, columns=80, lines=24):
    """Return the table as lines of text."""
    screen = Console(width=columns, height=lines, color_system=None, force_terminal=False, legacy_windows=False)
    with screen.capture() as capture:
        screen.print(board.render(columns, lines), no_wrap=True, overflow="crop")
    return capture.get().splitlines()


def a_board(*trials, stored=0):
    board = Board(lambda: None)
    board.started(trials, stored)
    return board


def test_a_row_counts_its_trials_and_draws_the_mean_curve_of_the_finished_ones():
    trials = [a_trial(scheme=scheme, seed=seed) for scheme in ("kaiming_uniform", "zeros") for seed in range(3)]
    board = a_board(*trials, stored=4)
    for trial, accuracies in zip(trials, ((0.0, 1.0), (0.0, 0.5)), strict=False):
        board.finished(finished(trial, curve=a_curve(accuracies)))
    row = next(line for line in shown(board) if line.startswith("kaiming_uniform"))
    assert row.split() == ["kaiming_uniform", "2/3", "▁▇", "0.750", "1.000"]
    assert next(line for line in shown(board) if line.startswith("zeros")).split() == ["zeros", "0/3"]
    assert "2/6 trials, 33%" in shown(board)[0]
    assert "4 were stored" in shown(board)[0]


def test_a_trial_that_diverged_or_failed_is_counted_and_left_out_of_the_mean():
    trials = [a_trial(seed=seed) for seed in range(3)]
    board = a_board(*trials)
    board.finished(finished(trials[0], curve=a_curve((0.1, 0.5))))
    board.finished(diverged(trials[1], curve=()))
    board.finished(failed(trials[2]))
    row = board.rows[0]
    assert row.mean == [0.1, 0.5]
    assert row.remark == "1 diverged, 1 failed"
    assert (row.counter.ended, row.counter.steps_done) == (3, row.counter.total)


def test_steps_inside_trials_move_the_share_and_are_not_counted_twice():
    trials = [a_trial(seed=seed) for seed in range(2)]
    board = a_board(*trials)
    steps = trials[0].steps
    board.progressed({trials[0].id: steps // 2, "a trial of another run": 7})
    assert board.steps_done == steps // 2
    board.finished(finished(trials[0]))
    board.progressed({trials[0].id: steps})  # a report that was under way
    assert board.steps_done == steps


def test_what_differs_between_trials_is_part_of_a_row_s_name():
    board = a_board(a_trial(lr=0.1), a_trial(lr=0.2), a_trial(lr=0.2, seed=1))
    assert [row.scheme + row.setting for row in board.rows] == ["kaiming_uniform, lr 0.1", "kaiming_uniform, lr 0.2"]
    assert [line.split("  ")[0] for line in shown(board)[2:4]] == ["kaiming_unifo…, lr 0.1", "kaiming_unifo…, lr 0.2"]
    assert [row.counter.trials for row in board.rows] == [1, 2]


@pytest.mark.parametrize("columns", [40, 80, 140])
@pytest.mark.parametrize("lines", [6, 24, 50])
def test_the_table_fits_any_terminal_and_counts_what_does_not(columns, lines):
    name = "conv=kaiming_uniform(nonlinearity='leaky_relu'); linear=xavier_uniform; bias=constant({})"
    trials = [a_trial(scheme=name.format(i)) for i in range(30)]
    board = a_board(*trials)
    board.progressed({trials[29].id: 1})
    board.finished(finished(trials[29], curve=a_curve([i / 40 for i in range(40)])))
    board.progressed({trials[28].id: 1})
    text = shown(board, columns, lines)
    assert len(text) < lines
    assert max(map(len, text)) <= columns
    assert "…  …" not in "".join(text)  # no column is squeezed until it says nothing
    rows = [line for line in text if line.startswith("conv=")]
    assert len(rows) == min(30, lines - 4)
    if len(rows) < 30:
        assert f"{30 - len(rows)} more rows" in text[-1]


def test_rows_in_training_are_the_last_to_be_left_out():
    trials = [a_trial(scheme=f"normal(std={i})") for i in range(1, 30)]
    board = a_board(*trials)
    board.progressed({trials[17].id: 1, trials[28].id: 1})
    text = "\n".join(shown(board, lines=8))
    assert "normal(std=18)" in text
    assert "normal(std=29)" in text
    assert text.index("normal(std=18)") < text.index("normal(std=29)")


def test_names_in_the_table_are_text():
    board = a_board(a_trial(scheme="[red]x[/red]\x1b[2J"))
    assert "[red]x[/red]\\x1b[2J" in "\n".join(shown(board))


def test_nothing_to_train_is_no_table(capsys):
    assert shown(a_board(stored=3)) in ([], [""])
    assert "0 trials to train, 3 stored" in capsys.readouterr().err


def test_a_spark_line_is_as_high_as_the_share_and_no_wider_than_its_room():
    assert spark([0.0, 1.0], 8) == SPARKS[0] + SPARKS[-1]
    assert spark([i / 7 for i in range(8)], 8) == SPARKS
    assert spark([], 8) == ""
    long = spark([i / 99 for i in range(100)], 10)
    assert len(long) == 10
    assert list(long) == sorted(long)
    assert picked(100, 10)[0] == 0
    assert picked(100, 10)[-1] == 99


def simulated(costs, workers, monkeypatch, *, start=5.0):
    """Train trials of these seconds, in order, on a simulated clock; yield (seconds to the end, estimate) at each tick.

    Workers take `start` seconds to begin and report every half second.
    """
    now, time_left = [0.0], TimeLeft([trial for trial, _ in costs])
    monkeypatch.setattr("initbench.running.time_left.time.monotonic", lambda: now[0])
    free, open_ = [start] * workers, []
    for trial, seconds in costs:
        begin = min(free)
        free[free.index(begin)] = begin + seconds
        open_.append((trial, begin, begin + seconds))
    end = max(free)
    while open_:
        now[0] += 0.5
        for trial, begin, until in [each for each in open_ if each[2] <= now[0]]:
            time_left.finish(finished(trial, timings=Timings(seconds_init=0.0, seconds_train=until - begin)))
            open_.remove((trial, begin, until))
        time_left.progress({t.id: int(t.steps * (now[0] - a) / (b - a)) for t, a, b in open_ if a < now[0]})
        yield end - now[0], time_left.seconds()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_time_left_is_right_where_trials_of_a_kind_cost_alike(workers, monkeypatch):
    small = [(a_trial(seed=seed), 3.0) for seed in range(20)]
    large = [(a_trial(seed=seed, model="cnn", steps=1000), 40.0) for seed in range(8)]
    mixed = [pair for pairs in zip(small[:8], large, strict=True) for pair in pairs] + small[8:]
    seen = list(simulated(mixed, workers, monkeypatch))
    told = [(true, guess) for true, guess in seen if guess is not None]
    assert len(told) > len(seen) / 2
    assert all(guess <= 1.5 * true + 2 and true <= 1.5 * guess + 5 for true, guess in told)


def test_nothing_is_said_before_every_kind_that_is_left_has_ended_once(monkeypatch):
    ordered = [(a_trial(seed=seed), 1.0) for seed in range(9)]
    ordered += [(a_trial(seed=seed, model="cnn"), 500.0) for seed in range(3)]
    seen = list(simulated(ordered, 1, monkeypatch))
    assert {guess for true, guess in seen if true > 1000} == {None}
    assert all(guess == pytest.approx(true, rel=0.1, abs=5) for true, guess in seen if 0 < true < 990)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "under 10 s"), (31, "about 40 s"), (53, "about 1 min"), (130, "about 2 min"), (9000, "about 2 h")],
)
def test_the_time_left_is_round(seconds, said):
    assert in_words(seconds) == said


def test_a_counter_of_none_has_nothing_to_do():
    counter = StepCounter()
    counter.start([])
    counter.progress({"x": 3})
    assert counter.steps_done == counter.total == 0


# --- on a terminal of its own ----------------------------------------------------------------------------------------


# Drawing figures takes seconds, and nothing here looks at them.
PROGRAM = """
import initbench.report.folder
from initbench.__main__ import main
initbench.report.folder.drawings = lambda *_: iter(())
main()
"""


def on_a_terminal(*arguments, cwd, columns=100, **environment):
    """Run a command with stderr on a terminal and stdout on a pipe; return its code and what went to each."""
    master, slave = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "30"}
    env |= environment
    command = [sys.executable, "-c", PROGRAM, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=slave, stdin=slave, text=True, cwd=cwd, env=env
    ) as process:
        os.close(slave)
        written = _everything(master)
        output, _ = process.communicate(timeout=60)
    return process.returncode, output, written


def _everything(terminal):
    """Read until the other end is closed, which Linux calls an error."""
    written = b""
    with os.fdopen(terminal, "rb", buffering=0) as file, contextlib.suppress(OSError):
        while piece := file.read(65536):
            written += piece
    return written.decode()


needs_a_terminal = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


@needs_a_terminal
def test_on_a_terminal_the_table_changes_goes_away_and_the_cursor_comes_back(tmp_path):
    code, output, errors = on_a_terminal(*COMPARE, cwd=tmp_path)
    assert code == 0, errors
    assert "\x1b" not in output
    assert "kaiming_uniform" in output
    assert errors.count("training ") > 1
    assert re.search(r"kaiming_uniform +\x1b?.*?[0-3]/3", errors)
    assert "\x1b[?25l" in errors
    assert errors.rindex("\x1b[?25h") > errors.rindex("\x1b[?25l")
    after = errors[errors.rindex("\x1b[?25h") :]
    assert "report.html" in after
    assert "validation accuracy" not in after


@needs_a_terminal
@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ((), {"TERM": "dumb"}),
        pytest.param(("--plain",), {"FORCE_COLOR": "1"}, marks=pytest.mark.long),
        pytest.param(("--plain",), {}, marks=pytest.mark.long),
    ],
)
def test_plain_and_a_dumb_terminal_get_lines_without_a_control_character(tmp_path, arguments, environment):
    code, output, errors = on_a_terminal(*COMPARE, *arguments, cwd=tmp_path, **environment)
    assert code == 0
    assert "\x1b" not in output + errors
    assert "6 trials to train, 0 stored" in errors
    assert "report.html" in errors


@pytest.mark.long
@needs_a_terminal
def test_no_color_leaves_the_table_and_takes_the_colours(tmp_path):
    _, _, errors = on_a_terminal(*COMPARE, cwd=tmp_path, NO_COLOR="1")
    assert "training " in errors
    assert not re.search(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38;[\d;]+)m", errors)


def test_forced_colour_in_a_pipe_makes_no_terminal_of_it(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(console, "err", Console(**console.ERR))
    assert console.err.is_terminal
    assert not console.is_live()
