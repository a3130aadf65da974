"""A comparison as users hold it: its numbers, its page, and how it is read back from its folder."""

from collections.abc import Mapping
from pathlib import Path

from initbench.analysis.outline import Outline, outlined
from initbench.analysis.results import Results
from initbench.records import store
from initbench.records.manifest import Manifest, read_manifest
from initbench.records.record import Record
from initbench.report.comparison_text import comparison_text
from initbench.report.document import document_of


class Comparison(Results):
    """The results of a comparison, which a notebook shows and `report` writes as a page."""

    def __repr__(self) -> str:
        return comparison_text(document_of(self))

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from initbench.report.page.notebook import notebook_html  # noqa: PLC0415 - loads matplotlib

        return notebook_html(self)

    def report(self, path: Path | str) -> Path:
        """Write the report, one HTML file that works offline, and return its path.

        Raises:
            ConfigurationError: the folder cannot be written.
        """
        from initbench.report.page.comparison import write_report  # noqa: PLC0415 - loads matplotlib

        return write_report(Path(path), self)


def load(folder: str | Path) -> Comparison:
    """Read a comparison from its folder and the store beside it.

    Args:
        folder: for example "results/compare-1f0c2a9b"; the records are read from "results/trials".

    Returns:
        The comparison, with `.trials`, `.curves`, `.layers` and `.summary` as DataFrames and `.report(path)`. Trials
        that are not stored, or whose file is damaged, are counted in `.missing`; `.damaged` names those files.

    Raises:
        ConfigurationError: the folder holds no comparison.
    """
    folder = Path(folder).resolve()  # "." has no parent to look for the store in
    manifest = read_manifest(folder)
    records, damaged = store.read_many(folder.parent, manifest.every)
    return comparison_of(manifest, records, _named(folder, damaged))


def outline(folder: str | Path) -> Outline:
    """Summarize a comparison of any size: each record is read, counted and dropped.

    200,000 trials take 0.4 GB, where `load` would take ten times that. Curves and layers are not kept.

    Args:
        folder: as of `load`.

    Raises:
        ConfigurationError: the folder holds no comparison.
    """
    folder = Path(folder).resolve()
    manifest = read_manifest(folder)
    damaged: dict[str, str] = {}
    records = (record for _, record in store.read_each(folder.parent, manifest.trials, damaged))
    trials, summary = outlined(records, manifest.target, manifest.nearest_mean, manifest.schemes)
    return Outline(trials, summary, len(set(manifest.trials)) - len(trials), _named(folder, damaged))


def _named(folder: Path, damaged: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{store.path_of(folder.parent, id_)}: {reason}" for id_, reason in damaged.items())


def comparison_of(manifest: Manifest, records: Mapping[str, Record], damaged: tuple[str, ...] = ()) -> Comparison:
    """Return what was asked with its records, by id; trials without a record are counted in `.missing`."""

    def stored(ids: tuple[str, ...]) -> tuple[Record, ...]:
        return tuple(records[trial_id] for trial_id in ids if trial_id in records)

    return Comparison(
        name=manifest.name,
        question=manifest.question,
        target=manifest.target,
        nearest_mean=manifest.nearest_mean,
        baseline=manifest.baseline,
        schemes=manifest.schemes,
        records=stored(manifest.trials),
        missing=len(set(manifest.every) - records.keys()),
        command=manifest.command,
        tuning=stored(manifest.tuning),
        crossed=stored(manifest.crossed),
        claims=manifest.claims,
        looks=manifest.looks,
        asked_rates=tuple(manifest.recipe["lr"].value),
        damaged=damaged,
        notices=manifest.notices,
    )
