"""What to do about a bad start: one sentence for each problem that a check can find."""

import numpy as np

from initbench.analysis.statistics.intervals import mean_interval
from initbench.analysis.step_zero.propagation import WeightedLayers, log2_slopes, power_of_two

KEPT = 0.2  # bits per layer: a signal that changes by less counts as preserved


def rescale(layers: WeightedLayers, *, fading: bool) -> str:
    """Name the scheme or the factor that would preserve the signal."""
    advice = {
        "relu": "kaiming_* keeps E[z²] constant under ReLU",
        "leaky_relu": "kaiming_normal(a=<slope>) keeps E[z²] constant",
        "tanh": "xavier_normal(gain='tanh') is the usual start for tanh",
        "selu": "lecun_normal keeps E[z²] constant under SELU",
        "sigmoid": "a sigmoid has mean 0.5: use tanh or ReLU in deep networks",
        "linear": "lecun_normal or orthogonal keep E[z²] constant without an activation",
    }.get(layers.nonlinearity, f"kaiming_* is the usual start for {layers.nonlinearity}")
    # Where biases sustain the signal, the slope of the gradient shows the scale that the weights need.
    moments = layers.gradient_norms[:, ::-1] if _sustained_by_biases(layers) else layers.column("forward_moment")
    slope = mean_interval(log2_slopes(moments)).mean
    if slope is None:
        return advice if fading else f"make the weights smaller: {advice}"
    return f"{advice}; or multiply the std of the hidden weights by {power_of_two(-slope / 2):.3g}"


def keep_gradient(layers: WeightedLayers, *, fading: bool) -> str:
    """Say how to preserve the gradient: by the other fan where the signal is preserved already."""
    slope = mean_interval(log2_slopes(layers.gradient_norms[:, ::-1])).mean
    forward = mean_interval(log2_slopes(layers.column("forward_moment"))).mean or 0.0
    if slope is None or abs(forward) > KEPT or _sustained_by_biases(layers):
        return rescale(layers, fading=fading)
    change = "shrinks" if fading else "grows"
    return (
        f"the signal is preserved but the gradient {change} on the way back: try mode='fan_out', "
        f"or multiply the std of the hidden weights by {power_of_two(-slope / 2):.3g}"
    )


def _sustained_by_biases(layers: WeightedLayers) -> bool:
    """Return whether the signal first fades, then stays: what stays comes from the biases, equal for every image."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.diff(np.log2(layers.column("forward_moment")).mean(axis=0))
    return bool(len(steps) > 1 and steps[0] < -KEPT and steps[-1] > steps[0] / 2)


def spread_out(layers: WeightedLayers) -> str:
    """Say what would keep the images apart."""
    if _sustained_by_biases(layers):
        return "what remains of the signal comes from the biases and is the same for every image: start with bias=zeros"
    return "no scale of the weights fixes this: use fewer layers, skip connections or normalization"


def start_random(layers: WeightedLayers) -> str:
    """Say from what to draw the weights instead of setting them equal."""
    good = "kaiming_uniform" if layers.nonlinearity in {"relu", "leaky_relu"} else "xavier_uniform"
    return f"draw the weights at random: {good}"
