"""A stored trial that is cut, flipped or replaced: named, set aside, computed again, and every other one reported."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples
from stored import payloads

from initbench.records import store

pytestmark = pytest.mark.process

RUN = (
    "compare", "-m", "linear", "-d", "digits", "--steps", "2", "-s", "kaiming", "-s", "zeros", "--jobs", "1",
    "--name", "d",
)  # fmt: skip


@pytest.fixture(scope="module")
def sound(fork_server, tmp_path_factory):
    """A store of twenty trials that no test changes."""
    folder = tmp_path_factory.mktemp("sound")
    run = fork_server.run(*RUN, "--seeds", "10", "--out", folder / "out", home=folder / "logs")
    assert run.returncode == 0, run.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def one(sound):
    """The bytes of one stored trial, its id, and the record."""
    path = next(sound.glob("trials/*/*.json"))
    return path.read_bytes(), path.stem, store.read(sound, path.stem)


def refused_or_equal(out, trial_id, record):
    """Read a file that may be damaged: never another record than the true one."""
    try:
        found = store.read(out, trial_id)
    except store.DamagedFile as error:
        return str(error)
    assert found.model_dump(exclude={"timings"}) == record.model_dump(exclude={"timings"})
    return None


def test_a_file_cut_at_every_length_is_refused(tmp_path, one):
    whole, trial_id, record = one
    path = store.path_of(tmp_path, trial_id)
    path.parent.mkdir(parents=True)
    text = whole.rstrip()
    for length in range(len(text)):
        path.write_bytes(text[:length])
        assert refused_or_equal(tmp_path, trial_id, record), length
    path.write_bytes(text)
    assert refused_or_equal(tmp_path, trial_id, record) is None
    print(f"{len(text)} lengths, all refused")


FLIPS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4)


@examples(300)
@given(flips=FLIPS, cut=st.none() | st.floats(0, 1), doubled=st.booleans())
def test_flipped_cut_and_repeated_bytes_never_read_as_another_record(tmp_path, one, flips, cut, doubled):
    whole, trial_id, record = one
    damaged = bytearray(whole)
    for place, mask in flips:
        damaged[int(place * len(whole))] ^= mask
    damaged = damaged[: int(cut * len(damaged))] if cut is not None else damaged
    path = store.path_of(tmp_path, trial_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(damaged) * (2 if doubled else 1))
    refused_or_equal(tmp_path, trial_id, record)


def _flip(path, place):
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(bytes(data))


def _document(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def _folder(path):
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


def _loop(path):
    """What nobody can open, whoever he is: root reads files of any mode."""
    path.unlink()
    path.symlink_to(path)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut early": lambda path: path.write_bytes(path.read_bytes()[:7]),
    "cut in the middle": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "cut by its last two bytes": lambda path: path.write_bytes(path.read_bytes()[:-2]),
    "flipped early": lambda path: _flip(path, 0.05),
    "flipped late": lambda path: _flip(path, 0.7),
    "foreign": lambda path: path.write_text('{"format": 1, "by": "somebody else"}'),
    "newer": lambda path: _document(path, format=2),
    "format of another kind": lambda path: _document(path, format={"major": 1}),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "a folder": _folder,
    "unreadable": _loop,
}


def test_every_damage_at_once_is_named_and_mended_and_the_others_are_reported(fork_server, tmp_path):
    out, logs = tmp_path / "out", tmp_path / "logs"
    flags = (*RUN, "--seeds", "10", "--out", out)
    assert fork_server.run(*flags, home=logs).returncode == 0
    truth = payloads(out)
    paths = sorted(out.glob("trials/*/*.json"))
    hit, intact = paths[: len(DAMAGE)], paths[len(DAMAGE) :]
    before = {path: path.read_bytes() for path in intact}
    assert len(intact) >= 5
    for path, damage in zip(hit, DAMAGE.values(), strict=True):
        damage(path)

    report = fork_server.run("report", out / "d", "--json", home=logs)
    assert report.returncode == 0, report.stderr
    assert set(re.findall(r"(\w+)\.json: ", report.stderr)) == {path.stem for path in hit}
    document = json.loads(report.stdout)
    assert document["missing"] == len(hit)
    assert sum(row["n"] for row in document["summary"]) == len(intact)
    assert any(f"{len(hit)} damaged files" in note for note in document["notes"])
    assert len((out / "d" / "trials.csv").read_text().splitlines()) == 1 + len(intact)
    assert fork_server.run("export", out / "d", "--to", "csv", home=logs).returncode == 0
    assert all(path.read_bytes() == content for path, content in before.items())

    mended = fork_server.run(*flags, home=logs)
    assert mended.returncode == 0, mended.stderr
    assert set(re.findall(r"(\w+)\.json\.corrupt-1", mended.stderr)) == {path.stem for path in hit}
    assert f"{len(hit)} trials to train, {len(intact)} stored" in mended.stderr
    assert payloads(out) == truth
    assert all(path.with_name(f"{path.name}.corrupt-1").is_symlink() or
               path.with_name(f"{path.name}.corrupt-1").exists() for path in hit)  # fmt: skip
    assert all(path.read_bytes() == content for path, content in before.items())
    assert "damaged" not in fork_server.run("report", out / "d", home=logs).stderr


def test_foreign_files_among_the_trials_are_left_alone(fork_server, tmp_path):
    out = tmp_path / "out"
    flags = (*RUN, "--seeds", "1", "--out", out)
    assert fork_server.run(*flags, home=tmp_path / "logs").returncode == 0
    foreign = [out / "trials" / "notes.txt", next(out.glob("trials/*")) / "0123.json"]
    for path in foreign:
        path.write_text("mine")
    assert fork_server.run(*flags, home=tmp_path / "logs").returncode == 0
    assert fork_server.run("report", out / "d", home=tmp_path / "logs").stderr.count("damaged") == 0
    assert [path.read_text() for path in foreign] == ["mine", "mine"]
