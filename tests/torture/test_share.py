"""Eight processes with overlapping work in one folder, one of them killed, and a reader that looks all the while."""

import random
import signal
import threading

import pytest
from long_form import rounds
from stored import payloads

from initbench.records import store

pytestmark = pytest.mark.process

SHARED = (
    "compare", "-m", "linear", "-d", "digits", "--steps", "20", "-s", "kaiming", "-s", "zeros", "-q", "--jobs", "1",
)  # fmt: skip


class Reader(threading.Thread):
    """Reads every file of a folder again and again, and keeps what it could not read."""

    def __init__(self, out):
        super().__init__(daemon=True)
        self.out, self.partial, self.looks, self.over = out, [], 0, threading.Event()

    def run(self):
        while not self.over.is_set():
            for path in self.out.glob("trials/*/*.json"):
                try:
                    assert store.read(self.out, path.stem) is not None
                except (store.DamagedFile, AssertionError) as error:
                    self.partial.append((path, error))
                self.looks += 1
            for path in self.out.glob("*/recipe.json"):
                if not path.read_bytes().endswith(b"}\n"):
                    self.partial.append((path, "cut"))


def seeds(first, count):
    return ",".join(str(seed) for seed in range(first, first + count))


@rounds(1, 2)
def test_eight_share_a_folder_and_one_is_killed(fork_server, tmp_path, rounds):
    rng = random.Random(8)
    alone = fork_server.run(*SHARED, "--seeds", seeds(0, 22), "--name", "a", "--out", tmp_path / "alone", home=tmp_path)
    assert alone.returncode == 0
    truth = payloads(tmp_path / "alone")
    looks = kept = 0
    for number in range(rounds):
        out = tmp_path / f"round{number}"
        reader = Reader(out)
        reader.start()
        # Overlapping seeds; two of them have the same question, and so the same folder.
        runs = [
            fork_server.start(
                *SHARED, "--seeds", seeds(2 * (i % 7), 10), "--name", f"n{i % 7}", "--out", out, home=tmp_path
            )
            for i in range(8)
        ]
        victim = rng.randrange(7)  # its last seeds are others' too, but for the seventh's
        runs[victim].ends_within(rng.uniform(0.2, 2))
        kept += len(payloads(out))
        runs[victim].send(signal.SIGKILL)
        codes = [run.wait() for run in runs]
        reader.over.set()
        reader.join()
        assert {code for i, code in enumerate(codes) if i != victim} == {0}, [run.stderr for run in runs]
        again = fork_server.run(*SHARED, "--seeds", seeds(0, 22), "--name", "all", "--out", out, home=tmp_path)
        assert again.returncode == 0
        assert payloads(out) == truth
        assert reader.partial == []
        assert not list(out.rglob("*.corrupt-*"))
        looks += reader.looks
    print(f"{looks} looks at files of 8 writers, none partial; {kept} trials stored when one was killed")
    assert looks > 100


@pytest.mark.long
@rounds(1, 3)
def test_two_that_find_the_same_damage_both_finish(fork_server, tmp_path, rounds):
    flags = (*SHARED, "--seeds", "6", "--name", "d", "--out", tmp_path / "out")
    assert fork_server.run(*flags, home=tmp_path).returncode == 0
    truth = payloads(tmp_path / "out")
    for _ in range(rounds):
        for name in truth:
            path = store.path_of(tmp_path / "out", name.removesuffix(".json"))
            path.write_bytes(path.read_bytes()[:-9])
        runs = [fork_server.start(*flags, home=tmp_path) for _ in range(4)]
        assert [run.wait() for run in runs] == [0] * 4, [run.stderr for run in runs]
        assert fork_server.run(*flags, home=tmp_path).returncode == 0
        assert payloads(tmp_path / "out") == truth
