"""What is measured of the layers' weights and of their gradients, of all layers together."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from initbench.signals import measures
from initbench.signals.sites import Site

FAULTS = ("zero_rows", "duplicate_rows", "antiparallel_rows")


def weights_of(sites: Sequence[Site], parameters: Mapping[str, nn.Parameter]) -> list[dict[str, Any]]:
    """Return what is measured of each layer's weights and their gradients."""
    weights = [(parameters[site.weight] if site.seen is None else site.seen).detach() for site in sites]
    gradients = [
        parameters[site.weight].grad if site.weight_gradient is None else site.weight_gradient for site in sites
    ]
    present = iter(measures.moments_of([gradient.to_dense() for gradient in gradients if gradient is not None]))
    of_gradients = [(None, None) if gradient is None else next(present) for gradient in gradients]
    found = zip(sites, weights, measures.moments_of(weights), of_gradients, _faults(sites, weights), strict=True)
    rows = []
    for site, weight, (moment, std), (gradient_moment, gradient_std), faults in found:
        fan_in, fan_out = _fans(site, weight)
        row = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "weight_std": std,
            "weight_norm": math.sqrt(moment * weight.numel()),
            "weight_gradient_moment": gradient_moment,
            "weight_gradient_std": gradient_std,
        }
        rows.append({**row, **faults})
    return rows


def _fans(site: Site, weight: Tensor) -> tuple[int | None, int | None]:
    """Return fan_in and fan_out of one group's block, as in `layers.Layer`; None if it is not a weighted sum."""
    if site.kind not in {"linear", "conv"} or weight.ndim < 2:
        return None, None
    field = math.prod(weight.shape[2:])
    rows, columns = weight.shape[0] // site.groups * field, weight.shape[1] * field
    return (rows, columns) if site.transposed else (columns, rows)


def _faults(sites: Sequence[Site], weights: Sequence[Tensor]) -> list[dict[str, int]]:
    """Return the counts of faulty rows of each site, none where its weight is not that of a sum."""
    blocks = {
        i: measures.rows_of(weight, site.groups, transposed=site.transposed)
        for i, (site, weight) in enumerate(zip(sites, weights, strict=True))
        if site.kind in {"linear", "conv"} and weight.ndim > 1
    }
    found = iter(measures.faults_of([*itertools.chain(*blocks.values())]))
    counts = {i: map(sum, zip(*itertools.islice(found, len(groups)), strict=True)) for i, groups in blocks.items()}
    return [dict(zip(FAULTS, counts[i], strict=True)) if i in counts else {} for i in range(len(sites))]
