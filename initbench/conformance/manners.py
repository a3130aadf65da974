"""Manners: what a scheme fills it fills all of, and what is not its own it leaves alone."""

import torch

from initbench.conformance.evidence import PRIORS, SKIP, Evidence, Found, filled_model, found, gap, values_of
from initbench.conformance.specimens import REORDERINGS
from initbench.errors import UsageError


def says_what_it_cannot_fill(evidence: Evidence) -> Found:
    """Every tensor is filled, or a notice or a UsageError says why not."""
    faults = [f"on '{name}' it raises {error}" for name, error in evidence.raised.items()]
    for case in evidence.cases:
        first, second = case.after.values, case.again
        for item in case.assignments:
            kept = (first[item.parameter] == PRIORS[0]) & (second[item.parameter] == PRIORS[1])
            if bool(kept.any()) and not item.notice:
                some = "all" if bool(kept.all()) else "some"
                faults.append(f"{case.at(item.parameter)} is left as it was ({some} entries), and nothing says so")
    notices = {
        text: case
        for case in evidence.cases
        for text in (*case.warned, *(item.notice for item in case.assignments if item.notice))
    }
    filled = f"{sum(len(case.assignments) for case in evidence.cases)} tensors of {len(evidence.cases)} models filled"
    noted = [f"a notice on '{case.specimen.name}': {notice}" for notice, case in notices.items()]
    refused = [f"refuses '{name}': {text}" for name, text in evidence.refusals.items()]
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return found(faults, "; ".join([filled, *noted[:1], *refused[:1]]) + more)


def keeps_form(evidence: Evidence) -> Found:
    """Each parameter stays the same object, of the same shape, dtype and device."""
    words = ("shape", "dtype", "device", "requires_grad")
    faults = []
    for case in evidence.cases:
        for name, (identity, *form) in case.before.forms.items():
            if name not in case.after.forms:
                faults.append(f"{case.at(name)} is gone")
                continue
            identity_now, *form_now = case.after.forms[name]
            changes = [
                f"{word} was {old} and is {new}"
                for word, old, new in zip(words, form, form_now, strict=True)
                if old != new
            ]
            changes += [] if identity == identity_now else ["it is another Parameter object now"]
            faults += [f"{case.at(name)}: {', '.join(changes)}"] if changes else []
    return found(faults, f"{sum(len(case.after.forms) for case in evidence.cases)} tensors as they were")


def leaves_the_process_alone(evidence: Evidence) -> Found:
    """The global generators of torch, numpy and random, the default dtype, the thread count and autograd stay."""
    faults = [
        f"filling '{case.specimen.name}' changes {word}"
        for case in evidence.cases
        for word in case.before.process
        if case.before.process[word] != case.after.process[word]
    ]
    return found(faults, f"nothing drawn from torch, numpy or random in {len(evidence.cases)} models")


def ignores_other_layers(evidence: Evidence) -> Found:
    """Moving, renaming, resizing and adding layers changes no other layer's weights."""
    if evidence.subject.procedure:
        return SKIP, "a procedure looks at the whole model, so the other layers may count"
    faults, refused, kept = [], "", 0
    for pair in REORDERINGS:
        try:
            one, other = (values_of(filled_model(evidence.subject, s, seed=0)) for s in (pair.one, pair.other))
        except UsageError as error:
            refused = str(error)
            continue
        names = [f"{layer}.{tensor}" for layer in pair.kept for tensor in ("weight", "bias")]
        kept += len(names)
        faults += [
            f"{name} of the {pair.one.name} layers differs by {gap(one[name], other[name]):.3g} once others are moved"
            for name in names
            if not torch.equal(one[name], other[name])
        ]
    return found(faults, f"{kept} tensors keep their values") if kept else (SKIP, f"refused: {refused}")


def leaves_the_rest_alone(evidence: Evidence) -> Found:
    """Frozen, tied and integer parameters, embeddings, normalization layers and buffers stay."""
    faults, kept, tied = [], 0, 0
    for case in evidence.cases:
        before, after = case.before, case.after
        buffers = [name for name, form in before.forms.items() if form[-1] == "buffer"]
        for name in (*case.specimen.alone, *buffers):
            kept += 1
            if name in after.values and not torch.equal(before.values[name], after.values[name]):
                faults.append(f"{case.at(name)} changed by {gap(before.values[name], after.values[name]):.3g}")
        owners: dict[object, str] = {}
        for name, form in before.forms.items():
            owner = owners.setdefault(form[0], name)
            if owner == name:
                continue
            tied += 1
            if after.forms[name][0] != after.forms[owner][0]:
                faults.append(f"{case.at(name)} was tied to {owner} and is not any more")
    return found(faults, f"{kept} tensors untouched, {tied} ties kept")


def leaves_surroundings_alone(evidence: Evidence) -> Found:
    """Training mode, hooks, gradients and attributes of every module stay, and no file is written."""
    faults = []
    for case in evidence.cases:
        for word, was in case.before.surroundings.items():
            now = case.after.surroundings.get(word)
            if now != was:
                changed = _changes(was, now) if isinstance(was, frozenset) else f"{was} before, {now} after"
                faults.append(f"{word} on '{case.specimen.name}': {changed}")
        faults += [f"it wrote {name} into the working directory" for name in case.files]
    return found(faults, "mode, hooks, gradients and attributes of every module as they were; no file written")


def _changes(was: frozenset[str], now: object) -> str:
    names = now if isinstance(now, frozenset) else frozenset[str]()
    return f"gained {', '.join(sorted(names - was)) or 'none'}, lost {', '.join(sorted(was - names)) or 'none'}"
