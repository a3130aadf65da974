"""Recipes, trials and the grammar, as units: what overrides what, what is refused, what identifies a trial."""

import ast
import builtins
import contextlib
import keyword
import os
import string

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from initbench.cli import app
from initbench.cli.axes import FLAGS
from initbench.core.spec import Spec, outside_brackets, parse, split_outside_brackets
from initbench.errors import ConfigurationError, UsageError
from initbench.records.axes import FILE_ONLY, axes
from initbench.records.draft import Draft, check, flag_of, merge, read_toml
from initbench.records.recipe import DEFAULT_SCHEMES, Recipe, Trial
from initbench.running.plan import draft_of

KEYS = list(Recipe.model_fields)
TRIAL = {
    "model": "mlp(depth=8, width=64, activation='relu')",
    "dataset": "digits",
    "fingerprint": "f00d",
    "scheme": "kaiming_uniform",
    "optimizer": "sgd",
    "lr": 0.05,
    "batch_size": 64,
    "steps": 200,
    "seed": 3,
}
OTHERS = {
    "model": "linear",
    "dataset": "mnist",
    "fingerprint": "f00e",
    "scheme": "kaiming_normal",
    "optimizer": "adam",
    "lr": 0.050000000000000003 * 2,
    "batch_size": 65,
    "steps": 201,
    "seed": 4,
    "order_seed": 5,
    "evaluations": 31,
    "precision": "bfloat16",
    "device": "cuda",
    "code": (("mine.py:init", "f00e"),),
    "draws": 1,
    "revision": 1,
    "traced": 1,
}


def draft(origin="r.toml", **values):
    return merge([("default", Recipe().model_dump()), (origin, values)])


def mistakes(origin="r.toml", **values):
    return [str(mistake) for mistake in check(draft(origin, **values))[1]]


# --- what overrides what ---------------------------------------------------------------------------------------------

layers_of_values = st.lists(
    st.dictionaries(st.sampled_from([key for key in KEYS if key not in {"epochs", "steps"}]), st.integers()), max_size=4
)


@given(layers_of_values)
def test_the_uppermost_layer_that_has_a_key_decides_its_value_and_origin(layers):
    merged = merge([(f"layer{number}", layer) for number, layer in enumerate(layers)])
    for key in {key for layer in layers for key in layer}:
        top = max(number for number, layer in enumerate(layers) if key in layer)
        assert merged.values[key] == layers[top][key]
        assert merged.origins[key] == f"layer{top}"
    assert merged.values.keys() == merged.origins.keys() == {key for layer in layers for key in layer}


@given(layers_of_values)
def test_merging_changes_none_of_its_layers(layers):
    before = [dict(layer) for layer in layers]
    merge([("x", layer) for layer in layers])
    assert layers == before


def test_flags_lie_over_the_recipe_and_the_recipe_over_the_defaults():
    merged = merge(
        [
            ("default", Recipe().model_dump()),
            ("r.toml", {"lr": 0.1, "seeds": 3}),
            ("--", {"seeds": 5, "schemes": ["zeros"], "batch_size": 8}),
        ]
    )
    recipe, wrong = check(merged)
    assert wrong == []
    assert (recipe.lr, recipe.seeds, recipe.schemes, recipe.batch_size) == ((0.1,), (0, 1, 2, 3, 4), ("zeros",), (8,))
    assert recipe.model == Recipe().model
    assert merged.origins["lr"] == "r.toml"
    assert merged.origins["seeds"] == "--seeds"
    assert merged.origins["schemes"] == "--scheme"
    assert merged.origins["batch_size"] == "--batch-size"
    assert merged.origins["model"] == "default"


durations = st.sampled_from([{}, {"epochs": 3}, {"steps": 7}, {"epochs": 4, "steps": 9}])


@given(st.lists(durations, max_size=4))
def test_epochs_and_steps_are_either_or_and_the_upper_layer_decides_which(layers):
    merged = merge([("default", Recipe().model_dump()), *((f"l{i}", layer) for i, layer in enumerate(layers))])
    top = next((layer for layer in reversed(layers) if layer), {"epochs": 20})
    recipe, wrong = check(merged)
    assert bool(wrong) == (len(top) == 2)
    if not wrong:
        assert (recipe.epochs, recipe.steps) == (top.get("epochs"), top.get("steps"))


@pytest.mark.parametrize(("origin", "place"), [("--", "--steps"), ("r.toml", "r.toml: steps")])
def test_both_epochs_and_steps_in_one_layer_are_a_mistake_with_its_place(origin, place):
    (line,) = mistakes(origin, epochs=1, steps=2)
    assert line.startswith(place)
    assert "not both" in line


def test_every_key_of_a_recipe_has_a_flag_but_those_that_only_a_file_holds():
    program = typer.main.get_command(app)
    _, command, _ = program.resolve_command(typer.Context(program), ["compare"])
    options = {option.name: option for option in command.params}
    assert set(KEYS) - FILE_ONLY == set(axes()) == set(FLAGS)
    for key, axis in axes().items():
        assert flag_of(key) in options[key].opts
        assert options[key].help.startswith(Recipe.model_fields[key].description)
        assert axis.default in options[key].help
        assert options[key].metavar


# --- values ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 2000))
def test_a_count_of_seeds_is_the_list_from_0(count):
    assert Recipe(seeds=count).seeds == Recipe(seeds=list(range(count))).seeds == tuple(range(count))


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5))
def test_a_list_of_seeds_is_taken_in_its_order_each_once(seeds):
    assert Recipe(seeds=seeds).seeds == tuple(dict.fromkeys(seeds))


@pytest.mark.parametrize("seeds", [0, -1, True, False, 1.5, "3", [], [0.5], [-1], [2**63], [True], None, [[1]]])
def test_what_is_neither_a_count_nor_a_list_of_seeds_is_refused(seeds):
    assert [line for line in mistakes(seeds=seeds) if line.startswith("r.toml: seeds")]


@pytest.mark.parametrize(("key", "value"), [("schemes", "zeros"), ("model", "linear"), ("lr", 0.1), ("lr", 1)])
def test_an_axis_may_be_one_value_or_a_list(key, value):
    assert getattr(Recipe(**{key: value}), key) == getattr(Recipe(**{key: [value]}), key) == (value,)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", "0.1"),
        ("lr", True),
        ("lr", 0),
        ("lr", -0.1),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", []),
        ("batch_size", 0),
        ("batch_size", 6.5),
        ("batch_size", 64.0),
        ("batch_size", "64"),
        ("steps", 0),
        ("steps", True),
        ("epochs", 0),
        ("epochs", -1),
        ("epochs", float("inf")),
        ("target", 0),
        ("target", 1),
        ("target", float("nan")),
        ("device", "gpu"),
        ("device", "CPU"),
        ("schemes", []),
        ("schemes", [""]),
        ("schemes", ["  "]),
        ("schemes", 3),
        ("model", [None]),
        ("baseline", ["zeros"]),
        ("name", "../x"),
        ("name", "trials"),
        ("name", ""),
        ("name", ".x"),
        ("name", "x\n"),
        ("name", "x" * 65),
        ("question", 1),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_one_mistake_with_place_and_value(key, value):
    (line,) = mistakes(**{key: value})
    assert line.startswith(f"r.toml: {key}")
    assert repr(value) in line or repr(value[0] if isinstance(value, list) and value else value) in line


@given(st.text(st.characters(categories=["L", "N", "P", "Z", "C"]), max_size=70))
@example("con\x00")
@example("a/b")
@example("..")
def test_a_name_that_is_accepted_is_one_visible_folder_below_its_parent(name):
    if mistakes(name=name):
        return
    assert name == os.path.basename(name)  # noqa: PTH119 - the law is about text
    assert name.isascii()
    assert name.isprintable()
    assert not name.startswith((".", "-"))
    assert 0 < len(name) <= 64
    assert name != "trials"


@given(st.dictionaries(st.text(string.ascii_lowercase, min_size=3, max_size=8), st.integers(), min_size=1, max_size=5))
def test_every_unknown_key_is_named(values):
    unknown = values.keys() - set(KEYS)
    lines = mistakes(**values)
    for key in unknown:
        assert any(f"unknown key '{key}'" in line and line.startswith(f"r.toml: {key}") for line in lines)


def test_every_mistake_is_named_at_once_each_with_its_own_place():
    merged = merge(
        [
            ("default", Recipe().model_dump()),
            ("r.toml", {"modle": "linear", "lr": [0.1, "fast"], "target": 3, "epochs": 1, "steps": 2}),
            ("--", {"batch_size": 0}),
        ]
    )
    lines = [str(mistake) for mistake in check(merged)[1]]
    starts = ("r.toml: modle", "r.toml: lr[1]", "r.toml: target", "r.toml: steps", "--batch-size")
    assert len(lines) == len(starts)
    for start in starts:
        assert sum(line.startswith(start) for line in lines) == 1
    assert any("did you mean 'model'" in line for line in lines)
    assert any("'fast'" in line for line in lines)


def test_the_defaults_hold():
    recipe, wrong = check(draft())
    assert wrong == []
    assert recipe == Recipe()
    assert recipe.schemes == DEFAULT_SCHEMES


def test_a_recipe_is_frozen():
    with pytest.raises(ValidationError):
        Recipe().lr = (1.0,)


def test_the_origin_of_a_value_that_nobody_gave_is_the_default():
    assert str(Draft({}, {}).mistake("lr", "too small.")) == "--lr: too small."


# --- recipe files ----------------------------------------------------------------------------------------------------


def test_a_recipe_file_is_read_as_it_stands(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('question = "Größer?"\nlr = [0.1, 1]\nunknown = true\n', encoding="utf-8")
    assert read_toml(path) == {"question": "Größer?", "lr": [0.1, 1], "unknown": True}


@given(content=st.binary(max_size=60))
@example(b"a = 1\na = 2\n")
@example(b"\xef\xbb\xbfa = 1\n")
def test_any_bytes_are_a_recipe_or_one_sentence_with_the_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("recipe") / "r.toml"
    path.write_bytes(content)
    try:
        assert isinstance(read_toml(path), dict)
    except ConfigurationError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is right
        assert "TOML" in str(error)  # noqa: PT017


def test_an_absent_recipe_is_named_with_the_nearest_one(tmp_path):
    (tmp_path / "depth.toml").write_text("")
    with pytest.raises(ConfigurationError, match=r"detph\.toml.*did you mean .*depth\.toml"):
        read_toml(tmp_path / "detph.toml")


# --- trials ----------------------------------------------------------------------------------------------------------


def test_the_id_of_a_trial_is_what_it_always_was():
    # Were this to change, every stored trial would be trained anew: raise TRIAL_FORMAT on purpose, or put it back.
    assert Trial(**TRIAL).id == "23703dace9fa755ad678"


def test_defaults_written_out_are_the_same_trial():
    assert Trial(**TRIAL, evaluations=30, precision="float32", device="cpu").id == Trial(**TRIAL).id


def test_where_weights_were_revised_the_id_is_another():
    assert Trial(**TRIAL, revision=None).id == Trial(**TRIAL).id
    assert Trial(**TRIAL, revision=1).id == "78e6348200563cb29762"


def test_a_trial_survives_json_with_its_id():
    trial = Trial(**TRIAL)
    assert Trial.model_validate_json(trial.model_dump_json()) == trial
    assert Trial.model_validate_json(trial.model_dump_json()).id == trial.id


@pytest.mark.parametrize("deep", [False, True])
def test_a_changed_copy_of_a_trial_has_an_id_of_its_own(deep):
    trial = Trial(**TRIAL)
    before = trial.id  # which a trial keeps
    changed = trial.model_copy(update={"seed": 7}, deep=deep)
    assert changed.id == Trial(**TRIAL | {"seed": 7}).id != before == trial.id
    assert (trial.model_dump(), trial) == (Trial(**TRIAL).model_dump(), Trial(**TRIAL))


def test_the_table_of_other_values_covers_every_field():
    assert set(OTHERS) == set(Trial.model_fields)


@pytest.mark.parametrize("field", OTHERS)
def test_a_trial_with_any_field_changed_is_another_trial(field):
    assert Trial(**TRIAL | {field: OTHERS[field]}).id != Trial(**TRIAL).id


@given(st.floats(1e-12, 1e3), st.floats(1e-12, 1e3), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_trials_have_one_id_exactly_when_they_are_equal(lr, other_lr, seed, other_seed):
    one = Trial(**TRIAL | {"lr": lr, "seed": seed})
    other = Trial(**TRIAL | {"lr": other_lr, "seed": other_seed})
    assert (one.id == other.id) == (one == other)
    assert len(one.id) == 20
    assert set(one.id) <= set(string.hexdigits.lower())


# --- the grammar -----------------------------------------------------------------------------------------------------

names = st.from_regex(r"[a-z_][a-z0-9_]{0,12}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)
literals = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner), max_leaves=5)
specs = st.builds(Spec, names, st.lists(literals, max_size=3).map(tuple), st.dictionaries(names, literals, max_size=3))


@given(specs)
@example(Spec("constant", (-0.0,), {"b": -1e-300}))
@example(Spec("f", ("'\"\\\n;=(",), {}))
@example(Spec("f", (), {"a": [(), [], {}]}))
def test_a_spec_prints_to_the_text_that_parses_back_to_it(spec):
    assert parse(str(spec)) == spec
    assert repr(parse(str(spec))) == repr(spec)


@given(specs)
def test_blanks_around_a_spec_mean_nothing(spec):
    assert parse(f"  {spec}\t") == spec


@given(st.text(max_size=60))
@example("f(*a)")
@example("f(**{'a': 1})")
@example("f(a=1, a=2)")
@example("f(1)(2)")
@example("f.g(1)")
@example("f[0]")
@example("lambda: 0")
@example("(yield)")
@example("f(\x00)")
@example("\ud800")
@example("f('\ud800')")
@example("f(9**9**9)")
@example("f(" * 300 + ")" * 300)
@example("f(" + "[" * 150 + "]" * 150 + ")")
@example("9" * 5000)
@example("f(" + "9" * 5000 + ")")
@example("f({[]: 1})")
@example("f({[]})")
@example("None")
@example("f('\\d')")
@example("1if 1else 1")
def test_any_text_is_a_spec_or_a_usage_error(text):
    try:
        spec = parse(text)
    except UsageError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert spec.name.isidentifier()
        assert repr(parse(str(spec))) == repr(spec)


@pytest.mark.parametrize("text", ["f(" + "-" * 1000 + "1)", "f(" + "not " * 1000 + "1)"], ids=["minus", "not"])
def test_a_text_too_deep_to_read_is_a_usage_error_too(text):
    with pytest.raises(UsageError):
        parse(text)


calls = st.sampled_from(["touch()", "touch", "f(touch())", "f(a=touch())", "f([touch()])", "f(x for x in touch())",
                         "f((y := touch()))", "f(f'{touch()}')", "f(touch() or 1)", "f(1 if touch() else 2)",
                         "f(__import__('os').getpid())", "f(open('x', 'w'))", "f(a=().__class__)"])  # fmt: skip


@given(calls)
def test_nothing_in_a_text_is_ever_evaluated(text):
    called = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "touch", lambda: called.append(1), raising=False)
        patch.setattr(builtins, "eval", lambda *_: called.append(2))
        with contextlib.suppress(UsageError):
            parse(text)
    assert called == []


@pytest.mark.parametrize("text", ["f(x)", "f(g(1))", "f(a=x)", "f(1 + x)", "f('a' 'b' + c)", "f(x for x in y)",
                                  "f(1e999)", "f([-1e999])", "f(...)", "f({1})", "f(a=[{'x'}])",
                                  f"f(0x{'f' * 5000})"])  # fmt: skip
def test_what_is_no_literal_is_named(text):
    with pytest.raises(UsageError, match="not a literal"):
        parse(text)


def test_a_bare_word_where_a_quoted_one_belongs_is_shown_quoted():
    with pytest.raises(UsageError, match="such as 'fan_out'"):
        parse("kaiming(mode=fan_out)")


@given(st.lists(specs, min_size=1, max_size=4))
def test_a_text_is_cut_at_separators_outside_brackets_and_quotes_only(parts):
    simple = [part for part in parts if "\\" not in str(part)] or [Spec("a")]
    assert split_outside_brackets(";".join(map(str, simple)), ";") == [str(part) for part in simple]


def test_positions_outside_brackets_and_quotes_are_yielded_with_their_characters():
    text = "f(a<b)['<'] < \"(<\"; g"
    outside = list(outside_brackets(text))
    assert [place for place, char in outside if char == "<"] == [12]
    assert all(text[place] == char for place, char in outside)


@given(st.text("ab;='\"()[]{}", max_size=30))
def test_cutting_loses_nothing(text):
    assert ";".join(split_outside_brackets(text, ";")) == text


@given(literals)
def test_literals_come_back_as_python_reads_them(value):
    (back,) = parse(f"f({value!r})").args
    assert back == ast.literal_eval(repr(value))
    assert type(back) is type(value)


@pytest.mark.parametrize(("stem", "name"), [("with space", "with-space"), (".hidden", "hidden"), ("§§", "recipe")])
def test_a_recipe_file_of_any_name_gives_its_folder_a_name(tmp_path, stem, name):
    path = tmp_path / f"{stem}.toml"
    path.write_text('model = "linear"\n')
    assert draft_of(path, {}, "--").values["name"] == name


def test_a_trial_of_a_name_with_a_nul_is_refused():
    """A table compares it as if it ended there, and would find no trial of its own scheme."""
    with pytest.raises(ValidationError, match="pattern"):
        Trial(**{**TRIAL, "scheme": "x\0"})
