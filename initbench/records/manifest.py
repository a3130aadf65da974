"""A comparison's own folder, `<out>/<name>/`, and its manifest `recipe.json`, from which everything else is rebuilt.

Loads without torch: reading results needs none.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat, StringConstraints, TypeAdapter, ValidationError

from initbench.core.paths import leads_out, stay_inside
from initbench.core.spec import did_you_mean
from initbench.errors import ConfigurationError
from initbench.records import store
from initbench.records.recipe import Claim, Frozen, Rates, Seeds

RECIPE_FILE = "recipe.json"
OPENING = b'{\n "schema":'  # of every stamp of ours, even of a truncated one


class ResolvedValue(Frozen):
    """One resolved value of a recipe and where it came from: a flag, a recipe file, an argument or `default`."""

    value: Any
    origin: str


def _with_axes(recipe: dict[str, ResolvedValue]) -> dict[str, ResolvedValue]:
    """Raise ValueError unless the axes that readers use are valid: a manifest may come from anywhere."""
    for key, kind in (("lr", Rates), ("seeds", Seeds)):
        try:
            TypeAdapter(list[Any]).validate_python(recipe[key].value, strict=True)
            TypeAdapter[Any](kind).validate_python(recipe[key].value, strict=True)
        except (KeyError, ValidationError):
            raise ValueError(f"no {key}") from None
    return recipe


Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
TrialId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{20}$")]  # part of a path


class Manifest(Frozen):
    """What a comparison compares, written into its folder before its first result exists.

    `target` is None if the default rule decides, from `nearest_mean`: the validation accuracy of the nearest class mean
    by the dataset's fingerprint; earlier versions did not write it. `trials` are the ids of what is scored, in order;
    empty while learning rates are being tuned with the trials of `tuning`. `crossed` are the trials off the diagonal of
    init seeds × order seeds. `looks` are the seeds of earlier runs under this name, whose results may have been seen
    before seeds were added.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    name: str
    question: str
    recipe: Annotated[dict[str, ResolvedValue], AfterValidator(_with_axes)]
    schemes: tuple[str, ...]
    baseline: str
    target: float | None
    nearest_mean: dict[str, Share] = Field(default_factory=dict)
    device: str
    notices: tuple[str, ...]
    command: str
    trials: tuple[TrialId, ...]
    tuning: tuple[TrialId, ...] = ()
    crossed: tuple[TrialId, ...] = ()
    claims: tuple[Claim, ...] = ()
    looks: tuple[tuple[int, ...], ...] = ()

    @property
    def every(self) -> tuple[str, ...]:
        """The ids of all trials of the comparison."""
        return (*self.trials, *self.tuning, *self.crossed)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a manifest into its folder.

    Raises:
        ConfigurationError: the folder holds something else, or cannot be written.
    """
    write_stamp(folder, RECIPE_FILE, manifest.model_dump(mode="json", by_alias=True))


def write_stamp(folder: Path, file: str, document: dict[str, Any]) -> None:
    """Write a folder's stamp, a document that begins with its `schema`, before anything else is written there.

    Raises:
        ConfigurationError: the folder holds something else, or cannot be written.
    """
    refuse_foreign(folder, file)
    store.write_atomically(folder / file, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())


def refuse_foreign(folder: Path, file: str) -> None:
    """Raise unless a folder is absent, empty, or has a stamp in `file`.

    Raises:
        ConfigurationError: the folder holds something else, cannot be read, or is a link out of the results.
    """
    stay_inside(folder.parent, folder / file)
    if not _is_ours(folder, file):
        raise ConfigurationError(
            f"{folder} holds files that this command did not write: choose another --name or --out."
        )


def _is_ours(folder: Path, file: str) -> bool:
    """Return whether a folder is empty, absent or has a stamp of ours in `file`, complete or damaged."""
    try:
        others = (path for path in folder.iterdir() if not path.name.startswith("."))  # hidden: a file being written
        return not any(others) or (folder / file).read_bytes().startswith(OPENING)
    except (FileNotFoundError, NotADirectoryError):
        return not folder.exists()
    except OSError as error:
        raise ConfigurationError(f"Cannot read {folder}: {error.strerror}.") from None


def read_earlier(folder: Path) -> Manifest | None:
    """Return the manifest of an earlier run in a folder, or None if it is new or damaged."""
    try:
        return read_manifest(folder)
    except ConfigurationError:
        return None


def latest(out: Path) -> Path:
    """Return the folder of the newest comparison in a results folder; links out of it are ignored.

    Raises:
        ConfigurationError: there is none.
    """
    here = (path for path in out.glob(f"*/{RECIPE_FILE}") if not leads_out(out, path))
    stamps = sorted(here, key=lambda path: path.stat().st_mtime)
    if not stamps:
        raise ConfigurationError(f"No comparison in {out}: `initbench compare` makes one.")
    return stamps[-1].parent


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder.

    Raises:
        ConfigurationError: it holds no comparison, or a damaged manifest.
    """
    path = folder / RECIPE_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        others = [stamp.parent.name for stamp in folder.parent.glob(f"*/{RECIPE_FILE}")]
        near = did_you_mean(folder.name, others) or f": it has no {RECIPE_FILE}."
        raise ConfigurationError(f"No comparison in {folder}{near}") from None
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or first["msg"]
        raise ConfigurationError(f"{path} is damaged ({where}): run the comparison again to write it anew.") from None
