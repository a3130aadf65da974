"""The composition grammar: which rule fills which tensor of a model.

    kaiming_uniform                                        all weights; biases zero
    kaiming_uniform; bias=constant(0.1)                    a bare name is the `weight` part
    conv=kaiming_uniform; linear=xavier_uniform; head=zeros
    kaiming_normal; last=zeros                             the last layer of each residual branch
    torch_default; name:conv1.*=orthogonal(gain='relu')    a glob over parameter names

The most specific part wins: name > head > last > first > conv, linear > weight. A bias is zero unless a `name:` part,
the `bias` part or a preset (`torch_default`, …) says otherwise. A weight that no part matches is filled by
torch_default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from initbench.core.parts import GLOB, split_parts
from initbench.core.spec import PARTS, Spec
from initbench.errors import UsageError
from initbench.networks.layers import Layer
from initbench.schemes.presets import torch_default
from initbench.schemes.rule import SCHEMES, Filler, Preset, Procedure, Rule, where_it_fits
from initbench.schemes.torch_init import zeros


@dataclass(frozen=True)
class Scheme:
    """A parsed scheme: one spec per part. `str(scheme)` is its canonical text, the same for every spelling."""

    parts: tuple[tuple[str, Spec], ...]

    def __str__(self) -> str:
        return "; ".join(str(spec) if part == "weight" else f"{part}={spec}" for part, spec in self.parts)

    @cached_property
    def fillers(self) -> dict[str, Filler]:
        """The rule, preset or procedure of each part."""
        return {part: SCHEMES.build(spec) for part, spec in self.parts}

    @property
    def names(self) -> list[str]:
        """The name of each part's spec."""
        return [spec.name for _, spec in self.parts]

    @property
    def procedure(self) -> Procedure | None:
        """The procedure that adjusts the filled model, or None."""
        filler = self.fillers.get("weight")
        return filler if isinstance(filler, Procedure) else None


@dataclass(frozen=True)
class Assignment:
    """One tensor of a model and the rule that fills it.

    `notice` explains why the scheme did not fit this layer, if it did not. If `adjusted`, a procedure changes the
    tensor after the rule has filled it.
    """

    parameter: str
    layer: Layer
    rule: Rule
    notice: str = ""
    adjusted: bool = False

    @property
    def is_bias(self) -> bool:
        """Whether the tensor is the bias of its layer."""
        return self.parameter == self.layer.bias


def parse_scheme(text: str) -> Scheme:
    """Parse the text of a scheme.

    >>> str(parse_scheme("he_uniform(a=0.0); bias=constant(val=1)"))
    'kaiming_uniform; bias=constant(1.0)'

    Raises:
        UsageError: unknown scheme, part or parameter, a part given twice, or a bias rule that needs fans.
    """
    parts = {part: SCHEMES.resolve(spec) for part, spec in split_parts(text)}
    scheme = Scheme(tuple(sorted(parts.items(), key=lambda item: _rank(item[0]))))
    for part, filler in scheme.fillers.items():
        if isinstance(filler, Procedure) and part != "weight":
            raise UsageError(f"'{parts[part]}' fills a whole model and cannot be the part '{part}' of '{text}'.")
    bias = scheme.fillers.get("bias")
    if (isinstance(bias, Rule) and not bias.fits(1)) or (isinstance(bias, Preset) and bias.bias is None):
        raise UsageError(f"'{parts['bias']}' cannot fill a bias, which has no fans: use constant, normal or uniform.")
    return scheme


def assign(scheme: Scheme, layers: list[Layer], others: Mapping[str, str] | None = None) -> list[Assignment]:
    """Choose the rule of every tensor of `layers`; `others` has the kind of each parameter that no scheme fills.

    If the weight part does not fit a layer (`eye` on a convolution, `dirac` on a Linear), torch_default fills that
    layer's weight, and the assignment has a notice.

    Raises:
        UsageError: the scheme fits no layer, an explicit part does not fit, a glob matches no parameter, or the scheme
            needs residual branches that the model does not have.
    """
    _require_branches(scheme, layers)
    assignments = [_weight(scheme, layer) for layer in layers]
    assignments += [_bias(scheme, layer) for layer in layers if layer.bias is not None]
    _require_some_fit(scheme, assignments)
    _require_matches(scheme, [item.parameter for item in assignments], others or {})
    return assignments


def revision_of(scheme: str, layers: list[Layer]) -> int:
    """Return how often the weights that a scheme gives these layers have changed since the first release."""
    weights = [item for item in assign(parse_scheme(scheme), layers) if not item.is_bias]
    return max(item.rule.revised(item.layer) for item in weights)


def _matches(parameter: str, part: str) -> bool:
    """Return whether a `name:` part matches a parameter; `[0]` is a set of characters, or stands for itself."""
    glob = part.removeprefix(GLOB)
    return fnmatchcase(parameter, glob) or fnmatchcase(parameter, glob.replace("[", "[[]"))


def _rank(part: str) -> int:
    return PARTS.index(part) if part in PARTS else len(PARTS)


def _parts_for(layer: Layer) -> list[str]:
    """Return the parts that apply to a layer, the most specific first."""
    last = layer.branch is not None and layer.branch.last
    return ["head"] * layer.head + ["last"] * last + ["first"] * layer.first + [layer.kind, "weight"]


def _globs_for(scheme: Scheme, parameter: str) -> list[str]:
    """Return the `name:` parts that match a parameter, in reverse order of writing."""
    globs = [part for part in scheme.fillers if part.startswith(GLOB)]
    return [part for part in reversed(globs) if _matches(parameter, part)]


def _weight(scheme: Scheme, layer: Layer) -> Assignment:
    fallback = torch_default().weight(layer)
    for part in _globs_for(scheme, layer.weight) + _parts_for(layer):
        filler = scheme.fillers.get(part)
        if filler is None:
            continue
        filling = filler.base if isinstance(filler, Procedure) else filler
        rule = filling.weight(layer) if isinstance(filling, Preset) else filling
        if rule.fits(len(layer.block)):
            return Assignment(layer.weight, layer, rule, adjusted=filling is not filler)
        spec = dict(scheme.parts)[part]
        if part != "weight":
            raise UsageError(
                f"'{part}={spec}' does not fit the {layer.kind} layer '{layer.name}': "
                f"{spec.name} fills {where_it_fits(rule)}."
            )
        kind = layer.kind.capitalize()
        notice = f"{spec.name} fills {where_it_fits(rule)}: the {kind} layers keep torch_default's weights."
        return Assignment(layer.weight, layer, fallback, notice)
    return Assignment(layer.weight, layer, fallback)


def _bias(scheme: Scheme, layer: Layer) -> Assignment:
    assert layer.bias is not None
    for part in [*_globs_for(scheme, layer.bias), "bias", *_parts_for(layer)]:
        filler = scheme.fillers.get(part)
        filling = filler.base if isinstance(filler, Procedure) else filler
        if isinstance(filling, Preset) and filling.bias is not None:
            return Assignment(layer.bias, layer, filling.bias(layer), adjusted=filling is not filler)
        if filler is not None and (part == "bias" or part.startswith(GLOB)):
            if not isinstance(filler, Rule) or not filler.fits(1):
                raise UsageError(f"'{part}={dict(scheme.parts)[part]}' cannot fill the bias '{layer.bias}'.")
            return Assignment(layer.bias, layer, filler)
    return Assignment(layer.bias, layer, zeros(), adjusted=scheme.procedure is not None)


def _require_branches(scheme: Scheme, layers: list[Layer]) -> None:
    branches = [layer.branch for layer in layers if layer.branch]
    without_scale = next((f"the branch of '{branch.name}'" for branch in branches if not branch.scales), "")
    for part, spec in scheme.parts:
        filler = scheme.fillers[part]
        written = str(spec) if part == "weight" else f"{part}={spec}"
        if not branches and (part == "last" or (isinstance(filler, Preset) and filler.branches)):
            raise UsageError(
                f"'{written}' needs residual branches, and this model declares none: use a resnet, or give your own "
                "blocks a method residual_branch."
            )
        if isinstance(filler, Procedure) and filler.scales and (without_scale or not branches):
            raise UsageError(
                f"'{written}' sets the scales of residual branches, and {without_scale or 'this model'} declares none: "
                "use resnet(branch_scale=True), or name the parameter in your own blocks' residual_branch."
            )


def _require_some_fit(scheme: Scheme, assignments: list[Assignment]) -> None:
    weights = [item for item in assignments if not item.is_bias]
    if weights and all(item.notice for item in weights):
        raise UsageError(f"The scheme '{scheme}' fits no layer of this model: {weights[0].notice}")


def _require_matches(scheme: Scheme, parameters: list[str], others: Mapping[str, str]) -> None:
    for part in scheme.fillers:
        if not part.startswith(GLOB) or any(_matches(name, part) for name in parameters):
            continue
        found = [f"{name} ({kind})" for name, kind in others.items() if _matches(name, part)]
        if found:
            raise UsageError(
                f"'{part}' matches only parameters that exist but that no scheme fills: {', '.join(found)}. "
                "Schemes fill the weights and biases of Linear and convolution layers."
            )
        raise UsageError(f"'{part}' matches no parameter of this model (schemes fill {', '.join(parameters)}).")
