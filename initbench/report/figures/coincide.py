"""Which lines lie on one another, so that a figure can say what nobody would see."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from initbench.analysis.statistics.intervals import Floats
from initbench.report.figures.style import Look

NEAR = 0.01  # of the height of the axes: about the width of a line


def coincidence(axes: Sequence[Axes], looks: Mapping[str, Look]) -> str:
    """Return which schemes' lines coincide, and in which panel where not in all, each group after a line break."""
    found = [_groups(ax, looks) for ax in axes]
    if all(groups == found[0] for groups in found):
        return "".join(map(_said, found[0]))
    places = ("left", "right") if len(axes) == 2 else ("left", "middle", "right")
    return "".join(f"{_said(group)} ({place})" for place, groups in zip(places, found, strict=True) for group in groups)


def _said(group: Sequence[str]) -> str:
    return f"\n{', '.join(group[:-1])} and {group[-1]} coincide"


def _groups(ax: Axes, looks: Mapping[str, Look]) -> list[list[str]]:
    """Return the labels of lines that stay `NEAR` the first of their group from end to end."""
    groups: list[tuple[Floats, list[str]]] = []
    for look, curve in _curves(ax, looks):
        group = next((labels for first, labels in groups if _alike(first, curve)), None)
        if group is None:
            groups.append((curve, [look.label]))
        else:
            group.append(look.label)
    return [labels for _, labels in groups if len(labels) > 1]


def _curves(ax: Axes, looks: Mapping[str, Look]) -> Iterator[tuple[Look, Floats]]:
    """Yield each scheme's line as points (k, 2) in shares of the axes."""
    whole = ax.transData - ax.transAxes
    lines = {str(line.get_gid()).partition(".line")[0]: line for line in ax.lines if ".line" in str(line.get_gid())}
    for look in looks.values():
        if look.gid in lines:
            points = _corners(lines[look.gid])
            shares = whole.transform(points[np.isfinite(points).all(axis=1)])
            if len(shares) > 1:
                # Beyond the edge of the axes nothing is seen.
                yield look, np.column_stack([shares[:, 0], np.clip(shares[:, 1], 0.0, 1.0)])


def _corners(line: Line2D) -> Floats:
    points = np.column_stack(line.get_data()).astype(np.float64)
    if line.get_drawstyle() != "steps-post":
        return points
    return np.insert(points[1:], np.arange(len(points) - 1), np.column_stack([points[1:, 0], points[:-1, 1]]), axis=0)


def _alike(one: Floats, other: Floats) -> bool:
    ends = np.abs(one[[0, -1], 0] - other[[0, -1], 0])
    if (ends > NEAR).any():
        return False
    x = np.union1d(one[:, 0], other[:, 0])
    apart = np.interp(x, one[:, 0], one[:, 1]) - np.interp(x, other[:, 0], other[:, 1])
    return bool((np.abs(apart) <= NEAR).all())
