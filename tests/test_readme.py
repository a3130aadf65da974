"""Documents: every worked example prints what its page shows, every option named exists, every link resolves.

`[…]` stands for any number of lines. Numbers may differ a little, since the last bits of a sum depend on the processor.
"""

import itertools
import math
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from initbench.analysis.statistics.families import least_seeds
from initbench.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [
        ROOT / "README.md",
        *sorted((ROOT / "initbench").rglob("*.md")),
        *sorted((ROOT / "tests").rglob("*.md")),
        *sorted((ROOT / "results" / "reference").rglob("*.md")),
    ]
}
LEFT_OUT = "[…]"
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def blocks():
    """Pairs of (page, lines) for each console block."""
    for page, text in PAGES.items():
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
            yield page, block.splitlines()


def examples():
    """Commands that are shown with what they print; `make test` runs each second one that is not README.md's."""
    others = 0
    for page, (first, *shown) in blocks():
        if shown and not shown[0].startswith("$ "):
            others += page != "README.md"
            marks = [pytest.mark.long] if page != "README.md" and others % 2 == 0 else []
            yield pytest.param(first.removeprefix("$ "), shown, id=f"{page}: {first}", marks=marks)


def commands():
    """Every command of every page, its comment taken off."""
    lines = {(page, line) for page, block in blocks() for line in block if line.startswith("$ initbench ")}
    return [(page, shlex.split(line.removeprefix("$ initbench "), comments=True)) for page, line in sorted(lines)]


def links():
    """Pairs of (page, target) for each relative link and picture."""
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"[a-z]+:", target):
                yield page, target


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as a reader has it: the recipes, and the file that USAGE.md shows."""
    folder = tmp_path_factory.mktemp("documents")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    (mine,) = re.findall(r"say `mine\.py`:\n\n```python\n(.*?)```", PAGES["initbench/USAGE.md"], re.DOTALL)
    (folder / "mine.py").write_text(mine, encoding="utf-8")
    return folder


def said(fork_server, command, folder):
    """Run a command without drawing figures, which no page shows, and return the lines it prints."""
    program, *arguments = shlex.split(command)
    assert program == "initbench"
    done = fork_server.run(*arguments, home=folder, draw=False, environment={"COLUMNS": "80"})
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def alike(word, other):
    """Two words are the same text around numbers that are close."""
    if NUMBER.sub("#", word) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(word), NUMBER.findall(other), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=0.5, abs_tol=0.1) for a, b in pairs)


def same_line(line, other):
    words, others = line.split(), other.split()
    return len(words) == len(others) and all(map(alike, words, others))


def follows(shown, lines):
    """Whether lines are what a page shows, some of them left out."""
    if not shown:
        return not lines
    if shown[0] == LEFT_OUT:
        return any(follows(shown[1:], lines[i:]) for i in range(len(lines) + 1))
    return bool(lines) and same_line(shown[0], lines[0]) and follows(shown[1:], lines[1:])


def test_there_are_ten_examples_and_each_stands_once():
    commands = [example.values[0] for example in examples()]
    assert len(set(commands)) == len(commands) == 10


@pytest.mark.parametrize(("command", "shown"), [*examples()])
def test_an_example_prints_what_its_page_shows(fork_server, place, command, shown):
    lines = said(fork_server, command, place)
    assert follows([line for line in shown if line.strip()], lines), "\n".join(lines)


def test_what_is_shown_is_compared_with_what_is_printed():
    lines = ["a 0.941 ± 0.014", "b", "c"]
    assert follows(["a 0.95 ± 0.02", LEFT_OUT, "c"], lines)
    assert not follows(["a 0.15 ± 0.02", LEFT_OUT, "c"], lines)
    assert not follows(["a 0.95 ± 0.02", LEFT_OUT, "d"], lines)
    assert not follows(["a 0.95 ± 0.02"], lines)


@pytest.mark.parametrize(("page", "words"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_of_a_page_exists(page, words):
    command = get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        _, command, words = command.resolve_command(typer.Context(command), words)
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= known


def test_examples_use_seeds_enough_to_decide():
    few = []
    for page, words in commands():
        seeds = [int(word) for flag, word in itertools.pairwise(words) if flag == "--seeds"]
        schemes = sum(word.count(",") + 1 for flag, word in itertools.pairwise(words) if flag == "-s") or 8
        if words[0] == "compare" and any(count < least_seeds(schemes - 1) for count in seeds):
            few.append((page, words[words.index("--seeds") + 1], "--fail-if" in words))
    # One shows what too few seeds are; the other guards a build by means, not by a verdict.
    assert few == [("initbench/EXAMPLES.md", "3", True), ("initbench/EXAMPLES.md", "3", False)]


def test_every_target_of_make_and_every_marker_of_a_page_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = [line for _, block in blocks() for line in block if line.startswith("$ make ")]
    assert {line.split()[2] for line in lines} <= set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    described = re.findall(r"^\| `([a-z]+)` \| (?!`)", PAGES["tests/README.md"].partition("## What")[0], re.MULTILINE)
    assert set(described) == {marker.partition(":")[0] for marker in settings["markers"]}


def test_one_version_and_one_date_stand_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = dict(re.findall(r"^(version|date-released): (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    changed = re.search(r"^## (\S+) - (\S+)$", PAGES["initbench/CHANGELOG.md"], re.MULTILINE)
    assert changed.groups() == (project["version"], cited["date-released"])
    assert cited["version"] == project["version"]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_resolves(page):
    broken = [target for origin, target in links() if origin == page and not resolves(page, target)]
    assert broken == []


@pytest.mark.parametrize("page", ["initbench/ARCHITECTURE.md", "initbench/PROMISES.md", "tests/README.md"])
def test_every_file_and_name_that_a_page_gives_exists(page):
    given = re.findall(r"`([\w/.]+\.(?:py|toml|json|ya?ml)|[\w/]+/)(?:: (\w+))?`", PAGES[page])
    assert len(given) > 15
    assert [(path, name) for path, name in given if not stands(path, name)] == []


def stands(path, name):
    roots = ROOT, ROOT / "initbench", ROOT / "tests"
    found = next((root / path for root in roots if (root / path).exists()), None)
    if found is None or not name:
        return found is not None
    return re.search(rf"^(class|def) {name}\b", found.read_text(encoding="utf-8"), re.MULTILINE) is not None


def test_every_test_file_has_its_place_on_the_page_of_tests():
    files = {path.name for path in (ROOT / "tests").glob("test_*.py")}
    assert files == set(re.findall(r"`(test_\w+\.py)`", PAGES["tests/README.md"]))


def resolves(page, target):
    path, _, heading = target.partition("#")
    found = (ROOT / page).parent / path if path else ROOT / page
    if not heading:
        return found.exists()
    return heading in {slug(line) for line in found.read_text(encoding="utf-8").splitlines() if line.startswith("#")}


def slug(heading):
    """The anchor that a heading gets where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")
