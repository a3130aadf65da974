"""The table of a run: what is wrong, what was measured, what was skipped and why."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.gpu.finding import Finding

Found = Sequence[tuple[str, Finding]]


def write(found: Found, folder: Path, card: str, seconds: float) -> Path:
    """Write gpu-<card>.md and .json, and return the former."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"gpu-{card}.md"
    page.write_text(_page(found, card, seconds))
    document = [{"part": part, **asdict(finding)} for part, finding in found]
    page.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    return page


def _page(found: Found, card: str, seconds: float) -> str:
    states = [finding.state for _, finding in found]
    wrong, skipped = states.count("WRONG"), states.count("skipped")
    checked = states.count("ok") + wrong
    right = f"All {checked} checks give the right answer"
    answer = f"{wrong} of {checked} checks give a wrong answer" if wrong else right
    lines = [
        f"# initbench on {card}",
        "",
        f"{answer}; {skipped} parts were skipped. `python -m tests.gpu` took {seconds:.0f} s.",
        "",
    ]
    for title, state in (("Wrong", "WRONG"), ("Right", "ok"), ("Measured", "measured"), ("Skipped", "skipped")):
        rows = [(part, finding) for part, finding in found if finding.state == state]
        if rows:
            lines += [f"## {title}", "", "| part | what | seen |", "|---|---|---|"]
            lines += [f"| {part} | {_cell(finding.what)} | {_cell(finding.seen)} |" for part, finding in rows]
            lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
