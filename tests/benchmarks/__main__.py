"""`make bench`: initbench against what one would use instead, and against the floor.

Contenders are the scripts in `contenders/`, the work is in `workloads.py`, what must agree before a ratio is printed
in `gate.py`, the floor in `roofline.py`. Leaves with 1 where a ratio was refused.
"""

import argparse
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import machine
import pandas as pd
from contenders.common import Job
from report import Measured, picture, round_rows, rows, section
from rich.console import Console
from roofline import work_of
from rounds import OURS, contenders_of, left_out, run_rounds, try_layouts
from workloads import WORKLOADS, find_data, lay_out, quick

from initbench.core.machine import cores
from initbench.datasets import default_data_dir

CONSOLE = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Options:
    workloads: list[str]
    rounds: int
    command_rounds: int
    spare: int
    quick: bool
    data_dir: Path
    out: Path


def read_options() -> Options:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--workloads", type=lambda text: text.split(","), default=list(WORKLOADS), help=",".join(WORKLOADS)
    )
    parser.add_argument("--rounds", type=int, default=5, help="calm rounds of all but D (5)")
    parser.add_argument("--command-rounds", type=int, default=3, help="calm rounds of D (3)")
    parser.add_argument("--spare", type=int, default=2, help="rounds more where some were not calm (2; quick: none)")
    parser.add_argument("--quick", action="store_true", help="few steps: to see that it runs; the ratios mean nothing")
    parser.add_argument("--data-dir", type=Path, default=default_data_dir(), help="where datasets lie (INITBENCH_DATA)")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    return Options(**vars(parser.parse_args()))


def measure(key: str, options: Options) -> Measured:
    """Run all rounds of a workload."""
    workload = quick(WORKLOADS[key]) if options.quick else WORKLOADS[key]
    dataset, data = find_data(workload.dataset, options.data_dir, options.out)
    trials = lay_out(workload, dataset, options.data_dir)
    job = Job(trials, dataset, str(options.data_dir), cores())
    CONSOLE.print(f"{key}: {workload.title}: layouts …")
    tried = try_layouts(workload, job)
    opened = job.open_dataset()
    before, done = machine.stolen(), []
    count = options.command_rounds if workload.command else options.rounds
    spare = 0 if options.quick else options.spare
    for one in run_rounds(job, contenders_of(workload, job, tried), count, spare):
        done.append(one)
        told = ", ".join(f"{name} {ran.seconds:.3f} s" for name, ran in one.ran.items())
        CONSOLE.print(f"{key} round {len(done)}{'' if one.calm else ' (not calm)'}: {told}")
    work = work_of(workload.model, opened.shape, opened.classes, workload.batch_size)
    return Measured(key, workload, data, job, work, tried, done, machine.stolen_share(before))


def write(facts: list[str], measured: list[Measured], options: Options) -> str:
    """Write page, tables and picture of what is measured so far, and return the page."""
    warning = ["**A quick run: it shows that the benchmark runs; its ratios mean nothing.**"] if options.quick else []
    memory = f"Largest resident memory of a process: {machine.peak_memory():.2f} GB."
    page = "\n\n".join(["# make bench", *warning, *facts, memory, *map(section, measured)]) + "\n"
    (options.out / "bench.md").write_text(page, encoding="utf-8")
    pd.concat(map(rows, measured)).to_csv(options.out / "bench.csv", index=False)
    pd.concat(map(round_rows, measured)).to_csv(options.out / "rounds.csv", index=False)
    picture(measured, options.out / "bench.png")
    return page


def main() -> int:
    options = read_options()
    # The contenders run in another folder.
    options = replace(options, out=options.out.resolve(), data_dir=options.data_dir.resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    facts = [*machine.describe(), f"Load average at the start: {machine.load():.2f}."]
    absent = [f"Left out: {name}, for {why}." for name, why in left_out().items()]
    for sentence in absent:
        CONSOLE.print(sentence)
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # empty, so that the first round says what compiling costs
        for key in options.workloads:
            measured.append(measure(key, options))
            page = write([*facts, *absent], measured, options)
    CONSOLE.print(page, markup=False)
    CONSOLE.print(f"Written to {options.out}", markup=False)
    refused = [one.refused(name) for one in measured for name in one.names if name != OURS]
    return 1 if any(refused) else 0


if __name__ == "__main__":
    raise SystemExit(main())
