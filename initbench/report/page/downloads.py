"""The tables that a page offers: held inside it as far as they fit, else linked to files beside it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import quote

_KINDS = {"csv": "text/csv", "md": "text/markdown"}


@dataclass(frozen=True)
class Download:
    """A file that the page holds (`inside`) or that stands beside it."""

    name: str
    href: str
    size: str
    inside: bool


def downloads(files: Mapping[str, bytes], beside: Collection[str], budget: int) -> tuple[Download, ...]:
    """Return links to files: the smallest are held in the page, up to `budget` bytes, others only if they are beside.

    `beside` are the names of the files in the page's folder, some of which may not be among `files`.
    """
    held: dict[str, str] = {}
    for name in sorted(files, key=lambda name: len(files[name])):
        if len(files[name]) > budget:  # a link is longer still
            break
        href = _data(name, files[name])
        budget -= len(href)
        if budget >= 0:
            held[name] = href
    names = [name for name in dict.fromkeys((*files, *beside)) if name in held or name in beside]
    return tuple(Download(name, held.get(name, name), _size(files.get(name)), name in held) for name in names)


def _data(name: str, content: bytes) -> str:
    # Percent signs only where a URL or an attribute needs them: base64 would add a third to every table.
    return f"data:{_KINDS[name.rpartition('.')[2]]};charset=utf-8,{quote(content, safe=',()=.;')}"


def _size(content: bytes | None) -> str:
    if content is None:
        return ""
    return f"{len(content)} bytes" if len(content) < 1000 else f"{len(content) / 1000:.0f} kB"
