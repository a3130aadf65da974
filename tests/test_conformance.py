"""The conformance suite: every registered scheme passes, and each defect found in published code is caught by name."""

import json
import math
import random
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from initbench.cli import app
from initbench.conformance import CHECKS, Subject, conformance, subject_of
from initbench.core.randomness import generator
from initbench.errors import InitbenchWarning, UsageError
from initbench.networks.layers import weighted_layers
from initbench.schemes import SCHEMES

VALUES = {
    "constant": "constant(0.3)",
    "sparse": "sparse(0.4)",
    "scaled": "scaled('kaiming_normal', 0.5)",
    "metainit": "metainit(steps=3)",  # for the time it takes
    "gradinit": "gradinit(steps=3)",
}
COMPOSED = [
    "conv=kaiming_uniform(mode='fan_out'); linear=lecun_normal; bias=constant(0.1); head=zeros",
    "torch_default; name:conv2.*=normal(std=0.1)",
    "kaiming_normal; last=zeros",
    "trunc_normal(0.3, 0.5, -0.2, 1.5)",
    "uniform",
    "orthogonal(gain='relu'); bias=normal(std=0.2)",
]


def outcomes(subject):
    return {result.check: result for result in conformance(subject)}


def failures(subject):
    return {name: result.seen for name, result in outcomes(subject).items() if result.outcome == "FAIL"}


# What is registered.


# One of each kind: the others differ from it in a law, which test_schemes.py compares for every scheme.
KINDS = {
    "kaiming_uniform", "constant", "orthogonal", "torch_default", "delta_orthogonal", "looks_linear", "fixup",
    "skipinit", "lsuv", "metainit", *COMPOSED[:1],
}  # fmt: skip


@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param(VALUES.get(name, name), marks=() if name in KINDS else pytest.mark.long)
        for name in (*SCHEMES, *COMPOSED)
    ],
)
def test_every_scheme_keeps_what_every_scheme_must(scheme):
    assert failures(scheme) == {}


def test_a_result_names_the_figure_and_the_layer():
    seen = outcomes("kaiming_normal")
    assert list(seen) == [name for name, _ in CHECKS]
    assert "declared" in seen["variance"].seen
    assert "weight of '" in seen["variance"].seen


def test_what_is_not_looked_at_is_skipped_with_its_reason():
    seen = outcomes("partial_identity")
    assert seen["variance"].outcome == seen["rows"].outcome == "SKIP"
    assert "degenerate" in seen["rows"].seen
    assert "declares no variance" in seen["variance"].seen
    # 3 → 24 has an eighth of the signal, and no variance says so.
    assert seen["signal by width"].outcome == "SKIP"
    assert "by 0.125 at conv1.weight of 'depthwise' (3 → 24, 3×3) and by 1 at" in seen["signal by width"].seen


def test_what_a_scheme_refuses_or_leaves_to_another_is_told():
    seen = outcomes("dirac")["fills or says why not"]
    assert seen.outcome == "PASS"
    assert "refuses 'linear'" in seen.seen
    assert "dirac fills Conv only" in seen.seen


def test_a_warning_counts_as_saying_so():
    def warn(model):
        if isinstance(model[0], nn.Conv2d):
            warnings.warn("only Linear layers are rescaled", InitbenchWarning, stacklevel=1)

    seen = outcomes(standin(he, after=warn))["fills or says why not"]
    assert seen.outcome == "PASS"
    assert "a notice on 'residual': only Linear layers are rescaled" in seen.seen


def test_sparse_refuses_the_layers_that_it_would_zero():
    seen = outcomes("sparse(0.9); head=zeros")["fills or says why not"].seen
    assert "sparse(0.9) would zero all of the layer" in seen


def test_the_suite_leaves_the_process_as_it_was():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads()  # noqa: NPY002
    conformance("kaiming_uniform")
    conformance(standin(lambda weight, _layer, _seed: weight.normal_()))
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


# Stand-ins: each fills as published code does, and declares what the code's name promises.


def standin(fill, declares="kaiming_normal", after=lambda model: None, raw=False, **declared):
    """Make a subject of `fill(weight, layer, seed)`, in the law of another scheme; biases are zero.

    Values are drawn in float32 or better and then rounded, unless the weights themselves are filled, `raw`.
    """
    honest = subject_of(declares)

    def declare(model):
        return [replace(item, rule=replace(item.rule, **declared)) for item in honest.declare(model)]

    @torch.no_grad()
    def fill_model(model, seed, _sample):
        for layer in weighted_layers(model):
            if layer.bias is not None:
                model.get_parameter(layer.bias).zero_()
            weight = model.get_parameter(layer.weight)
            values = weight if raw else weight.to(torch.promote_types(weight.dtype, torch.float32), copy=True)
            fill(values, layer, seed)
            weight.copy_(values)
        after(model)

    return Subject(declares, fill_model, declare)


def keyed(seed, layer):
    return generator(seed, "weights", layer.weight)


def centre_of(weight):
    return weight if weight.dim() == 2 else weight[(..., *(size // 2 for size in weight.shape[2:]))]


def he(weight, layer, seed):
    """Fill without any defect."""
    weight.normal_(0, math.sqrt(2 / weight[0].numel()), generator=keyed(seed, layer))


def test_a_standin_without_defect_passes():
    assert failures(standin(he)) == {}


@pytest.mark.long
def test_scaled_orthogonal_with_the_layout_of_jax_is_caught():
    """dks: scale from [in, out] on weights that are [out, in]."""

    def fill(weight, layer, seed):
        if layer.groups > 1 or layer.transposed:
            raise UsageError("plain layers only")
        ins, outs = weight.shape[:2]  # swapped
        nn.init.orthogonal_(centre_of(weight.zero_()), max(math.sqrt(outs / ins), 1.0), generator=keyed(seed, layer))

    caught = failures(standin(fill, "scaled_orthogonal"))
    assert set(caught) == {"variance", "signal by width"}
    assert "variance 0.025, declared 0.1, in linear1.weight of 'linear' (10 → 40)" in caught["variance"]
    assert "E[z²] 0.25, declared 1, in linear1.weight of 'linear' (10 → 40)" in caught["signal by width"]


@pytest.mark.long
def test_the_swapped_layout_is_caught_in_kernels_too_whose_entries_have_no_one_law():
    def fill(weight, layer, seed):
        if layer.groups > 1 or layer.transposed:
            raise UsageError("plain layers only")
        rows, columns = weight.shape[:2]
        scale = max(math.sqrt(rows / columns if layer.kind == "linear" else columns / rows), 1.0)
        nn.init.orthogonal_(centre_of(weight.zero_()), scale, generator=keyed(seed, layer))

    caught = failures(standin(fill, "scaled_orthogonal"))
    assert set(caught) == {"signal by width"}
    assert "in conv1.weight of 'conv' (3 → 16, 3×3)" in caught["signal by width"]


@pytest.mark.long
def test_sine_waves_whose_rows_repeat_undeclared_are_caught():
    """The sinusoidal initialization: 256 → 256 has 254 opposite rows and 2 zero ones."""
    honest = subject_of("sinusoidal")

    def declare(model):
        return [
            item if item.is_bias else replace(item, rule=replace(item.rule, degenerate=False))
            for item in honest.declare(model)
        ]

    caught = failures(replace(honest, declare=declare))
    assert set(caught) == {"rows"}
    assert "more" in caught["rows"]
    square = Subject("square only", _only("square", honest.fill), declare)
    assert failures(square)["rows"] == (
        "linear1.weight of 'square' has 2 zero, 0 equal and 254 opposite rows (and 1 more)"
    )


def _only(name, fill):
    from initbench.conformance.small_models import SMALL_MODELS

    wanted = {n for n, _ in next(s for s in SMALL_MODELS if s.name == name).build().named_parameters()}
    shape = next(s for s in SMALL_MODELS if s.name == name).build()[0].weight.shape

    def filtered(model, seed, sample):
        if {n for n, _ in model.named_parameters()} != wanted or model[0].weight.shape != shape:
            raise UsageError("another model")
        fill(model, seed, sample)

    return filtered


def lsuv(model, sample, skip=0):
    """Rescale each layer to unit output variance, in order, from the layer `skip` on."""
    for layer in weighted_layers(model)[skip:]:
        module, outputs = model.get_submodule(layer.name), []
        hook = module.register_forward_hook(lambda _m, _i, output, seen=outputs: seen.append(output))
        model.eval()(*(x.to(module.weight.dtype) if x.is_floating_point() else x for x in sample.inputs))
        hook.remove()
        module.weight /= outputs[0].double().std()


def procedure(adjust, **options):
    """Make a subject that draws orthogonal weights and adjusts them on the model itself, as published code does."""
    honest = subject_of("orthogonal")

    @torch.no_grad()
    def fill(model, seed, sample):
        honest.fill(model, seed, sample)
        with torch.random.fork_rng(devices=[]):
            adjust(model, sample)

    def declare(model):
        return [replace(item, adjusted=True) for item in honest.declare(model)]

    return Subject("lsuv", fill, declare, procedure=True, output_variance=1.0, **options)


def keeping_modes(adjust):
    def kept(model, sample):
        modes = {module: module.training for module in model.modules()}
        adjust(model, sample)
        for module, mode in modes.items():
            module.training = mode

    return kept


def test_lsuv_without_defect_passes():
    subject = procedure(keeping_modes(lsuv))
    assert failures(subject) == {}
    seen = outcomes(subject)
    assert seen["output variance"].outcome == "PASS"
    assert seen["other layers"].outcome == seen["variance"].outcome == "SKIP"


@pytest.mark.long
def test_lsuv_that_leaves_the_first_layer_out_is_caught():
    """lsuv <= 0.2.2 and LSUV-pytorch start counting one layer late."""
    caught = failures(procedure(keeping_modes(lambda model, sample: lsuv(model, sample, skip=1))))
    assert set(caught) == {"output variance"}
    assert "the output of linear1 of 'linear' has variance" in caught["output variance"]


def test_lsuv_that_leaves_the_model_in_eval_mode_is_caught():
    """lsuv 0.2.2."""
    caught = failures(procedure(lsuv))
    assert set(caught) == {"mode, hooks, gradients"}
    assert "training on 'linear': True before, False after" in caught["mode, hooks, gradients"]


def test_hooks_buffers_gradients_and_attributes_left_behind_are_caught():
    model_wide = {
        "_forward_hooks": lambda model: model.register_forward_hook(lambda *_: None),
        "linear1.weight.grad": lambda model: model.zero_grad(),
        "gained note": lambda model: setattr(model, "note", 1),
    }
    for word, leave in model_wide.items():
        assert word in failures(standin(he, after=leave))["mode, hooks, gradients"]

    def forward_in_training_mode(model):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()(torch.randn(8, 16, 3, 3, generator=torch.Generator().manual_seed(0)))

    caught = failures(standin(he, after=forward_in_training_mode))
    assert "norm1.running_mean of 'normalized' changed" in caught["frozen, tied, buffers"]


@pytest.mark.parametrize(
    ("draw", "word"),
    [
        (lambda weight, std: weight.normal_(0, std), "torch"),
        (lambda weight, std: weight.copy_(torch.from_numpy(np.random.normal(0, std, weight.shape))), "numpy"),  # noqa: NPY002
        (
            lambda weight, std: weight.copy_(
                torch.tensor([random.gauss(0, std) for _ in range(weight.numel())]).view_as(weight)
            ),
            "random",
        ),
    ],
)
def test_draws_from_a_global_generator_are_caught(draw, word):
    caught = failures(standin(lambda weight, layer, _seed: draw(weight, math.sqrt(2 / layer.fan_in))))
    assert word in caught["global state"]
    assert "differs between two fills with seed 0" in caught["seed"]


@pytest.mark.parametrize(
    ("move", "seen"),
    [
        (lambda model: model.to("meta"), "device was cpu and is meta"),  # what .cuda() does, where there is no GPU
        (lambda model: model.double(), "dtype was torch.float32 and is torch.float64"),
        (
            lambda model: setattr(model[0], "weight", nn.Parameter(model[0].weight.detach().clone())),
            "it is now another Parameter object",
        ),
    ],
)
def test_a_model_moved_to_another_device_or_dtype_or_with_other_parameters_is_caught(move, seen):
    """gradinit: .cuda() is written into the code."""
    assert seen in failures(standin(he, after=move))["shape, dtype, device"]


@pytest.mark.long
def test_a_sparse_mask_that_ignores_the_generator_is_caught():
    """torch.nn.init.sparse_ 2.13, pull request 196941."""

    def fill(weight, layer, seed):
        if layer.groups > 1 or layer.transposed:
            raise UsageError("plain layers only")
        nn.init.sparse_(weight.flatten(1), 0.4, 0.01, generator=keyed(seed, layer))

    caught = failures(standin(fill, "sparse(0.4)"))
    assert {"global state", "seed"} <= set(caught)
    assert "differs between two fills with seed 0" in caught["seed"]


def test_a_truncated_normal_without_correction_is_caught():
    """Naive ports of he_normal: cut at two sigma, 23 % of the variance lost."""

    def fill(weight, layer, seed):
        std = math.sqrt(2 / layer.fan_in)
        nn.init.trunc_normal_(weight, 0, std, -2 * std, 2 * std, generator=keyed(seed, layer))

    caught = failures(standin(fill))
    assert set(caught) == {"variance", "signal by width"}


def test_outliers_of_a_truncated_normal_are_caught():
    """torch.nn.init.trunc_normal_ by erfinv: about one entry in ten million, a thousand sigma out."""

    def fill(weight, layer, seed):
        he(weight, layer, seed)
        if layer.block == (256, 256):
            weight[17, 3] = -1000 * math.sqrt(2 / layer.fan_in)

    caught = failures(standin(fill))
    assert caught["outliers"] == ("an entry of linear1.weight of 'square' is 1000 standard deviations off (and 3 more)")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_entry_that_is_not_finite_is_caught(value):
    """LSUV on dead ReLUs: a standard deviation of 0, by which the weight is divided."""

    def fill(weight, layer, seed):
        he(weight, layer, seed)
        if layer.block == (256, 256):
            weight[17, 3] = value

    caught = failures(standin(fill))
    assert caught["finite"].startswith("not finite: 1 of 65536 entries of linear1.weight of 'square'")


def test_the_same_values_on_every_call_are_caught():
    """Keras: an unseeded or int-seeded initializer object returns the same values again and again."""

    def fill(weight, layer, _seed):
        weight.normal_(0, math.sqrt(2 / layer.fan_in), generator=torch.Generator().manual_seed(42))

    caught = failures(standin(fill))
    assert "is the same with seeds 0 and 1, but not declared deterministic" in caught["seed"]
    assert "linear1.weight and linear2.weight of 'square' hold the same values" in caught["layers drawn apart"]


@pytest.mark.long
def test_the_same_values_in_two_layers_are_caught_although_the_seed_counts():
    def fill(weight, layer, seed):
        weight.normal_(0, math.sqrt(2 / layer.fan_in), generator=torch.Generator().manual_seed(seed))

    assert "layers drawn apart" in failures(standin(fill))
    assert "seed" not in failures(standin(fill))


@pytest.mark.long
def test_one_generator_for_all_layers_is_caught():
    """PyTorch 46149: a layer that is added changes the weights of all after it."""
    shared = {}

    def fill(weight, layer, seed):
        if layer.first:
            shared["generator"] = torch.Generator().manual_seed(seed)
        weight.normal_(0, math.sqrt(2 / weight[0].numel()), generator=shared["generator"])

    caught = failures(standin(fill))
    assert set(caught) == {"other layers"}
    assert "after others are moved" in caught["other layers"]


def test_files_written_into_the_working_directory_are_caught(tmp_path):
    """gradinit writes chks/."""
    caught = failures(standin(he, after=lambda _model: Path("chks").mkdir(exist_ok=True)))
    assert set(caught) == {"mode, hooks, gradients"}
    assert "it wrote chks" in caught["mode, hooks, gradients"]
    Path("chks").rmdir()


def test_frozen_tied_embedded_and_integer_parameters_that_change_are_caught():
    def thaw(model):
        for name in ("conv2.weight", "embedding.weight"):
            if name in dict(model.named_parameters()) and not model.get_parameter(name).requires_grad:
                model.get_parameter(name).zero_()

    assert "conv2.weight of 'frozen' changed" in failures(standin(he, after=thaw))["frozen, tied, buffers"]

    def add_one(model):
        if "embedding" in dict(model.named_children()):
            model.embedding.table.add_(1)

    assert "embedding.table of 'tokens' changed by 1" in failures(standin(he, after=add_one))["frozen, tied, buffers"]

    def untie(model):
        modules = dict(model.named_children())
        if "conv2" in modules and modules["conv2"].weight is modules["conv1"].weight:
            modules["conv2"].weight = nn.Parameter(modules["conv1"].weight.detach().clone())

    caught = failures(standin(he, after=untie))["frozen, tied, buffers"]
    assert "conv2.weight of 'tied' is no longer tied to conv1.weight" in caught


def test_what_is_skipped_in_silence_is_caught():
    def fill(weight, layer, seed):
        if layer.groups == 1:
            he(weight, layer, seed)

    caught = failures(standin(fill))
    assert "left unchanged (all entries), without a notice" in caught["fills or says why not"]


def test_a_bare_exception_is_caught_and_its_line_told():
    def fill(weight, layer, seed):
        _rows, _columns = weight.shape
        he(weight, layer, seed)

    caught = failures(standin(fill))
    assert "on 'conv' it raises ValueError" in caught["fills or says why not"]
    assert "_rows, _columns = weight.shape" in caught["fills or says why not"]

    def nothing(weight, layer, seed):
        raise RuntimeError("no")

    results = outcomes(standin(nothing))
    assert results.pop("fills or says why not").outcome == "FAIL"
    assert {result.outcome for result in results.values()} == {"SKIP"}


def test_a_scheme_that_works_in_one_precision_only_is_caught():
    def fill(weight, layer, seed):
        values = torch.empty(weight.shape)
        he(values, layer, seed)
        weight.copy_(values * 1.1 if weight.dtype == torch.float64 else values)

    caught = failures(standin(fill, raw=True))
    assert set(caught) == {"precision"}
    assert "in float64, not" in caught["precision"]

    # QR is not there for bfloat16, and bfloat16 draws are not the float32 ones rounded.
    def qr(weight, layer, seed):
        nn.init.orthogonal_(weight, generator=keyed(seed, layer))

    assert "in torch.bfloat16 it raises" in failures(standin(qr, "orthogonal", raw=True))["precision"]
    assert "differs in torch.bfloat16" in failures(standin(he, raw=True))["precision"]


def test_a_wrong_declaration_of_mean_or_determinism_is_caught():
    shifted = standin(lambda w, layer, seed: (he(w, layer, seed), w.add_(0.1)))
    assert "mean" in failures(shifted)
    assert "declared deterministic, but differs" in failures(standin(he, deterministic=True))["seed"]


# The command.


def check(*arguments, code=0):
    result = CliRunner().invoke(app, ["check", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result


def test_the_command_prints_a_table_and_exits_with_0():
    result = check("kaiming; bias=constant(0.1)")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["check", "result", "what", "was", "seen"]
    assert len(lines) == len(CHECKS) + 1
    assert f"passes all {len(CHECKS)} checks" in result.stderr
    assert check("kaiming", "-q").stderr == ""


def test_the_command_exits_with_4_and_names_what_failed(monkeypatch):
    monkeypatch.setattr("initbench.conformance.subject_of", lambda _text: standin(he, "kaiming_uniform(a=1.0)"))
    result = check("kaiming", code=4)
    assert "fails 2 of 17 checks: variance; signal by width." in result.stderr
    assert "FAIL" in result.stdout
    document = json.loads(check("kaiming", "--json", code=4).stdout)
    assert document["schema"] == 1
    assert document["passed"] is False
    assert {item["check"] for item in document["checks"] if item["outcome"] == "FAIL"} == {
        "variance",
        "signal by width",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [("kaimin", "did you mean 'kaiming'"), ("name:nowhere.*=zeros", "matches no parameter"), ("last=", "")],
)
def test_a_scheme_that_does_not_exist_or_fits_nothing_is_a_mistake(text, words):
    result = check(text, code=2)
    assert words in result.stderr
    assert result.stdout == ""
