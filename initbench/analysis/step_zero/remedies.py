"""What to do about a bad start, in words; one sentence for each thing that a check can find."""

import numpy as np

from initbench.analysis.statistics.intervals import mean_interval
from initbench.analysis.step_zero.propagation import Evidence, power_of_two, slopes_of

KEPT = 0.2  # bits a layer that still count as a signal that is kept


def rescale(of: Evidence, *, fading: bool) -> str:
    """Say by which scheme, or which factor, the signal would be kept."""
    advice = {
        "relu": "kaiming_* keeps E[z²] under ReLU",
        "leaky_relu": "kaiming_normal(a=<slope>) keeps E[z²]",
        "tanh": "xavier_normal(gain='tanh') is the usual start for tanh",
        "selu": "lecun_normal keeps E[z²] under SELU",
        "sigmoid": "a sigmoid has mean 0.5: use tanh or ReLU in deep networks",
        "linear": "lecun_normal or orthogonal keep E[z²] without an activation",
    }.get(of.nonlinearity, f"kaiming_* is the usual start for {of.nonlinearity}")
    # What bears on a signal that biases keep up is how fast the gradient goes.
    moments = of.gradient_norms[:, ::-1] if _floors(of) else of.column("forward_moment")
    slope = mean_interval(slopes_of(moments)).mean
    if slope is None:
        return advice if fading else f"make the weights smaller: {advice}"
    return f"{advice}; or multiply the std of the hidden weights by {power_of_two(-slope / 2):.3g}"


def keep_gradient(of: Evidence, *, fading: bool) -> str:
    """Say how the gradient would be kept: by the other fan where the signal already is."""
    slope = mean_interval(slopes_of(of.gradient_norms[:, ::-1])).mean
    forward = mean_interval(slopes_of(of.column("forward_moment"))).mean or 0.0
    if slope is None or abs(forward) > KEPT or _floors(of):
        return rescale(of, fading=fading)
    lost = "fades" if fading else "grows"
    return (
        f"the signal is kept but the gradient {lost} on its way back: try mode='fan_out', "
        f"or multiply the std of the hidden weights by {power_of_two(-slope / 2):.3g}"
    )


def _floors(of: Evidence) -> bool:
    """Say whether the signal first fades and then stays: what stays is the biases', the same for every image."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.diff(np.log2(of.column("forward_moment")).mean(axis=0))
    return bool(len(steps) > 1 and steps[0] < -KEPT and steps[-1] > steps[0] / 2)


def spread_out(of: Evidence) -> str:
    """Say what keeps images apart."""
    if _floors(of):
        return "what is left of the signal is the biases', the same for every image: start with bias=zeros"
    return "no scale of the weights mends this: use fewer layers, skip connections or a normalization"


def start_random(of: Evidence) -> str:
    """Say what to draw weights from in place of equal ones."""
    good = "kaiming_uniform" if of.nonlinearity in {"relu", "leaky_relu"} else "xavier_uniform"
    return f"draw the weights at random: {good}"
