"""Checks that a scheme fills its tensors completely and changes nothing else."""

import torch

from initbench.conformance.observations import (
    PRIORS,
    SKIP,
    Finding,
    Observations,
    filled_model,
    finding,
    gap,
    values_of,
)
from initbench.conformance.small_models import REORDERINGS
from initbench.errors import UsageError


def says_what_it_cannot_fill(observations: Observations) -> Finding:
    """Every tensor is filled, or a notice or UsageError explains why not."""
    faults = [f"on '{name}' it raises {error}" for name, error in observations.raised.items()]
    for case in observations.cases:
        first, second = case.after.values, case.again
        for item in case.assignments:
            kept = (first[item.parameter] == PRIORS[0]) & (second[item.parameter] == PRIORS[1])
            if bool(kept.any()) and not item.notice:
                some = "all" if bool(kept.all()) else "some"
                faults.append(f"{case.label(item.parameter)} is left unchanged ({some} entries), without a notice")
    notices = {
        text: case
        for case in observations.cases
        for text in (*case.warned, *(item.notice for item in case.assignments if item.notice))
    }
    tensors = sum(len(case.assignments) for case in observations.cases)
    filled = f"{tensors} tensors of {len(observations.cases)} models filled"
    noted = [f"a notice on '{case.model.name}': {notice}" for notice, case in notices.items()]
    refused = [f"refuses '{name}': {text}" for name, text in observations.refusals.items()]
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return finding(faults, "; ".join([filled, *noted[:1], *refused[:1]]) + more)


def keeps_form(observations: Observations) -> Finding:
    """Each parameter remains the same object, with the same shape, dtype and device."""
    words = ("shape", "dtype", "device", "requires_grad")
    faults = []
    for case in observations.cases:
        for name, (identity, *form) in case.before.forms.items():
            if name not in case.after.forms:
                faults.append(f"{case.label(name)} no longer exists")
                continue
            identity_now, *form_now = case.after.forms[name]
            changes = [
                f"{word} was {old} and is {new}"
                for word, old, new in zip(words, form, form_now, strict=True)
                if old != new
            ]
            changes += [] if identity == identity_now else ["it is now another Parameter object"]
            faults += [f"{case.label(name)}: {', '.join(changes)}"] if changes else []
    return finding(faults, f"{sum(len(case.after.forms) for case in observations.cases)} tensors unchanged")


def leaves_the_process_alone(observations: Observations) -> Finding:
    """The global generators, the default dtype, the thread count and the autograd mode do not change."""
    faults = [
        f"filling '{case.model.name}' changes {word}"
        for case in observations.cases
        for word in case.before.process
        if case.before.process[word] != case.after.process[word]
    ]
    return finding(faults, f"torch, numpy and random unchanged in {len(observations.cases)} models")


def ignores_other_layers(observations: Observations) -> Finding:
    """Moving, renaming, resizing or adding layers does not change the weights of the others."""
    if observations.subject.procedure:
        return SKIP, "a procedure may use the whole model, so other layers may have an effect"
    faults, refused, kept = [], "", 0
    for pair in REORDERINGS:
        try:
            one, other = (values_of(filled_model(observations.subject, s, seed=0)) for s in (pair.one, pair.other))
        except UsageError as error:
            refused = str(error)
            continue
        names = [f"{layer}.{tensor}" for layer in pair.kept for tensor in ("weight", "bias")]
        kept += len(names)
        faults += [
            f"{name} of the {pair.one.name} layers differs by {gap(one[name], other[name]):.3g} after others are moved"
            for name in names
            if not torch.equal(one[name], other[name])
        ]
    return finding(faults, f"{kept} tensors keep their values") if kept else (SKIP, f"refused: {refused}")


def leaves_the_rest_alone(observations: Observations) -> Finding:
    """Frozen and integer parameters, ties, embeddings, normalization layers and buffers do not change."""
    faults, kept, tied = [], 0, 0
    for case in observations.cases:
        before, after = case.before, case.after
        buffers = [name for name, form in before.forms.items() if form[-1] == "buffer"]
        for name in (*case.model.alone, *buffers):
            kept += 1
            if name in after.values and not torch.equal(before.values[name], after.values[name]):
                faults.append(f"{case.label(name)} changed by {gap(before.values[name], after.values[name]):.3g}")
        owners: dict[object, str] = {}
        for name, form in before.forms.items():
            owner = owners.setdefault(form[0], name)
            if owner == name:
                continue
            tied += 1
            if after.forms[name][0] != after.forms[owner][0]:
                faults.append(f"{case.label(name)} is no longer tied to {owner}")
    return finding(faults, f"{kept} tensors unchanged, {tied} ties kept")


def leaves_surroundings_alone(observations: Observations) -> Finding:
    """Training mode, hooks, gradients and attributes of modules do not change, and no file is written."""
    faults = []
    for case in observations.cases:
        for word, was in case.before.surroundings.items():
            now = case.after.surroundings.get(word)
            if now != was:
                changed = _changes(was, now) if isinstance(was, frozenset) else f"{was} before, {now} after"
                faults.append(f"{word} on '{case.model.name}': {changed}")
        faults += [f"it wrote {name} to the working directory" for name in case.files]
    return finding(faults, "mode, hooks, gradients and attributes of all modules unchanged; no file written")


def _changes(was: frozenset[str], now: object) -> str:
    names = now if isinstance(now, frozenset) else frozenset[str]()
    return f"gained {', '.join(sorted(names - was)) or 'none'}, lost {', '.join(sorted(was - names)) or 'none'}"
