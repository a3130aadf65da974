"""Correct what shells pass for completion, before typer reads it."""

import re
from collections.abc import MutableMapping
from itertools import pairwise

ASKED = "_INITBENCH_COMPLETE"  # typer's variable: the shell that asks for completion
BEFORE = "_INITBENCH_BEFORE"  # ours: the part of a word before the piece that bash asks to complete
BREAKS = frozenset("=:")  # where bash splits unquoted words


def prepare(env: MutableMapping[str, str]) -> None:
    """Correct the environment if a shell asks for completion; else do nothing."""
    if ASKED in env:
        env["COLUMNS"] = "1000000"  # help is wrapped at COLUMNS, and fish treats each line as a candidate
    if env.get(ASKED) == "complete_bash":
        words = env["COMP_WORDS"].split("\n")[: int(env["COMP_CWORD"]) + 1]
        *whole, last = _put_together(words)
        if len(whole) + 1 < len(words):
            piece = "" if words[-1] in BREAKS else words[-1]
            option, before = _option_apart(last.removesuffix(piece))
            whole += [*option, piece]
            env.update({"COMP_WORDS": "\n".join(whole), "COMP_CWORD": str(len(whole) - 1), BEFORE: before})


def _put_together(words: list[str]) -> list[str]:
    """Join words that bash split, such as `conv`, `=` and `kaiming`."""
    whole = words[:1]
    for before, word in pairwise(words):
        if BREAKS & {before, word}:
            whole[-1] += word
        else:
            whole.append(word)
    return whole


def _option_apart(text: str) -> tuple[list[str], str]:
    """Split `--scheme=conv=` into the option and the start of its value, without quotes."""
    option, equals, value = text.partition("=") if text.startswith("-") else ("", "", text)
    return [option] if equals else [], re.sub(r"['\"\\]", "", value)
