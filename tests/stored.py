"""What a store holds, for tests that compare one with another."""

from pathlib import Path


def payloads(out):
    """Everything stored but the timings, by file name."""
    found = {}
    for path in sorted(Path(out).glob("trials/*/*.json")):
        text = path.read_text()
        found[path.name] = text[: text.index('"timings"')]
    return found
