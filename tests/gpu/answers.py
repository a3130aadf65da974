"""Right answers: every engine against plain PyTorch on the CPU, graphs against eager steps, precision, memory."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from initbench import datasets, training
from initbench.datasets import Dataset
from initbench.networks.models import ACTIVATIONS
from initbench.records.recipe import Trial
from initbench.records.record import Record
from initbench.training import autograd, convolutional, cuda, loop
from initbench.training.activations import nonlinearity_of
from initbench.training.choice import choose
from initbench.training.engine import Stepper
from initbench.training.environment import reproducible
from initbench.training.grouped import Grouped
from initbench.training.stacked import Stacked
from initbench.training.start import begin
from tests.gpu import recorder
from tests.gpu.finding import Finding, Setting, judged
from tests.gpu.networks import BATCH, CLASSES, OPTIMIZERS, chain, convolutions, trial_of

SHAPE = (3, 4, 4)
KNOWN = sorted(name for name, module in ACTIVATIONS.items() if nonlinearity_of(module()))  # to stacks
EAGER, REPLAYED = 6, 6  # steps
# The largest relative difference of losses, gradient norms and logits that rounding explains after some steps.
TOLERANCES = {torch.float64: 1e-8, torch.float32: 2e-3}
FORMS = {
    "stacks": Stacked, "grouped convolutions": Grouped, "one after the other": convolutional.one_by_one,
    "streams": convolutional.streamed,
}  # fmt: skip
MODELS = ("mlp(depth=3, width=64)", "cnn(depth=2, width=8)", "cnn(depth=2, width=8, norm='batch')", "lenet",
          "resnet(depth=8, width=8)")  # fmt: skip


def run(setting: Setting) -> Iterator[Finding]:
    """See `finding.Part`."""
    with reproducible(setting.device), cuda.side_stream(setting.device):
        yield from _engines(setting)
        yield from (_neighbours(form, setting) for form in ("stacks", "grouped convolutions"))
    digits = datasets.prepare("digits")
    yield _weights(digits, setting)
    yield from _trials(digits, setting)
    yield from _precision(digits, setting)
    yield _memory(digits, setting)


# Engines.


def _engines(setting: Setting) -> Iterator[Finding]:
    for form, dtype in product(FORMS, list(TOLERANCES)[: 1 if setting.quick else 2]):
        worst, parted, where = 0.0, 0.0, ""
        cases = list(_cases(form, setting))
        for build, optimizer, orders, label in cases:
            torch.manual_seed(0)
            models = [build() for _ in range(4)]
            # A rule that divides by a gradient's size moves every weight by its rate.
            scale = 1 if optimizer.startswith("sgd") else 0.05
            trials = [trial_of(optimizer=optimizer, lr=0.01 * scale * (k + 1), device=setting.device) for k in range(4)]
            found, graph = against_the_reference(form, models, trials, orders, dtype, setting)
            parted = max(parted, graph)
            if not found <= worst:
                worst, where = found, label
        seen = (
            f"{len(cases)} settings, largest relative difference {worst:.1e} ({where}); graph from eager {parted:.1e}"
        )
        right = worst <= TOLERANCES[dtype] and parted <= TOLERANCES[dtype]
        name = f"{form} as plain PyTorch on the CPU, {str(dtype).removeprefix('torch.')}"
        yield judged(name, right, seen, difference=worst, graph=parted)


def _cases(form: str, setting: Setting) -> Iterator[tuple[Callable[[], nn.Module], str, int, str]]:
    """Yield (network, optimizer, data orders, label): every activation, and every optimizer."""
    if form == "stacks":
        pairs = [*((name, "sgd") for name in KNOWN), *(("gelu", rule) for rule in OPTIMIZERS)]
        for i, (name, rule) in enumerate(pairs if not setting.quick else pairs[::5]):
            yield lambda name=name: chain(name), rule, (4, 2, 1)[i % 3], f"{name}, {rule}"
        return
    rules = OPTIMIZERS if not setting.quick else OPTIMIZERS[::7]
    for i, (norm, rule) in enumerate(product(("none", "batch", "group"), rules)):
        if norm == "none" or (i % 2 == 0 and not setting.quick):
            yield lambda norm=norm: convolutions(norm, "tanh"), rule, (4, 2, 1)[i % 3], f"{norm}, {rule}"


def against_the_reference(
    form: str, models: Sequence[nn.Module], trials: Sequence[Trial], orders: int, dtype: torch.dtype, setting: Setting
) -> tuple[float, float]:
    """Return the largest relative difference from the reference on the CPU, and of replayed from eager steps."""
    wide = [model.to(torch.float64) for model in models]
    on_cpu = [trial.model_copy(update={"device": "cpu"}) for trial in trials]
    reference = autograd.Autograd(copy.deepcopy(wide), on_cpu)
    placed = [copy.deepcopy(model).to(setting.device, dtype) for model in wide]
    engine, eager = (FORMS[form](copy.deepcopy(placed), trials, orders) for _ in range(2))
    replay = (cuda if setting.on_gpu else recorder).replayed(engine)
    images = torch.empty(orders, BATCH, *SHAPE, device=setting.device, dtype=dtype)
    labels = torch.empty(orders, BATCH, device=setting.device, dtype=torch.int64)
    worst = parted = 0.0
    for step in range(EAGER + REPLAYED):
        made, marked = torch.randn(orders, BATCH, *SHAPE, dtype=torch.float64), torch.randint(CLASSES, (orders, BATCH))
        images.copy_(made)
        labels.copy_(marked)
        expected = reference.step(made, marked, gradients=True)
        if step < EAGER:
            losses = engine.step(images, labels, gradients=True)
            worst = _larger(worst, relative(engine.gradient_norms(), reference.gradient_norms()))
        else:
            losses = replay(images, labels)
        worst = _larger(worst, relative(losses, expected))
        parted = _larger(parted, relative(losses, eager.step(images, labels, gradients=step < EAGER)))
    looked_at = torch.randn(9, *SHAPE, dtype=torch.float64)
    logits = engine.logits(looked_at.to(images))
    worst = _larger(worst, relative(logits, reference.logits(looked_at)))
    return worst, _larger(parted, relative(logits, eager.logits(looked_at.to(images))))


def relative(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference against the largest value: one that is 0 by chance has no digits of its own."""
    actual, expected = (t.detach().double().cpu() for t in (actual, expected))
    return float((actual - expected).abs().max() / expected.abs().max())


def _larger(a: float, b: float) -> float:
    """Return the larger; NaN is larger than all."""
    return b if math.isnan(b) or b > a else a


def _neighbours(form: str, setting: Setting) -> Finding:
    """Return whether a member with weights that are NaN or infinite changes a bit of the others."""
    build = (lambda: chain("relu")) if form == "stacks" else lambda: convolutions("batch")
    torch.manual_seed(0)
    models = [build() for _ in range(3)]
    trials = [trial_of(optimizer="sgd(momentum=0.9)", device=setting.device)] * 3
    outputs = []
    for bad in (None, math.nan, math.inf):
        changed = copy.deepcopy(models)
        if bad is not None:
            nn.init.constant_(next(changed[1].parameters()), bad)
        outputs.append(_trained(FORMS[form]([model.to(setting.device) for model in changed], trials, 3), setting))
    alike = all(torch.equal(outputs[0][[0, 2]], other[[0, 2]]) for other in outputs[1:])
    diverged = all(not other[1].isfinite().all() for other in outputs[1:])
    seen = "two neighbours keep every bit" if alike else "neighbours change"
    return judged(f"a diverging member, {form}", alike and diverged, seen)


def _trained(engine: Stepper, setting: Setting) -> Tensor:
    torch.manual_seed(1)
    replay = (cuda if setting.on_gpu else recorder).replayed(engine)
    images = torch.randn(3, BATCH, *SHAPE, device=setting.device)
    labels = torch.randint(CLASSES, (3, BATCH), device=setting.device)
    losses = [engine.step(images, labels, gradients=True).clone() for _ in range(3)]
    losses += [replay(images, labels).clone() for _ in range(4)]
    looked_at = torch.ones(2, *SHAPE, device=setting.device)
    return torch.cat([torch.stack(losses).T, engine.logits(looked_at).flatten(1)], dim=1).cpu()


# Whole trials.


def _silent(_group: Sequence[Trial], _step: int) -> None:
    """Observe nothing."""


def _train(trials: Sequence[Trial], dataset: Dataset) -> list[Record]:
    """Train a group as a comparison does on a GPU; in the rehearsal with the same engine, on the CPU."""
    if trials[0].device == "cuda":
        return training.train(trials, dataset, _silent)
    return loop.train(trials, dataset, _silent, choose(trials[0].model_copy(update={"device": "cuda"}), dataset))


def _weights(digits: Dataset, setting: Setting) -> Finding:
    """Return whether weights and statistics at step 0 are the CPU's, to the bit."""
    schemes = ("kaiming_uniform", "orthogonal", "lsuv", "torch_default", "trunc_normal")
    differing, tensors, statistics = [], 0, 0
    for scheme, model in list(product(schemes, MODELS))[:: 6 if setting.quick else 1]:
        here, there = (
            begin(_trial(digits, device, scheme=scheme, model=model), digits) for device in ("cpu", setting.device)
        )
        placed = there.model.state_dict()
        for name, value in here.model.state_dict().items():
            tensors += 1
            if not torch.equal(value, placed[name].cpu()):
                differing.append(f"{scheme}: {name}")
        statistics += len(here.step_zero.layers)
        if here.step_zero != there.step_zero:
            differing.append(f"{scheme}: statistics of {model}")
    seen = f"{tensors} tensors and the statistics of {statistics} layers compared, {len(differing)} differ"
    seen += f" ({differing[0]})" if differing else ""
    return judged("weights and statistics at step 0 as on the CPU, to the bit", not differing, seen)


def _trial(digits: Dataset, device: str, **changes: object) -> Trial:
    return trial_of(dataset=digits.name, fingerprint=digits.fingerprint, device=device, **changes)


def _trials(digits: Dataset, setting: Setting) -> Iterator[Finding]:
    """Train groups as a comparison does, and hold their curves against the reference engine's on the CPU."""
    for model, optimizer in product(
        MODELS[:2] if setting.quick else MODELS, ("adam",) if setting.quick else ("sgd", "adam")
    ):
        # At low rates, where training does not multiply rounding.
        common = {"model": model, "optimizer": optimizer, "lr": 0.01 if optimizer == "sgd" else 3e-4}
        trials = [
            _trial(digits, setting.device, **common, seed=seed, scheme=scheme)
            for seed in range(2)
            for scheme in ("kaiming_uniform", "orthogonal")
        ]
        records = _train(trials, digits)
        worst = 0.0
        for record, trial in zip(records, trials, strict=True):
            on_cpu = trial.model_copy(update={"device": "cpu"})
            (expected,) = loop.train([on_cpu], digits, _silent, autograd.ENGINE)
            for point, wanted in zip(record.curve, expected.curve, strict=True):
                worst = _larger(worst, abs(point.val_loss / wanted.val_loss - 1))
            assert record.final
            assert expected.final
            worst = _larger(worst, abs(record.final.test_loss / expected.final.test_loss - 1))
        seen = f"4 trials of 80 steps by {records[0].environment.engine}: largest relative difference {worst:.1e}"
        yield judged(f"whole trials of {model}, {optimizer}", worst < 1e-2, seen, difference=worst)


def _precision(digits: Dataset, setting: Setting) -> Iterator[Finding]:
    """Return whether lower precision is used exactly where it is asked for.

    Of convolutions only that they are float32 otherwise: where TF32 is allowed, cuDNN may still choose a float32
    algorithm, and for small images it does.
    """
    a, b = (torch.randn(512, 512, dtype=torch.float64) for _ in range(2))
    images, weights = torch.randn(8, 32, 12, 12, dtype=torch.float64), torch.randn(32, 32, 3, 3, dtype=torch.float64)
    errors = {}
    for precision in ("float32", "tf32") if setting.on_gpu else ("float32",):
        with reproducible(setting.device, precision):
            products = relative(a.float().to(setting.device) @ b.float().to(setting.device), a @ b)
            maps = [t.float().to(setting.device) for t in (images, weights)]
            convolved = relative(nn.functional.conv2d(*maps), nn.functional.conv2d(images, weights))
        errors[precision] = products, convolved
    right = max(errors["float32"]) < 3e-6 and errors.get("tf32", (1.0,))[0] > 3e-5
    said = "; ".join(f"{name}: product {p:.0e}, convolution {c:.0e}" for name, (p, c) in errors.items())
    yield judged("lower precision only where it is asked for", right, f"relative errors: {said}")
    for precision in ("bfloat16", "tf32") if setting.on_gpu else ("bfloat16",):
        trials = [_trial(digits, setting.device, precision=name, lr=0.02) for name in ("float32", precision)]
        full, low = (_train([trial], digits)[0].final for trial in trials)
        assert full
        assert low
        differs = abs(low.test_loss / full.test_loss - 1)
        seen = f"test loss differs by {differs:.1e}"
        yield judged(f"a trial in {precision}", 1e-7 < differs < 0.2 and trials[0].id != trials[1].id, seen)


def _memory(digits: Dataset, setting: Setting) -> Finding:
    """Cap the memory so that a group does not fit, and see that it is halved, finished, and unchanged."""
    name = "a group that does not fit in memory is halved and finished"
    if not setting.on_gpu:
        return Finding(name, "skipped", "the CPU's memory is not capped here")
    model = "mlp(depth=3, width=1024)"
    trials = [_trial(digits, "cuda", model=model, lr=0.01, steps=60, seed=seed) for seed in range(16)]
    whole = training.train(trials, digits, _silent)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    used = torch.cuda.memory_allocated()
    torch.cuda.set_per_process_memory_fraction((used + 450 * 2**20) / total)
    try:
        halved = training.train(trials, digits, _silent)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    engines = sorted({record.environment.engine for record in halved})
    pairs = [(a.final.test_loss, b.final.test_loss) for a, b in zip(whole, halved, strict=True) if a.final and b.final]
    worst = max(abs(a / b - 1) for a, b in pairs)
    right = len(pairs) == len(trials) and engines != [whole[0].environment.engine] and worst < 1e-3
    return judged(name, right, f"{whole[0].environment.engine} became {', '.join(engines)}; losses within {worst:.0e}")
