"""What a store holds, for tests that compare one with another; and a stored comparison of made records."""

from pathlib import Path

from initbench.records import store
from initbench.records.manifest import Manifest, ResolvedValue, write_manifest
from initbench.records.recipe import Recipe


def payloads(out):
    """Everything stored but the timings, by file name."""
    found = {}
    for path in sorted(Path(out).glob("trials/*/*.json")):
        text = path.read_text()
        found[path.name] = text[: text.index('"timings"')]
    return found


def a_folder(out, records, **fields):
    """Store records and a comparison that asks for them; return its folder."""
    for record in records:
        store.write(out, record)
    parts = {
        "name": "compare-x",
        "question": "",
        "recipe": {
            key: ResolvedValue(value=value, origin="default") for key, value in Recipe().model_dump(mode="json").items()
        },
        "schemes": tuple(dict.fromkeys(record.trial.scheme for record in records)),
        "baseline": "torch_default",
        "target": None,
        "device": "cpu",
        "notices": (),
        "command": "initbench compare",
        "trials": tuple(record.trial.id for record in records),
    }
    write_manifest(out / "compare-x", Manifest(**(parts | fields)))
    return out / "compare-x"
