"""What an inspection asks, known without torch: whoever asks the same again gets the same numbers."""

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from initbench import datasets
from initbench.core.spec import is_reference
from initbench.errors import UsageError
from initbench.records.recipe import AS_BUILT, DEFAULT_SCHEMES
from initbench.running.facts import canonical, facts_kept, may_name_code

STAMP_FILE = "inspection.json"
SCAN_POINTS = 8
_SCAN = re.compile(r"(\w+)\s*=\s*(\d+)\.\.(\d+)")
_BITS = re.compile(r"ATEN_|DNNL_|MKL_|OMP_|ONEDNN_")  # environment variables that may change the last digits


@dataclass(frozen=True)
class Asked:
    """What was typed of an inspection: see `inspection.plan_inspection`."""

    model: str
    schemes: tuple[str, ...]
    seeds: int | tuple[int, ...]
    dataset: str | None = None
    data_dir: Path | None = None
    inputs: tuple[str, ...] = ()

    @facts_kept()
    def question(self) -> str | None:
        """Return what decides every number, None where the user's own code takes part or mistakes are yet to be named.

        Raises:
            UsageError: an invalid name or number, as `inspection.plan_inspection` raises.
            DataError: a dataset that is not available.
        """
        if any(map(may_name_code, (self.model, *self.schemes))) or (self.inputs and self.dataset):
            return None
        seeds = checked_seeds(self.seeds)
        data = None if self.inputs else asdict(datasets.prepare(self.dataset or "digits", self.data_dir))
        models = [canonical("model", text) for text in scanned(self.model)[1]]
        schemes = [scheme if scheme == AS_BUILT else canonical("scheme", scheme) for scheme in self.schemes]
        bits = [item for item in sorted(os.environ.items()) if _BITS.match(item[0])]
        machine = [platform.node(), platform.machine(), bits]
        return json.dumps([self.model, models, schemes, seeds, data, self.inputs, machine], default=str)


def default_schemes(model: str) -> tuple[str, ...]:
    """Return the schemes inspected by default: the user's own model also as it is built."""
    return (AS_BUILT, *DEFAULT_SCHEMES) if is_reference(model) else DEFAULT_SCHEMES


def scanned(model: str) -> tuple[str, dict[str, int]]:
    """Return the parameter that `mlp(depth=2..100)` scans and each model's text with its value; a plain model with 0.

    Raises:
        UsageError: two ranges, or one that is none.
    """
    ranges = list(_SCAN.finditer(model))
    if not ranges:
        return "", {model: 0}
    if len(ranges) > 1:
        raise UsageError(f"'{model}' scans {len(ranges)} parameters: scan one, and give the others one value.")
    low, high = int(ranges[0][2]), int(ranges[0][3])
    if not 0 < low < high:
        raise UsageError(
            f"'{ranges[0][0]}' in '{model}' is not a range: write the smaller number first, as in depth=2..100."
        )
    points = sorted(set(np.geomspace(low, high, SCAN_POINTS).round().astype(int).tolist()))
    return ranges[0][1], {_SCAN.sub(rf"\1={point}", model): point for point in points}


def checked_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Return the seeds of a count or a list.

    Raises:
        UsageError: none, or a negative one.
    """
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(dict.fromkeys(seeds))
    if not chosen or min(chosen) < 0:
        raise UsageError(f"seeds are a count of 1 or more or a list of whole numbers from 0, not {seeds!r}.")
    return chosen
