"""What to do about a bad start: one sentence for each problem that a check can find."""

from collections.abc import Mapping

import numpy as np

from initbench.analysis.statistics.intervals import mean_interval
from initbench.analysis.step_zero.propagation import WeightedLayers, log2_slopes, power_of_two
from initbench.records.record import PRODUCT

KEPT = 0.2  # bits per layer: a signal that changes by less counts as preserved
SHARED = 0.9  # mean cosine from which most of a signal is the same for every image
STEADY, UNSTEADY = 1.3, 4.0  # by how much gains of layers differ where one serves all, and where none does


# By activation, the schemes that a sentence names, and the sentence.
USUAL: Mapping[str, tuple[tuple[str, ...], str]] = {
    "relu": (("kaiming_",), "kaiming_* keeps E[z²] constant under ReLU"),
    "leaky_relu": (("kaiming_",), "kaiming_normal(a=<slope>) keeps E[z²] constant"),
    "tanh": (("xavier_",), "xavier_normal(gain='tanh') is the usual start for tanh"),
    "selu": (("lecun_", "flax_default"), "lecun_normal keeps E[z²] constant under SELU"),
    "sigmoid": ((), "a sigmoid has mean 0.5: use tanh or ReLU in deep networks"),
    "linear": (("lecun_", "orthogonal"), "lecun_normal or orthogonal keep E[z²] constant without an activation"),
}

BETWEEN = {"linear": "what lies between the layers", PRODUCT: "a product of layers"}


def rescale(layers: WeightedLayers, *, fading: bool) -> str:
    """Name the scheme or the factor that would preserve the signal; no scheme that was judged bad beside this one."""
    size = f"make the weights {'larger' if fading else 'smaller'}"
    # Where biases sustain the signal, the slope of the gradient shows the scale that the weights need.
    moments = layers.gradient_norms[:, ::-1] if _sustained_by_biases(layers) else layers.signal
    slope = mean_interval(log2_slopes(moments)).mean
    if layers.nonlinearity == PRODUCT:
        return (
            "layers are multiplied with each other, which squares what a scale does: none keeps the signal at every "
            f"depth; {size}, or normalize what is multiplied"
        )
    if layers.nonlinearity in USUAL:
        families, advice = USUAL[layers.nonlinearity]
        advice = "" if any(layers.judged_bad(family) for family in families) else advice
        steady = True
    else:
        advice, steady = _by_gain(layers)
    if not steady:
        return advice
    if slope is None:
        return advice if fading and advice else f"{size}: {advice}" if advice else size
    factor = f"multiply the std of the hidden weights by {power_of_two(-slope / 2):.3g}"
    return f"{advice}; or {factor}" if advice else factor


def _by_gain(layers: WeightedLayers) -> tuple[str, bool]:
    """Return the scale that the measured gain of an activation needs, and whether one factor serves every layer."""
    name, moments = layers.nonlinearity, layers.column("forward_moment")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gains = layers.column("activation_moment") / moments
        known = np.isfinite(gains) & (gains > 0) & (moments > 0)
        far = np.where(known, np.abs(np.log(moments)), np.inf)
    if not known.any():
        return "", True
    low, high = float(gains[known].min()), float(gains[known].max())
    if high > UNSTEADY * low:
        return (
            f"{name} passes on {low:.2g} to {high:.2g} of E[z²], depending on its size: no scale of the weights keeps "
            "that at every depth; normalize, or take another activation"
        ), False
    steady = high < STEADY * low
    place = np.unravel_index(far.argmin(), far.shape)
    gain = float(np.exp(np.log(gains[known]).mean())) if steady else float(gains[place])
    where = "" if steady else f" where that is {moments[place]:.2g}"
    advice = f"{name} passes on {gain:.3g} of E[z²]{where}, as measured here: variance_scaling({1 / gain:.3g}) keeps it"
    return "" if layers.judged_bad(f"variance_scaling(scale={1 / gain:.3g}") else advice, steady


def balance(layers: WeightedLayers) -> str:
    """Say why signal and gradient go apart, and what would balance them."""
    if _sustained_by_biases(layers):
        factor = mean_interval(log2_slopes(layers.gradient_norms[:, ::-1])).mean or 0.0
        return (
            "the biases sustain the signal while the weights let it fade: start with bias=zeros, and multiply the std "
            f"of the hidden weights by {power_of_two(-factor / 2):.3g}"
        )
    widths = {layer.units for row in layers.hidden for layer in row if layer.kind == "linear"}
    if len(widths) > 1:
        return "one direction is preserved at the cost of the other: layers of equal width balance the two"
    between = BETWEEN.get(layers.nonlinearity, layers.nonlinearity)
    return (
        f"the weights scale both directions alike, but {between} does not at this size of z: "
        f"smaller weights, or {'normalize' if layers.nonlinearity in BETWEEN else 'another activation'}"
    )


def keep_gradient(layers: WeightedLayers, *, fading: bool) -> str:
    """Say how to preserve the gradient: by the other fan where the signal is preserved already."""
    slope = mean_interval(log2_slopes(layers.gradient_norms[:, ::-1])).mean
    forward = mean_interval(log2_slopes(layers.column("forward_moment"))).mean or 0.0
    kept = slope is not None and abs(forward) <= max(KEPT, abs(slope) / 4)
    if slope is None or not kept or layers.nonlinearity == PRODUCT or _sustained_by_biases(layers):
        return rescale(layers, fading=fading)
    change = "shrinks" if fading else "grows"
    # The first layer has no part in the way back to its own output.
    unlike = any(layer.fan_in != layer.fan_out for row in layers.hidden for layer in row[1:])
    other_fan = "try mode='fan_out', or " if unlike else ""
    return (
        f"the signal is preserved but the gradient {change} on the way back: {other_fan}multiply the std of the hidden "
        f"weights by {power_of_two(-slope / 2):.3g}"
    )


def _sustained_by_biases(layers: WeightedLayers) -> bool:
    """Return whether the signal first fades, then stays, the same for every image: what stays comes from the biases."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.diff(np.log2(layers.column("forward_moment")).mean(axis=0))
    alike = layers.column("cosine")[:, -1:]
    return bool(len(steps) > 1 and steps[0] < -KEPT and steps[-1] > steps[0] / 2 and (alike > SHARED).all())


def spread_out(layers: WeightedLayers) -> str:
    """Say what would keep the images apart."""
    if _sustained_by_biases(layers):
        return "what remains of the signal comes from the biases and is the same for every image: start with bias=zeros"
    return "no scale of the weights fixes this: use fewer layers, skip connections or normalization"


def start_random(layers: WeightedLayers) -> str:
    """Say from what to draw the weights instead of setting them equal."""
    usual = "kaiming_uniform" if layers.nonlinearity in {"relu", "leaky_relu"} else "xavier_uniform"
    good = [name for name in (usual, "orthogonal") if not layers.judged_bad(name[:8])]
    return f"draw the weights at random{': ' if good else ''}{''.join(good[:1])}"
