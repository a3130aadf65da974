"""Whose each part of a figure is, what fits where, and in which sizes and formats figures are written."""

import re
import xml.etree.ElementTree as ET

import pytest
from analysis_data import LN_10, a_comparison, a_curve, a_layer, a_trial, diverged, finished

from initbench.analysis.figures import looks_of, pictures

OWNED = re.compile(r"scheme(\d+)(\.seed(\d+))?\..+")


def a_grid(schemes, *, lrs=(0.05,), datasets=("digits",), seeds=3):
    """Schemes that learn, one that is slow, one that diverges where it is alone in doing so."""
    records = []
    for dataset in datasets:
        for lr in lrs:
            for place, scheme in enumerate(schemes):
                trials = [a_trial(scheme, seed, lr=lr, dataset=dataset) for seed in range(seeds)]
                reach = [0.1 + 0.85 * (place + 1) / len(schemes) * i / 9 for i in range(10)]
                layers = (a_layer(0, 0.0), a_layer(1, None), a_layer(2, 0.5, predicted=0.6))
                records += [
                    finished(t, val=reach[-1], test=reach[-1] - t.seed / 50, curve=a_curve(reach), layers=layers)
                    for t in trials
                ]
            records.append(diverged(a_trial(schemes[0], seeds, lr=lr, dataset=dataset)))
    return a_comparison(records, baseline=schemes[0])


def ids_of(picture):
    return [node.get("id") for node in ET.fromstring(picture.svg).iter() if node.get("id")]  # noqa: S314 - ours


@pytest.fixture(scope="module")
def drawn():
    return list(pictures(a_grid(("a", "b", "torch_default"), lrs=(0.01, 0.1))))


def test_everything_of_a_scheme_says_whose_it_is(drawn):
    for picture in drawn:
        ids = ids_of(picture)
        assert len(ids) == len(set(ids)), picture.name
        owners = [match for match in map(OWNED.fullmatch, ids) if match]
        assert {int(match[1]) for match in owners} == {0, 1, 2}, picture.name
        labels = {int(match[1]) for match in owners if ".label" in match[0]}
        assert labels == {0, 1, 2}, picture.name


def test_what_is_drawn_in_the_colour_of_a_scheme_is_its_own(drawn):
    comparison = a_grid(("a", "b", "torch_default"))
    coloured = {look.colour.lower(): str(look.index) for look in looks_of(comparison).values() if look.index}
    for picture in drawn:
        parents = {child: parent for parent in ET.fromstring(picture.svg).iter() for child in parent}  # noqa: S314
        for node in parents:
            for colour in coloured.keys() & set(re.findall("#[0-9a-f]{6}", node.get("style", ""))):
                whose = {match[1] for up in above(node, parents) if (match := OWNED.fullmatch(up.get("id", "")))}
                assert whose == {coloured[colour]}, (picture.name, node.tag)


def above(node, parents):
    while node is not None:
        yield node
        node = parents.get(node)


@pytest.mark.parametrize("name", ["loss", "accuracy", "steps_to_target", "final_accuracy"])
def test_every_seed_has_an_id_of_its_own(name):
    (picture,) = [picture for picture in pictures(a_grid(("a", "b", "torch_default"))) if picture.name == name]
    seeds = {(int(m[1]), int(m[3])) for m in map(OWNED.fullmatch, ids_of(picture)) if m and m[3]}
    assert seeds >= {(scheme, seed) for scheme in range(3) for seed in range(3)}


def test_where_the_loss_is_logarithmic_there_is_a_linear_twin():
    high = a_comparison([finished(a_trial(), curve=a_curve([0.1, 0.99], start=LN_10))])
    scales = {p.name: p.figure.axes[0].get_yscale() for p in pictures(high) if p.name.startswith("loss")}
    assert scales == {"loss": "log", "loss_linear": "linear"}
    flat = a_comparison([finished(a_trial(), curve=a_curve([0.1, 0.5]))])
    scales = {p.name: p.figure.axes[0].get_yscale() for p in pictures(flat) if p.name.startswith("loss")}
    assert scales == {"loss": "linear"}
