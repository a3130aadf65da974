"""The JSON schema of recipes: it passes what the program takes, refuses what it refuses, and says what each key is."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from initbench.cli import app
from initbench.cli.new import SCHEMA_FILE, recipe_schema
from initbench.records.draft import Draft, check
from initbench.records.recipe import Recipe
from initbench.schemes import SCHEMES

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "experiments").glob("*.toml"))


@pytest.fixture(scope="module")
def validator():
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def new(*arguments, code=0):
    result = CliRunner().invoke(app, ["new", *arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_one(validator, path):
    validator.validate(tomllib.loads(path.read_text(encoding="utf-8")))


def test_a_new_experiment_names_the_schema_beside_it_and_holds(validator):
    new("experiment", "mine")
    path = Path("experiments", "mine.toml")
    text = path.read_text(encoding="utf-8")
    directive, _, _ = text.partition("\n")
    assert directive == f"#:schema ./{SCHEMA_FILE}"
    written = json.loads((path.parent / SCHEMA_FILE).read_text())
    assert written == recipe_schema()
    validator.validate(tomllib.loads(text))


def test_every_key_says_what_it_is_and_names_are_examples(validator):
    schema = validator.schema
    assert set(schema["properties"]) == set(Recipe.model_fields)
    for of in (schema, schema["$defs"]["Claim"]):
        assert of["additionalProperties"] is False
        assert all(value["description"] for value in of["properties"].values())
    assert set(SCHEMES) <= set(schema["properties"]["schemes"]["examples"])


VALUES = [
    ("schemes", ["kaiming", ["kaiming", "ones"], [], 3, [3], ""]),
    ("model", ["cnn", ["cnn", "mlp"], {"a": 1}]),
    ("lr", [0.1, 1, [0.1, 0.2], "tune", [], 0, -1.0, "fast", [0.1, "tune"]]),
    ("seeds", [1, 10, [3, 4], 0, -1, [], [-1], 1.5, "ten", 10_001, True]),
    ("tuning_seeds", [3, [5], 0]),
    ("batch_size", [1, 0, 1.5]),
    ("epochs", [1, 0.5, 0, "many"]),
    ("target", [0.5, 0.0, 1.0]),
    ("device", ["cpu", "gpu"]),
    ("precision", ["tf32", "float16"]),
    ("vary", ["init,order", "order"]),
    ("question", ["Why?", 3]),
    ("schmes", ["kaiming"]),
    ("claims", [[], [{"text": "x", "metric": "test_loss", "better": "a", "than": "b"}], [{"text": "x"}],
                [{"text": "x", "metric": "beauty", "better": "a", "than": "b"}],
                [{"text": "x", "metric": "test_loss", "better": "a", "than": "b", "where": {"lr": 0.1}}],
                [{"text": "x", "metric": "test_loss", "better": "a", "than": "b", "where": {"seed": 1}}]]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in VALUES for value in values])
def test_the_schema_takes_what_the_program_takes_and_no_more(validator, key, value):
    recipe, _ = check(Draft({key: value}, {}))
    assert validator.is_valid({key: value}) == (recipe is not None)


def test_a_schema_is_written_anew_but_never_over_a_file_of_somebody_else():
    path = Path("mine", SCHEMA_FILE)
    new("schema", "--folder", "mine")
    whole = path.read_bytes()
    path.write_text(json.dumps(json.loads(whole) | {"properties": {}}))
    new("schema", "--folder", "mine")
    assert path.read_bytes() == whole
    path.write_text('{"title": "my own"}')
    for command in (("schema",), ("experiment", "x")):
        assert SCHEMA_FILE in new(*command, "--folder", "mine", code=4).stderr
    assert path.read_text() == '{"title": "my own"}'
    assert [file.name for file in path.parent.iterdir()] == [SCHEMA_FILE]
