"""What several test files share."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import settings

# Chosen by --hypothesis-profile; `examples` of long_form.py scales by it.
settings.register_profile("dev", deadline=None, max_examples=100)
settings.register_profile("ci", deadline=None, max_examples=25, print_blob=True)
settings.load_profile("dev")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """Keep every test out of the user's results and data; the cache of parsed datasets may be shared."""
    monkeypatch.delenv("INITBENCH_OUT", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, where there is one."""
    folder = Path(os.environ.get("INITBENCH_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip(f"no MNIST in {folder}: set INITBENCH_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def compiled() -> Path:
    """The user's folder of compiled training loops, filled; what trains in this process finds its code there."""
    from initbench.training.compiled import kernels

    for name in kernels.FIRST:
        kernels.address(name)
    return kernels.folder().parent


@pytest.fixture(scope="session")
def cache(tmp_path_factory, compiled):
    """A cache of datasets for programs that tests start; it has the compiled training loops already."""
    folder = tmp_path_factory.mktemp("cache-of-started")
    (folder / "compiled").symlink_to(compiled)
    return folder


@pytest.fixture(scope="session")
def fork_server(cache):
    """What starts programs in milliseconds."""
    from fork_server import ForkServer

    fork_server = ForkServer(cache)
    yield fork_server
    fork_server.close()


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Compute on one thread: pytest-xdist has a worker a core, and the bits of a sum depend on how many there are."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _nobody_is_stopped(monkeypatch):
    """A run that a test stopped in this process leaves its signal set until the next run; tests train without one."""
    from initbench.running import worker

    monkeypatch.setattr(worker._report, "stop", threading.Event())
