"""A comparison for other tools. A format is one function in one file and a line here.

A document is one text, for stdout or a file. A collection is written to a place: every trial with its curve, not the
summary alone. What needs a library of its own imports it when asked for, and says which extra installs it.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from initbench.analysis.results import Results
from initbench.report.document import document_of
from initbench.report.exports.latex import latex
from initbench.report.exports.mlflow import log_runs, without_password, write_mlflow
from initbench.report.exports.parquet import write_parquet
from initbench.report.exports.tensorboard import write_tensorboard
from initbench.report.markdown import summary_markdown
from initbench.report.table_files import csv_bytes

__all__ = ["COLLECTIONS", "DOCUMENTS", "FORMATS", "export", "log_runs", "without_password"]

DOCUMENTS: Mapping[str, Callable[[Results, Mapping[str, Any]], bytes]] = {
    "csv": lambda comparison, _: csv_bytes(comparison.summary),
    "markdown": lambda comparison, _: summary_markdown(document_of(comparison)).encode(),
    "latex": lambda comparison, _: latex(document_of(comparison)).encode(),
    "json": lambda _, document: (json.dumps(document, indent=1, allow_nan=False) + "\n").encode(),
}
COLLECTIONS: Mapping[str, Callable[[Results, Path], object]] = {
    "parquet": write_parquet,
    "tensorboard": write_tensorboard,
    "mlflow": write_mlflow,
}
FORMATS = (*DOCUMENTS, *COLLECTIONS)


def export(comparison: Results, to: str, document: Mapping[str, Any]) -> bytes:
    """Return the summary as a document, UTF-8 that ends with a newline.

    CSV holds the summary in full precision, Markdown the page summary.md, LaTeX the cells that the terminal shows, JSON
    `document`, the one of `--json`.
    """
    return DOCUMENTS[to](comparison, document)
