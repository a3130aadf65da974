"""What the torture tests share."""

import sys

import pytest
from nursery import Nursery

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # they look for processes in /proc


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("torture-cache")


@pytest.fixture(scope="session")
def nursery(cache):
    nursery = Nursery(cache)
    yield nursery
    nursery.close()
