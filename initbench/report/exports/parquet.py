"""The tables as Parquet files: types kept, what is missing null."""

import io
from pathlib import Path

import pandas as pd

from initbench.analysis.results import Results
from initbench.core.paths import stay_inside
from initbench.records.store import write_atomically
from initbench.report.exports.trials import needs


def write_parquet(comparison: Results, folder: Path) -> None:
    """Write trials, curves, layers, summary and verdicts, a file each; with tuned rates also tuning.

    The columns and types are those of the frames; a number that is not there is null, never NaN.

    Raises:
        ConfigurationError: pyarrow is not installed, or the folder cannot be written.
    """
    tables = {name: getattr(comparison, name) for name in ("trials", "curves", "layers", "summary", "verdicts")}
    if comparison.tuning:
        tables["tuning"] = comparison.tuning_trials
    files = {folder / f"{name}.parquet": _parquet(frame) for name, frame in tables.items()}
    for path, content in files.items():
        stay_inside(folder, path)
        write_atomically(path, content)


def _parquet(frame: pd.DataFrame) -> bytes:
    with needs("parquet"):
        import pyarrow as pa  # noqa: PLC0415 - of an extra
        import pyarrow.parquet as pq  # noqa: PLC0415 - of an extra
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), buffer)
    return buffer.getvalue()
