"""The parts of a scheme's text, before their names are looked up: `conv=kaiming_uniform; bias=zeros`."""

from collections.abc import Iterator
from contextlib import suppress

from initbench.core.spec import PARTS, did_you_mean, is_reference, parse, split_outside_brackets
from initbench.errors import UsageError

GLOB = "name:"


def split_parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield each part of a scheme with the text of its spec; a bare spec is the weight part.

    Raises:
        UsageError: an empty or unknown part, or one that is given twice.
    """
    seen = set[str]()
    # A file's name may have semicolons and brackets.
    for piece in [text] if is_reference(text) else split_outside_brackets(text, ";"):
        part, spec = _split_part(piece, text)
        if part in seen:
            raise UsageError(f"The scheme '{text}' gives the part '{part}' twice.")
        seen.add(part)
        yield part, spec


def _split_part(piece: str, text: str) -> tuple[str, str]:
    """Split 'conv=kaiming' at the '=' that stands outside brackets."""
    if is_reference(piece):
        return "weight", piece
    left, *rest = _split_glob(piece) if piece.strip().startswith(GLOB) else split_outside_brackets(piece, "=")
    part = left.strip()
    if not piece.strip():
        raise UsageError(f"The scheme '{text}' has an empty part: remove the extra ';'.")
    if not rest:
        return "weight", piece
    if part not in PARTS and not part.startswith(GLOB):
        near = did_you_mean(part, list(PARTS))
        raise UsageError(f"Unknown part '{part}' in '{text}'{near} (parts: {', '.join(PARTS)}, {GLOB}<glob>).")
    return part, "=".join(rest)


def _split_glob(piece: str) -> list[str]:
    """Split 'name:a=b.*=zeros' at the first '=' with a scheme behind it: a name may have one, or brackets."""
    for cut in (place for place, char in enumerate(piece) if char == "="):
        with suppress(UsageError):
            parse(piece[cut + 1 :])
            return [piece[:cut], piece[cut + 1 :]]
    return split_outside_brackets(piece, "=")
