"""The tables of a comparison as files: frames as CSV, and the summary as a page of Markdown."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from initbench.core.text import spreadsheet
from initbench.report.document import Document
from initbench.report.markdown import summary_markdown

ROWS_AT_ONCE = 20_000  # put into words: as text, numbers take ten times their memory


def tables_of(document: Document) -> dict[str, bytes]:
    """Return every table as CSV, and the summary as a page of Markdown.

    With tuned learning rates there is tuning.csv too, the trials that they were chosen from, in the columns of
    trials.csv.
    """
    results = document.results
    files = {
        "trials.csv": csv_bytes(results.trials),
        "curves.csv": csv_bytes(results.curves),
        "layers.csv": csv_bytes(results.layers),
        "summary.csv": csv_bytes(results.summary),
        "verdicts.csv": csv_bytes(results.verdicts_full),
        "summary.md": summary_markdown(document).encode(),
    }
    return files | ({"tuning.csv": csv_bytes(results.tuning_trials)} if results.tuning else {})


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Return a frame as UTF-8 CSV: numbers in full precision, the missing empty, no text that a spreadsheet runs."""
    file = io.BytesIO()  # which returns what it holds without a copy
    file.writelines(Csv(frame))
    return file.getvalue()


@dataclass(frozen=True)
class Csv:
    """A frame as `csv_bytes` writes it, in pieces that are made when they are asked for."""

    frame: pd.DataFrame

    def __iter__(self) -> Iterator[bytes]:
        yield _csv_lines([map(_csv_text, self.frame.columns)])
        for start in range(0, len(self.frame), ROWS_AT_ONCE):
            part = self.frame.iloc[start : start + ROWS_AT_ONCE]
            yield _csv_lines(zip(*(_csv_cells(part[column]) for column in part), strict=True))


def _csv_lines(rows: Iterable[Iterable[str]]) -> bytes:
    return "".join(f"{','.join(row)}\n" for row in rows).encode()


def _csv_cells(column: pd.Series) -> NDArray[np.object_]:
    """Return a column's cells as text. Each value is put into words once: most stand in many rows."""
    is_float = column.dtype == np.float64
    # Floats are told apart by their bits: 0.0 and -0.0 are equal, but are not written alike.
    codes, values = pd.factorize(column.to_numpy().view(np.int64) if is_float else column)
    write = repr if is_numeric_dtype(column) else _csv_text
    texts = [*map(write, (values.view(np.float64) if is_float else values).tolist()), ""]
    cells = np.array(["" if is_float and text == "nan" else text for text in texts], dtype=object)
    return np.asarray(cells.take(codes), dtype=np.object_)  # a code of -1, the missing, takes the last cell


def _csv_text(text: str) -> str:
    """Return a text as a cell, in quotes where it has a comma."""
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="").writerow((spreadsheet(text), ""))  # a lone empty cell would be quoted
    return file.getvalue().removesuffix(",")
