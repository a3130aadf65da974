"""The README's worked examples: each command is run, and what it says must be what stands below it.

`[…]` stands for any number of lines. Numbers may differ a little, for the last bits of a sum are the processor's own.
"""

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LEFT_OUT = "[…]"
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def section(title):
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def examples():
    blocks = re.findall(r"```console\n\$ (initbench [^\n]*)\n(.*?)```", section("Ten worked examples"), re.DOTALL)
    return [(command, told.splitlines()) for command, told in blocks]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as a reader has it: the recipes, and the file that the README shows."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    (mine,) = re.findall(r"say `mine\.py`:\n\n```python\n(.*?)```", README, re.DOTALL)
    (folder / "mine.py").write_text(mine, encoding="utf-8")
    return folder


def said(command, folder):
    env = os.environ | {"COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(run, cwd=folder, env=env, capture_output=True, text=True, check=False, encoding="utf-8")
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def alike(word, other):
    """Two words are the same text around numbers that are close."""
    if NUMBER.sub("#", word) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(word), NUMBER.findall(other), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=0.5, abs_tol=0.1) for a, b in pairs)


def same_line(line, other):
    words, others = line.split(), other.split()
    return len(words) == len(others) and all(map(alike, words, others))


def follows(told, lines):
    """Whether lines are what was told, some of them left out."""
    if not told:
        return not lines
    if told[0] == LEFT_OUT:
        return any(follows(told[1:], lines[i:]) for i in range(len(lines) + 1))
    return bool(lines) and same_line(told[0], lines[0]) and follows(told[1:], lines[1:])


def test_there_are_ten():
    assert len(examples()) == 10


@pytest.mark.parametrize(("command", "told"), examples(), ids=lambda value: value if isinstance(value, str) else "")
def test_an_example_says_what_the_readme_says(place, command, told):
    lines = said(command, place)
    assert follows([line for line in told if line.strip()], lines), "\n".join(lines)


def test_what_is_shown_is_held_against_what_is_said():
    lines = ["a 0.941 ± 0.014", "b", "c"]
    assert follows(["a 0.95 ± 0.02", LEFT_OUT, "c"], lines)
    assert not follows(["a 0.15 ± 0.02", LEFT_OUT, "c"], lines)
    assert not follows(["a 0.95 ± 0.02", LEFT_OUT, "d"], lines)
    assert not follows(["a 0.95 ± 0.02"], lines)
