"""A forward pass of a network that was listened to before: what a seed changes is measured, what it leaves is kept.

Which calls use weights, what they are named and what theory predicts of them is the same for every seed of a scheme, as
long as no prediction starts from a measured signal. Listening costs several times what measuring does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from initbench.signals import propagation
from initbench.signals.listening import Heard, Known, Listener, silent
from initbench.signals.propagation import ExpectedMoments, WeightMoments
from initbench.signals.sites import Site, measured

SUMS = frozenset(("linear", "conv"))


@dataclass(frozen=True)
class Score:
    """What listening to a network has found: by the number of a call what is to be measured of it, and the rest."""

    heard: Mapping[int, Heard]
    calls: int
    sites: Sequence[Site]
    used: frozenset[str]
    multiplied: frozenset[str]
    weights: Mapping[str, WeightMoments]
    output: ExpectedMoments | None


def score_of(listener: Listener) -> Score | None:
    """Return the score of a pass, None where a prediction depends on what was measured in it."""
    carried = all(site.expected is not None and site.expected.origin == propagation.INPUT for site in listener.sites)
    unpredicted = all(site.expected is None for site in listener.sites)
    starts = [known.tensor is listener.output for known in listener.starts]
    if not ((carried and starts == [True]) or (unpredicted and starts == [])):
        return None
    for site in listener.sites:
        computed = site.seen is not None and not site.seen.is_leaf
        if site.kind not in SUMS or computed:
            return None
    return Score(
        heard={one.call: one for one in listener.heard},
        calls=listener.calls,
        sites=[_emptied(site) for site in listener.sites],
        used=frozenset(listener.used),
        multiplied=frozenset(listener.multiplied),
        weights=listener.weights,
        output=listener.starts[0].expected if carried else None,
    )


def _emptied(site: Site) -> Site:
    """Return a site without what was measured of the network that it was heard of."""
    nothing = site.sample.new_empty(0)
    return replace(
        site,
        seen=None,
        sample=nothing,
        marks=nothing,
        activated=None,
        upstream=None,
        backward={},
        symmetric=0,
        distinct=False,
        gradient=None,
        weight_gradient=None,
    )


class Replay(TorchFunctionMode):
    """Measures one forward pass by a score; afterwards it holds what a `Listener` does."""

    def __init__(self, model: nn.Module, score: Score, images: int) -> None:
        super().__init__()
        self.model, self.score, self.images = model, score, images
        self.weights, self.used, self.multiplied = score.weights, score.used, score.multiplied
        self.sites: list[Site] = []
        self.starts: list[Known] = []
        self.gates: list[Tensor | None] = []
        self.calls = 0

    @property
    def chain(self) -> list[nn.Module] | None:
        """The modules of a network that calls one function in each of them, in turn: none needs to be intercepted."""
        modules = [*self.model.children()] if type(self.model) is nn.Sequential else []
        return modules if len(modules) == self.score.calls else None

    def run(self, inputs: Sequence[Any]) -> Any:  # noqa: ANN401 - a model returns anything
        """Run the model and measure."""
        if self.chain is None:
            with self:
                return self.model(*inputs)
        (x,) = inputs
        for call, module in enumerate(self.chain):
            x = module(x)
            if call in self.score.heard:
                self._measure(self.score.heard[call], x)
        return x

    def receive(self, inputs: object) -> None:
        """Take no note of the inputs."""

    def finish(self, output: Tensor) -> None:
        """Start the predicted backward pass from the measured gradient at the model's output."""
        if self.score.output is not None:
            known = Known(output, self.score.output, None, propagation.INPUT)
            known.watch().wanted = True
            self.starts.append(known)

    def expected_of(self, _output: Tensor) -> ExpectedMoments | None:
        """Return the expected moments of the model's output."""
        return self.score.output

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's signature
        result = func(*args, **(kwargs or {}))
        heard = self.score.heard.get(self.calls)
        self.calls += 1
        if heard is not None:
            self._measure(heard, result)
        return result

    def _measure(self, heard: Heard, out: Tensor) -> None:
        """Do what `Listener` does for a call, in its order."""
        if heard.map is not None:
            place, parts = heard.map
            self.sites[place].activate(parts, out.detach(), heard.gate)
        if heard.site is not None:
            site = self.score.sites[heard.site]
            values = measured(out.detach(), self.images, site.axis, histograms=False)
            self.sites.append(site := replace(site, **values))
            site.watch(out)
        if heard.gate is not None:
            self.gates.append(silent(out.detach(), self.images))
