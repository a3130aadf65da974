"""The picture at the top of README.md: `initbench compare -q` as a terminal shows it, recorded from a real run.

    $ python -m tests.demo_picture

Trains the default comparison in a folder that is removed afterwards, keeps what the live table showed, and writes
frames and answer as one animated SVG. It needs no script; who asks for less motion sees the answer alone.
"""

import html
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.segment import Segment
from rich.style import Style

from initbench.cli import console
from initbench.cli.live import Board
from initbench.cli.present import shown_of
from initbench.cli.shown import show
from initbench.report.document import document_of
from initbench.running.executor import choose_backend
from initbench.running.plan import draft_of, plan_study
from initbench.running.runner import carry_out

TARGET = Path(__file__).resolve().parent.parent / "results" / "reference" / "demo.svg"
COMMAND = "$ initbench compare -q"
COLUMNS, LINES = 80, 24
FRAMES = 12  # of the live table
FRAME, ANSWER = 0.5, 9.0  # seconds that a frame and the answer stay
INK, SOFT, CYAN, PAPER, EDGE = "#e2e4e8", "#969ca6", "#58c4dd", "#16181d", "#4a4f59"
CELL, ROW = 8.4, 18  # pixels of a character
MARGIN, BAR = 16, 30

Screen = list[list[Segment]]  # lines of spans


def main() -> None:
    """Train, and write the picture."""
    shown, answer = _recorded()
    picked = np.unique(np.linspace(0, len(shown) - 1, FRAMES).round().astype(int)).tolist()
    TARGET.write_text(_picture([*(shown[place] for place in picked), answer]), encoding="utf-8")


def _recorded() -> tuple[list[Screen], Screen]:
    """Return what the live table showed while the default comparison ran, and the answer."""
    shown: list[Screen] = []
    board = Board(lambda: shown.append(_screen(lambda terminal: terminal.print(board.render(COLUMNS, LINES)))))
    with tempfile.TemporaryDirectory() as folder:
        study = plan_study(draft_of(None, {}, origin="argument"), out=Path(folder), data_dir=None, remote=False)
        comparison = carry_out(study, choose_backend(None, None, None, shared_folder=True), board)

        def answer(terminal: Console) -> None:
            os.environ["COLUMNS"] = str(COLUMNS)
            console.out = terminal
            show(shown_of(document_of(comparison), quiet=True))

        return shown, _screen(answer)


def _screen(show: Callable[[Console], None]) -> Screen:
    """Return what a terminal shows below the command: lines of text, each span with its style."""
    terminal = Console(
        **console.OUT, file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="truecolor"
    )
    terminal.print(COMMAND, style="bold")
    show(terminal)
    return [list(line) for line in Segment.split_lines(terminal._record_buffer)]  # what its exports read


def _picture(screens: Sequence[Screen]) -> str:
    """Return the screens as one SVG: each is shown in its turn, the last for longest and where motion is unwanted."""
    seconds = FRAME * (len(screens) - 1) + ANSWER
    width, height = 2 * MARGIN + CELL * COLUMNS, BAR + MARGIN + ROW * max(map(len, screens))
    frames = "".join(
        f'<g class="f" style="animation-delay:{FRAME * place - seconds:g}s">{_drawn(screen)}</g>\n'
        for place, screen in enumerate(screens[:-1])
    )
    share = 100 * FRAME / seconds
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">
<title>initbench compare: the live table while networks train, then the answer and its table</title>
<style>
text {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: {INK};
  white-space: pre; }}
.b {{ font-weight: bold; }} .d {{ fill: {SOFT}; }} .c {{ fill: {CYAN}; }}
.f {{ visibility: hidden; }}
@media (prefers-reduced-motion: no-preference) {{
  .f {{ animation: show {seconds:g}s step-end infinite; }} .l {{ animation: hide {seconds:g}s step-end infinite; }}
}}
@keyframes show {{ 0% {{ visibility: visible; }} {share:.4f}%, 100% {{ visibility: hidden; }} }}
@keyframes hide {{ 0% {{ visibility: hidden; }} {share * (len(screens) - 1):.4f}%, 100% {{ visibility: visible; }} }}
</style>
<rect x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="8" fill="{PAPER}" stroke="{EDGE}"/>
<g fill="{EDGE}"><circle cx="20" cy="16" r="5"/><circle cx="38" cy="16" r="5"/><circle cx="56" cy="16" r="5"/></g>
{frames}<g class="l">{_drawn(screens[-1])}</g>
</svg>
"""


def _drawn(screen: Screen) -> str:
    return "\n".join(filter(None, (_line(line, BAR + ROW * (row + 0.75)) for row, line in enumerate(screen))))


def _line(line: Sequence[Segment], y: float) -> str:
    """Return a line as texts, each of the width that its characters have in a terminal."""
    column, texts = 0, []
    for text, style, _ in line:
        words = text.rstrip()
        skipped = len(words) - len(words.lstrip())
        if words.strip():
            x, room = MARGIN + CELL * (column + skipped), CELL * (len(words) - skipped)
            shown = html.escape(words.strip(), quote=False)
            texts.append(f'<text{_class(style)} x="{x:.1f}" y="{y:g}" textLength="{room:.1f}">{shown}</text>')
        column += len(text)
    return "".join(texts)


def _class(style: Style | None) -> str:
    names = {"b": style.bold, "d": style.dim, "c": style.color is not None} if style else {}
    said = " ".join(name for name, holds in names.items() if holds)
    return f' class="{said}"' if said else ""


if __name__ == "__main__":
    main()
