"""The library face's `compare`: the command of that name as a function."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from initbench.comparison import Comparison
from initbench.errors import InitbenchWarning
from initbench.running.executor import choose_backend
from initbench.running.observer import Silent
from initbench.running.plan import draft_of, plan_study
from initbench.running.runner import carry_out


def compare(
    schemes: Sequence[str] | None = None,
    model: str | Sequence[str] | None = None,
    dataset: str | Sequence[str] | None = None,
    *,
    recipe: str | Path | None = None,
    optimizer: str | Sequence[str] | None = None,
    lr: float | str | Sequence[float] | None = None,
    batch_size: int | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    seeds: int | Sequence[int] | None = None,
    vary: str | None = None,
    target: float | None = None,
    baseline: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    name: str | None = None,
    jobs: int | None = None,
    executor: str | None = None,
    shared_folder: bool = True,
    trial_timeout: float | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
) -> Comparison:
    """Train a model from each scheme over several seeds and return what initialization alone did.

    Trials that are stored in `out` already are not trained again. What is left out here is taken from `recipe`, and
    what is left out there is the default: `digits`, `mlp(depth=8, width=64)`, plain SGD, lr 0.02, batches of 64,
    20 epochs, 10 seeds.

    Args:
        schemes: for example ["kaiming_uniform", "conv=orthogonal; bias=constant(0.1)"].
        model: one built-in model or several, for example "cnn(depth=4)".
        dataset: one dataset or several, a name or the path of a .npz or an image folder.
        recipe: a TOML file.
        optimizer: for example "sgd(momentum=0.9)".
        lr: one learning rate; several, or "tune", are a grid over which each scheme gets its own best, chosen on
            validation data with seeds that are not scored.
        batch_size: images a step.
        epochs: passes over the training split, or
        steps: updates.
        seeds: a count (10 stands for 0 to 9) or a list.
        vary: "init,order" crosses the seeds of the weights with those of the data order.
        target: validation accuracy in (0, 1) for steps-to-target; by default halfway from chance to certainty.
        baseline: the scheme that others are compared with; by default torch_default where it takes part.
        device: auto, cpu, cuda or mps.
        precision: float32, tf32 or bfloat16; the low ones can change the conclusion.
        name: of the comparison's folder.
        jobs: worker processes; by default one a core.
        executor: "dask" for a cluster of workers on this machine, or the address (tcp://host:8786) or the file of a
            Dask scheduler; by default processes of this machine.
        shared_folder: whether that cluster's workers see `out` under the same path, and write into it.
        trial_timeout: seconds after which a trial is stopped and counts as failed; by default never.
        data_dir: where datasets lie, in torchvision's layout.
        out: the results folder; by default $INITBENCH_OUT or "results".

    Returns:
        The comparison: `.trials` (one row a trial), `.curves` (a row a point), `.layers` (a row a layer at step 0),
        `.summary` (a row a scheme and setting) as DataFrames, losses in nats, accuracies as shares;
        `.report(path)` writes one HTML file.

    Raises:
        UsageError: an unknown name or a value out of range, every one named.
        ConfigurationError: a recipe, dataset, device or folder that cannot be used.

    >>> comparison = compare(["kaiming_uniform", "torch_default"], steps=20, seeds=2)  # doctest: +SKIP
    >>> comparison.summary[["scheme", "learned", "n", "test_accuracy"]]  # doctest: +SKIP
    """
    axes: dict[str, Any] = {
        "schemes": schemes,
        "model": model,
        "dataset": dataset,
        "optimizer": optimizer,
        "lr": lr,
        "batch_size": batch_size,
        "epochs": epochs,
        "steps": steps,
        "seeds": seeds,
        "vary": vary,
        "target": target,
        "baseline": baseline,
        "device": device,
        "precision": precision,
        "name": name,
    }
    given = {key: _plain(value) for key, value in axes.items() if value is not None}
    backend = choose_backend(executor, jobs, trial_timeout, shared_folder=shared_folder)
    study = plan_study(
        draft_of(Path(recipe) if recipe is not None else None, given, origin="argument"),
        out=Path(out or os.environ.get("INITBENCH_OUT", "results")),
        data_dir=Path(data_dir) if data_dir is not None else None,
        remote=backend.remote,
    )
    for notice in study.notices:
        warnings.warn(notice, InitbenchWarning, stacklevel=2)
    return carry_out(study, backend, _Warner())


class _Warner(Silent):
    """The observer that passes notices on as warnings and ignores the rest."""

    def noticed(self, sentence: str) -> None:
        """Warn."""
        warnings.warn(sentence, InitbenchWarning, stacklevel=2)


def _plain(value: Any) -> Any:  # noqa: ANN401 - an axis takes one value or any sequence of them
    return value if isinstance(value, str | int | float) else list(value)
