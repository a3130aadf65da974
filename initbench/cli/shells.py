"""What shells hand over where Tab is pressed, set right before typer reads it."""

import re
from collections.abc import MutableMapping
from itertools import pairwise

ASKED = "_INITBENCH_COMPLETE"  # typer's variable: which shell asks
BEFORE = "_INITBENCH_BEFORE"  # ours: what stands before the piece of a word that bash asks to complete
BREAKS = frozenset("=:")  # where bash takes words apart that need no quotes


def prepare(env: MutableMapping[str, str]) -> None:
    """Set right what a shell hands over where it asks what Tab offers; without such a question, do nothing."""
    if ASKED in env:
        env["COLUMNS"] = "1000000"  # what stands beside a word is folded at that width, and fish offers each line of it
    if env.get(ASKED) == "complete_bash":
        words = env["COMP_WORDS"].split("\n")[: int(env["COMP_CWORD"]) + 1]
        *whole, last = _put_together(words)
        if len(whole) + 1 < len(words):
            piece = "" if words[-1] in BREAKS else words[-1]
            option, before = _option_apart(last.removesuffix(piece))
            whole += [*option, piece]
            env.update({"COMP_WORDS": "\n".join(whole), "COMP_CWORD": str(len(whole) - 1), BEFORE: before})


def _put_together(words: list[str]) -> list[str]:
    """Join what bash hands over as `conv`, `=` and `kaiming`."""
    whole = words[:1]
    for before, word in pairwise(words):
        if BREAKS & {before, word}:
            whole[-1] += word
        else:
            whole.append(word)
    return whole


def _option_apart(text: str) -> tuple[list[str], str]:
    """Part `--scheme=conv=` into the option and what is of its value, without quotes."""
    option, equals, value = text.partition("=") if text.startswith("-") else ("", "", text)
    return [option] if equals else [], re.sub(r"['\"\\]", "", value)
