"""Real schedulers, workers and commands, each a process of its own, on loopback."""

import sys

import pytest
from clusters import Started, begin_scheduler, begin_worker

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # they look for processes in /proc


@pytest.fixture
def started(fork_server):
    """What a test starts; it is ended with the test."""
    started = Started(fork_server)
    yield started
    started.end()


@pytest.fixture
def initbench(started, tmp_path):
    """Start `initbench compare` in the test's folder."""

    def command(*arguments, quiet=True, **options):
        manner = ("-q",) * quiet
        return started.start("compare", "-m", "linear", *manner, "--name", "c", *arguments, home=tmp_path, **options)

    return command


@pytest.fixture(scope="session")
def scheduler(fork_server, tmp_path_factory):
    """A scheduler with two workers, which every test leaves as it found them."""
    started, home = Started(fork_server), tmp_path_factory.mktemp("dask")
    scheduler = begin_scheduler(started, home)
    scheduler.workers = begin_worker(started, scheduler, home, "--nworkers", 2)
    yield scheduler
    started.end()


@pytest.fixture
def alone(started, tmp_path):
    """A scheduler of a test's own, without workers."""
    return begin_scheduler(started, tmp_path)
