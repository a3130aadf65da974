"""Tab in real shells that know of the program what `initbench --install-completion` told them, and nothing else."""

import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from test_completion import HEAVY, ROOT

from initbench.cli import completion
from initbench.datasets import DATASETS
from initbench.networks.models import MODELS

pytestmark = pytest.mark.shells

PROGRAM = """
import atexit, sys
sys.path.insert(0, {root!r})
atexit.register(lambda: open({loaded!r}, "a").write(" ".join(sys.modules) + " "))
from initbench.__main__ import main
main()
"""
# Ctrl-X a inserts all that is offered; Ctrl-X l writes down the line as it then stands, and leaves.
KEYS = {
    "bash": r"""
PS1=READY
written() { printf '%s' "$READLINE_LINE" >"$LINE"; exit; }
bind '"\C-xa": insert-completions'
bind -x '"\C-xl": written'
""",
    "zsh": r"""
_initbench # the first Tab reads the file that was installed, and only the second is answered
PS1= PROMPT_SP=
bindkey -e
zle-line-init() { print -n READY }
written() { print -rn -- "$BUFFER" >"$LINE"; exit }
zle -N zle-line-init
zle -N written
zle -C everything complete-word _generic
zstyle ':completion:everything::::' completer _all_matches _complete
zstyle ':completion:everything:*' insert true
bindkey '^Xa' everything
bindkey '^Xl' written
""",
}
HOSTILE = "\\\" ); touch run; x=( \\\" $(touch run) `touch run` \\$(touch run) \\`touch run\\` ' ; touch run; '"


class Shell:
    """One shell with a home of its own, in a folder where files can lie."""

    def __init__(self, name, folder):
        self.name, self.folder, self.loaded = name, folder, folder / "home" / "loaded"
        home = folder / "home"
        (home / "bin").mkdir(parents=True)
        script = home / "program.py"
        script.write_text(PROGRAM.format(root=str(ROOT), loaded=str(self.loaded)))
        program = home / "bin" / "initbench"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n')
        program.chmod(0o755)
        path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "ZDOTDIR", "BASH_"))}
        self.env = {**kept, "HOME": str(home), "PATH": path, "TERM": "dumb", "LINE": str(home / "line")}
        self.run("initbench --install-completion; true")  # the second command keeps the shell that is looked for alive
        if name in KEYS:
            with (home / f".{name}rc").open("a") as settings:
                settings.write(KEYS[name])

    def run(self, *command):
        done = subprocess.run(
            [self.name, "-c", *command],
            env=self.env, cwd=self.folder, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout

    def press(self, line, key="\t"):
        """Type a line and a key; return what the line is then."""
        here, there = pty.openpty()
        shell = subprocess.Popen(
            [self.name, "-i"],
            stdin=there, stdout=there, stderr=there, env=self.env, cwd=self.folder, start_new_session=True,
        )  # fmt: skip
        os.close(there)
        try:
            shown = b""
            while b"READY" not in shown:
                shown += os.read(here, 4096)
            os.write(here, f"{line}{key}\x18l".encode())
            with suppress(OSError):  # which is how Linux says that the shell has left
                while os.read(here, 4096):
                    pass
        finally:
            shell.kill()
            shell.wait()
            os.close(here)
        return Path(self.env["LINE"]).read_text()

    def offered(self, line):
        """Return all words that stand to choice for the last word of a line; nothing heavy was loaded for them."""
        self.loaded.unlink(missing_ok=True)
        if self.name == "fish":
            told = self.run("complete -C $argv[1]", line).splitlines()
            words = [word.partition("\t")[0] for word in told]
        else:
            words = self.press(line, "\x18a").removeprefix(line.rpartition(" ")[0]).split()
        assert "initbench.cli.completion" in self.loaded.read_text().split()
        assert {name.partition(".")[0] for name in self.loaded.read_text().split()} & HEAVY == set()
        return set(words)


def shell_or_skip(name, folder):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return Shell(name, folder)


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "depth.toml").write_text('question = "How deep: is it?"\n')
    return shell_or_skip(request.param, tmp_path)


def test_every_shell_offers_all_names_and_nothing_else(shell):
    assert shell.offered("initbench compare -s kaim") == {"kaiming", "kaiming_normal", "kaiming_uniform"}
    assert shell.offered("initbench compare -s ") == {word for word, _ in completion.scheme("")}
    assert shell.offered("initbench compare -m ") == set(MODELS)
    assert shell.offered("initbench compare -d ") == set(DATASETS)


def test_every_shell_offers_recipes_and_options(shell):
    assert shell.offered("initbench compare ") == {"experiments/depth.toml", "article", "first_look"}
    assert shell.offered("initbench compare --dev") == {"--device"}
    options = shell.offered("initbench compare --")
    assert {"--scheme", "--model", "--dataset", "--json"} <= options
    assert all(option.startswith("--") for option in options)


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_key_completes_what_is_half_written(name, tmp_path):
    shell = shell_or_skip(name, tmp_path)
    for line, rest in (
        ("-s kaiming_n", "ormal "),
        ("-s conv=kaiming_n", "ormal "),
        ("-s 'conv=kaiming_uniform; linear=xavier_n", "ormal' "),
        ('-s "conv=kaiming_uniform; linear=xavier_n', 'ormal" '),
        ("-s 'conv=constant(", "val=' "),
        ("-m 'mlp(dep", "th="),
        ("-s conv=kaiming_uniform --optimizer rms", "prop "),
    ):
        typed = f"initbench compare {line}"
        assert shell.press(typed) == typed + rest


@pytest.mark.long
def test_bash_completes_behind_an_equals_sign_where_it_takes_words_apart(tmp_path):
    shell = shell_or_skip("bash", tmp_path)
    for line, rest in (
        ("--scheme=kaiming_n", "ormal "),
        ("--scheme=conv=kaiming_n", "ormal "),
        ("-s 'bias=zeros;'conv=kaiming_n", "ormal "),
        ("-s conv='kaiming_n", "ormal' "),
        ("-s name:conv1=kaiming_n", "ormal "),
        ("-s conv=kaiming_uniform --dataset=dig", "its "),
    ):
        typed = f"initbench compare {line}"
        assert shell.press(typed) == typed + rest
    behind = shell.offered("initbench compare -s conv=l")  # of which bash puts the first in place of the piece
    assert behind == {"conv=lecun_normal", "lecun_uniform", "looks_linear", "lsuv"}
    (tmp_path / "elsewhere" / "one").mkdir(parents=True)
    (tmp_path / "elsewhere" / "one" / "recipe.json").write_text("{}")
    assert shell.press("initbench report --out=elsewhere els") == "initbench report --out=elsewhere elsewhere/one "


def test_no_shell_runs_what_a_recipe_asks_or_how_it_is_called(shell):
    recipes = shell.folder / "experiments"
    (recipes / "asks.toml").write_text(f"question = {json.dumps(HOSTILE)}\n")
    for name in (HOSTILE, "$(touch run)", "a;b", "two words", "`touch run`", "new\nline", "it's", "x\\"):
        (recipes / f"{name}.toml").write_text("")
    assert shell.offered("initbench compare ") == {
        *("experiments/depth.toml", "experiments/asks.toml", "article", "first_look")
    }
    assert shell.offered("initbench list experiments ") == {"depth", "asks", "article", "first_look"}
    assert not (shell.folder / "run").exists()


@pytest.mark.parametrize("line", [r"-s 'conv=\$(touch run); linear=xavier_n", r"-m 'mlp(depth=\$(touch run), wi"])
def test_zsh_runs_nothing_of_what_is_typed_where_it_completes(line, tmp_path):
    shell = shell_or_skip("zsh", tmp_path)
    assert shell.press(f"initbench compare {line}") == f"initbench compare {line}"
    assert not (tmp_path / "run").exists()
