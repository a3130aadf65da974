"""The documents of `--json`: every key and type is written down here, so that none changes by accident."""

import json

import jsonschema
import pytest
from typer.testing import CliRunner

from initbench.cli import app

TEXT, COUNT, NUMBER, FLAG = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}
MAYBE = {"type": ["number", "null"]}
MAYBE_COUNT = {"type": ["integer", "null"]}
TEXTS = {"type": "array", "items": TEXT}

ANY_STATUS = {"enum": ["supported", "refuted", "undecided"]}
COMPARED = {
    "enum": ["better", "worse", "faster", "slower", "learns", "does not learn", "reaches", "does not reach",
             "no difference", "too few seeds", "nothing to compare"],
}  # fmt: skip


def exactly(**properties):
    return {
        "type": "object", "properties": properties, "required": [*properties], "additionalProperties": False,
    }  # fmt: skip


def each(names, kind):
    return dict.fromkeys(names.split(), kind)


def estimates(names):
    return {f"{name}{end}": MAYBE for name in names.split() for end in ("", "_low", "_high")}


def rows(**properties):
    return {"type": "array", "minItems": 1, "items": exactly(**properties)}


def means(names):
    return estimates(" ".join(names)) | each(" ".join(names.values()), COUNT)


SUMMARY = rows(
    **each("dataset model optimizer scheme precision", TEXT),
    batch_size=COUNT,
    lr=NUMBER,
    **each("n finished learned diverged failed reached", COUNT),
    steps_to_target=MAYBE_COUNT,
    **means(
        {
            "test_accuracy": "test_n",
            "initial_loss": "initial_loss_n",
            "final_val_loss": "final_val_loss_n",
            "generalization_gap": "generalization_gap_n",
        }
    ),
    **each("seconds_train steps_with_initialization seconds_with_initialization", MAYBE),
    initialization_steps=NUMBER,
)
VERDICTS = rows(
    **each("dataset model optimizer panel scheme baseline accuracy_text speed_text", TEXT),
    **each("lr baseline_lr budget", NUMBER),
    batch_size=COUNT,
    accuracy_verdict=COMPARED,
    speed_verdict=COMPARED,
    accuracy_tested={"enum": ["accuracy", "learned"]},
    **estimates("accuracy_difference improvement correlation steps_difference speed_factor median_steps"),
    **estimates("restricted_mean reached_share expected_running_time"),
    **each("accuracy_p learned_p accuracy_p_holm speed_p speed_p_holm logrank_p first_p", MAYBE),
    **each("accuracy_confidence steps_confidence", NUMBER),
    **each("accuracy_n accuracy_dropped speed_n speed_dropped reached watched", COUNT),
    **each("accuracy_seeds_needed speed_seeds_needed", MAYBE_COUNT),
)
CLAIMS = rows(
    **each("claim metric better than text rates", TEXT),
    status=ANY_STATUS,
    confidence=NUMBER,
    **each("effect low high p", MAYBE),
    n=COUNT,
)
COMPARISON = exactly(
    schema={"const": 1},
    **each("name folder report question baseline", TEXT),
    target=MAYBE,
    targets={"type": "object", "additionalProperties": NUMBER},
    missing=COUNT,
    answer=TEXTS,
    best=rows(**each("dataset model optimizer panel", TEXT), batch_size=COUNT, lr=MAYBE, schemes=TEXTS),
    summary=SUMMARY,
    verdicts=VERDICTS,
    claims=CLAIMS,
    notes=TEXTS,
)
PLAN = exactly(
    schema={"const": 1},
    **each("schemes model dataset optimizer", TEXTS),
    lr={"type": "array", "items": NUMBER},
    seeds={"type": "array", "items": COUNT},
    steps={"type": "array", "items": COUNT},
    **each("batch_size trials stored", COUNT),
    **each("baseline device folder", TEXT),
    seconds=MAYBE,
)
CHECK = exactly(
    schema={"const": 1},
    scheme=TEXT,
    passed=FLAG,
    checks=rows(**each("check seen", TEXT), outcome={"enum": ["PASS", "FAIL", "SKIP"]}),
)
LEVEL = {"enum": ["PASS", "WARN", "FAIL"]}
INSPECTION = {
    "type": "object",
    "required": [
        "schema",
        "name",
        "folder",
        "source",
        "axis",
        "answer",
        "best",
        "reach",
        "verdicts",
        "networks",
        "layers",
    ],
    "additionalProperties": False,
    "properties": {
        "schema": {"const": 1},
        **each("name folder source axis", TEXT),
        "answer": TEXTS,
        "best": TEXTS,
        "reach": {"type": "array"},
        "verdicts": {
            "type": "array",
            "minItems": 1,
            "items": exactly(
                **each("model scheme", TEXT), verdict=LEVEL, checks={"type": "array", "items": {"type": "object"}}
            ),
        },
        "networks": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "layers": {"type": "array", "minItems": 1, "items": {"type": "object"}},
    },
}
RECIPE = """
schemes = ["kaiming", "ones", "torch_default"]
model = "linear"
steps = 6
seeds = 2
[[claims]]
text = "Kaiming is right more often."
metric = "test_accuracy"
better = "kaiming"
than = "ones"
"""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, cache):
    monkeypatch.setenv("INITBENCH_CACHE", str(cache))
    monkeypatch.setattr("initbench.report.folder.drawings", lambda *_: iter(()))


def document(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def holds(schema, read):
    jsonschema.Draft202012Validator(schema).validate(read)


def test_a_comparison_and_its_report_are_the_document_that_is_written_down(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text(RECIPE)
    made = document("compare", recipe, "--jobs", "1")
    holds(COMPARISON, made)
    assert document("report", made["folder"]) == made


def test_a_plan_an_inspection_and_a_check_are_the_documents_that_are_written_down():
    flags = ("-s", "kaiming", "-m", "linear")
    holds(PLAN, document("compare", *flags, "--seeds", "2", "--dry-run"))
    tuned = document("compare", *flags, "--lr", "tune", "--dry-run")
    holds(exactly(**PLAN["properties"], tuning_seeds={"type": "array", "items": COUNT}), tuned)
    holds(INSPECTION, document("inspect", *flags, "--seeds", "1"))
    holds(CHECK, document("check", "kaiming"))
