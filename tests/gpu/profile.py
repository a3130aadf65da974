"""Where the time of the workloads goes that are furthest above their floors: kernels and gaps, into a file."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from initbench.datasets.batches import resident
from initbench.training import cuda
from initbench.training.environment import reproducible
from tests.gpu import speed
from tests.gpu.finding import Finding, Setting, read
from tests.gpu.machine import seconds

STEPS = 20
WORST = 2


def run(setting: Setting) -> Iterator[Finding]:
    """See `finding.Part`."""
    if not setting.on_gpu:
        yield Finding("profile", "skipped", "there are no kernels to profile on the CPU")
        return
    chosen = _worst(setting.found) or [("A", 40), ("C", 40)]
    with tempfile.TemporaryDirectory() as folder, setting.found.with_suffix(".profile.txt").open("w") as file:
        for letter, count in chosen:
            workload = speed.WORKLOADS[letter]
            dataset = speed.made(workload.data, Path(folder), 25_600)
            with reproducible("cuda"), cuda.side_stream("cuda"):
                trials = speed.trials_of(workload, dataset, count, "cuda")
                (advance, *_), _, name = speed.ours(trials, dataset, resident(dataset, "train", "cuda"))
                wall = seconds(lambda advance=advance: advance(STEPS), "cuda", 3)
                with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiled:
                    advance(STEPS)
                    torch.cuda.synchronize()
            averages = profiled.key_averages()
            busy = sum(event.self_device_time_total for event in averages) / 1e6
            table = averages.table(sort_by="self_device_time_total", row_limit=25, max_name_column_width=90)
            file.write(f"{letter}, {count} at once, {name}: {STEPS} steps in {wall * 1e3:.2f} ms\n{table}\n\n")
            seen = f"a step {wall / STEPS * 1e6:.0f} µs, of which kernels {busy / STEPS * 1e6:.0f} µs"
            yield Finding(f"{letter}, {count} at once", "measured", seen, {"wall": wall, "busy": busy})


def _worst(found: Path) -> list[tuple[str, int]]:
    """Return (workload, trials at once) of the steps furthest above their floors, 8 or 40 at once."""
    ratios = {}
    for part, finding in read(found):
        if part == "speed" and finding.values.get("count") in (8, 40):
            floor = max(value for key, value in finding.values.items() if key.endswith("floor s"))
            ratios[finding.what[0], int(finding.values["count"])] = finding.values["initbench s"] / floor
    return sorted(ratios, key=lambda key: -ratios[key])[:WORST]
