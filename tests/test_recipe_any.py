"""Whatever a recipe file holds, it is a recipe or sentences with place, value and remedy; specs of any values too."""

import datetime as dt
import json
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from long_form import examples

from initbench.errors import ConfigurationError, InitbenchError
from initbench.networks.models import MODELS
from initbench.records.draft import check, merge, read_toml
from initbench.records.manifest import Manifest
from initbench.records.recipe import Recipe
from initbench.running.plan import plan_study
from initbench.schemes import SCHEMES, parse_scheme
from initbench.training.optimizers import OPTIMIZERS

KEYS = list(Recipe.model_fields)
huge = st.sampled_from([2**63, -(2**63), 10**400, 0, -1])
scalars = st.sampled_from(
    [True, False, 0, -1, 3, 10**400, 0.5, -0.0, 1e300, float("nan"), float("inf"), "", "kaiming", "tune", "init,order",
     "auto", "digits", "1", "\0", "\x1b[31m", "x" * 5000, dt.date(1, 1, 1), dt.time(1),
     dt.datetime(1, 1, 1, tzinfo=dt.UTC)]
)  # fmt: skip
flat = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(st.sampled_from(["a", "model"]), scalars))
claims = st.fixed_dictionaries({}, optional=dict.fromkeys(["text", "metric", "better", "than", "where", "no"], flat))
values = st.one_of(flat, st.lists(flat, max_size=2), claims, st.lists(claims, max_size=2))
tables = st.dictionaries(st.sampled_from([*KEYS, "kaiming", "", "\x1b[31m", "k" * 500]), values, max_size=4)


@examples(120)
@given(tables)
def test_any_table_is_a_recipe_or_mistakes_with_their_places(table):
    draft = merge([("default", Recipe().model_dump()), ("r.toml", table)])
    recipe, mistakes = check(draft)
    assert bool(mistakes) or recipe is not None
    for mistake in mistakes:
        assert str(mistake).startswith(("r.toml: ", "--"))
        assert len(str(mistake)) < 1000
    if recipe is not None:
        again = json.loads(json.dumps(recipe.model_dump(mode="json"), allow_nan=False))
        assert check(merge([("x", again)]))[0] == recipe


tokens = st.sampled_from(
    ["seeds", "lr", " = ", "[", "]", "{", "}", "[[", "]]", "\n", '"', "'", '"""', "\\u001b", "#", ".", ",", "0x", "_",
     "1", "1e9", "nan", "inf", "true", "1979-05-27T07:32:00Z", "é", "\0", "[[claims]]\n", "9" * 5000, "[" * 3000]
)  # fmt: skip


@examples(100)
@given(st.lists(tokens, max_size=14).map("".join))
@example("lr = " + "[" * 3000)
@example("steps = " + "9" * 5000)
def test_any_text_is_a_table_or_one_sentence_with_the_file(tmp_path, text):
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    try:
        assert isinstance(read_toml(path), dict)
    except ConfigurationError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is right
        assert "is not valid TOML" in str(error)  # noqa: PT017 - likewise


# Small numbers only: a network of a thousand million layers is what it says.
odd = st.sampled_from([None, True, "relu", "fan_out", "tanh", 1e300, float("inf"), [], [0, -1], (1, 2)])
arguments = st.one_of(st.integers(-2, 9), st.floats(-2, 2), st.text(string.printable, max_size=5), odd)


def specs(registry):
    """Draw texts of the grammar: names that exist, with parameters that they have, and any values."""
    entries = st.sampled_from(sorted(registry))

    def of(name):
        keys = st.sampled_from([*registry.find(name).parameters, "nope"])
        return st.dictionaries(keys, arguments, max_size=3).map(
            lambda given: f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})"
        )

    return entries.flatmap(of) | st.text(string.printable, max_size=12)


@examples(120)
@given(st.lists(specs(SCHEMES), min_size=1, max_size=3), st.sampled_from(["", "conv=", "bias=", "name:*=", "first="]))
def test_a_scheme_of_any_values_is_one_or_our_error(parts, prefix):
    try:
        scheme = parse_scheme("; ".join([prefix + parts[0], *parts[1:]]))
    except InitbenchError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert str(parse_scheme(str(scheme))) == str(scheme)


@examples(30)
@given(
    scheme=specs(SCHEMES), model=specs(MODELS), optimizer=specs(OPTIMIZERS), lr=st.sampled_from([0.1, 1e-30, 1e30, 5])
)
def test_a_plan_of_any_values_is_laid_out_or_our_error(tmp_path, scheme, model, optimizer, lr):
    table = {"schemes": scheme, "model": model, "optimizer": optimizer, "lr": lr, "steps": 2, "seeds": 1}
    draft = merge([("default", Recipe().model_dump()), ("r.toml", table)])
    try:
        manifest = plan_study(draft, tmp_path).manifest()
    except InitbenchError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert Manifest.model_validate_json(json.dumps(manifest.model_dump(mode="json", by_alias=True))) == manifest


@pytest.mark.parametrize("length", [79, 80, 81, 5000])
def test_a_key_of_any_length_is_named_in_a_sentence(length):
    (mistake,) = check(merge([("r.toml", {"k" * length: 1})]))[1]
    assert "kkk" in str(mistake)
    assert len(str(mistake)) < 500


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["0x" + "f" * 5000, "[0x" + "f" * 5000 + "]", "{a = 0x" + "f" * 5000 + "}"])
def test_a_number_that_python_does_not_write_out_is_a_mistake(tmp_path, key, value):
    (tmp_path / "r.toml").write_text(f"{key} = {value}")
    table = read_toml(tmp_path / "r.toml")
    _, mistakes = check(merge([("r.toml", table)]))
    assert any(f"r.toml: {key}" in str(mistake) for mistake in mistakes)
