"""The trainable tensors of a model that no scheme fills: named, with their share."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn

from initbench.networks.blocks import RMSNorm2d
from initbench.networks.wrappers import modules_of, parameters_of

NAMED = 3  # tensors of a kind that a sentence names
BATCH_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
INSTANCE_NORMS = nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d
KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "recurrent": (nn.RNNBase, nn.RNNCellBase),
    "attention": (nn.MultiheadAttention,),
    "embedding": (nn.Embedding, nn.EmbeddingBag),
    "normalization": (*BATCH_NORMS, *INSTANCE_NORMS, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, RMSNorm2d),
}


@dataclass(frozen=True)
class Unfilled:
    """A parameter that no scheme fills: its kind (recurrent, attention, parametrized, frozen …) and its entries."""

    name: str
    kind: str
    entries: int


def unfilled(model: nn.Module, filled: Collection[str]) -> list[Unfilled]:
    """List the parameters of a model but for the filled ones."""
    parameters = parameters_of(model, aliases=True)
    tensors = {id(parameters[name]) for name in filled}
    kinds = _kinds(model)
    return [
        Unfilled(name, kinds.get(name, "other") if p.requires_grad else "frozen", p.numel())
        for name, p in parameters_of(model).items()
        if id(p) not in tensors and not isinstance(p, nn.UninitializedParameter)
    ]


def coverage_notice(model: nn.Module, filled: Collection[str]) -> str:
    """Return a sentence on the share of a model that no scheme fills; empty if that is normalization and scalars."""
    left = [item for item in unfilled(model, filled) if item.kind != "frozen"]
    if all(item.kind == "normalization" or item.entries == 1 for item in left):
        return ""
    total = sum(p.numel() for p in parameters_of(model).values() if p.requires_grad)
    shares = {kind: sum(item.entries for item in left if item.kind == kind) for kind in {item.kind for item in left}}
    kinds = sorted(shares, key=lambda kind: -shares[kind])
    named = "; ".join(f"{kind} {_listed(left, kind)}, {_share(shares[kind], total)}" for kind in kinds)
    parameters = parameters_of(model)
    broken = [item.name for item in left if not _is_finite(parameters[item.name])]
    said = f" {broken[0]} is not finite, as memory that nothing was written to (torch.empty) can be." if broken else ""
    return (
        f"no scheme fills {_share(sum(shares.values()), total)} of the trainable parameters; they keep the values that "
        f"the model is built with ({named}).{said}"
    )


def _is_finite(parameter: nn.Parameter) -> bool:
    return parameter.is_meta or bool(parameter.isfinite().all())


def why_no_layers(model: nn.Module) -> str:
    """Return what the parameters of a model without a layer to fill are; empty if it has none."""
    left = unfilled(model, ())
    kinds = dict.fromkeys(item.kind for item in left)
    return "; ".join(f"{kind} {_listed(left, kind)}" for kind in kinds)


def _kinds(model: nn.Module) -> dict[str, str]:
    """Return the kind of each parameter by name, where it is known."""
    found: dict[str, str] = {}
    for prefix, module in modules_of(model).items():
        kind = next((kind for kind, types in KINDS.items() if isinstance(module, types)), "")
        computed = _computes_weight(module)
        for name, _ in module.named_parameters(recurse=False):
            place = f"{prefix}.{name}" if prefix else name
            parametrized = ".parametrizations." in f".{place}" or computed
            if parametrized or kind:
                found[place] = "parametrized" if parametrized else kind
    return found


def _computes_weight(module: nn.Module) -> bool:
    """Whether a module that has a weight does not store it as a parameter, as weight_norm and spectral_norm do."""
    own = dict(module.named_parameters(recurse=False))
    return hasattr(module, "weight") and "weight" not in own and bool(own)


def _listed(items: Sequence[Unfilled], kind: str) -> str:
    names = [item.name for item in items if item.kind == kind]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _share(part: int, total: int) -> str:
    share = part / max(1, total)
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"
