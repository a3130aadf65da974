"""The same command on a Dask cluster: the store ends as a local run's, whatever happens to workers and scheduler."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version

import numpy as np
import psutil
import pytest
from clusters import begin_scheduler, begin_worker, group_of, other_process, said, trainers, until
from distributed import Security
from fork_server import ROOT, alive, all_gone
from stored import payloads

pytestmark = pytest.mark.cluster

SHORT = ("-s", "kaiming", "-s", "zeros", "--seeds", "6", "--steps", "25")
LONG = ("-s", "kaiming", "-s", "zeros", "--seeds", "16", "--steps", "800")

OWN = '''
import os, pathlib, signal, time

def marked(tensor, layer, generator):
    """Leave the number of the process, so that a test knows who trained."""
    pathlib.Path("marks").mkdir(exist_ok=True)
    pathlib.Path("marks", str(os.getpid())).touch()
    time.sleep(0.1)
    tensor.normal_(0, 0.1, generator=generator)

def kills(tensor, layer, generator):
    os.kill(os.getpid(), signal.SIGKILL)

def raises(tensor, layer, generator):
    print("MY OWN WORDS")
    raise RuntimeError("not today")

def sleeps(tensor, layer, generator):
    while True:
        time.sleep(1)

def slow(tensor, layer, generator):
    pathlib.Path("begun").touch()
    time.sleep(4)
    tensor.normal_(0, 0.1, generator=generator)
'''


@pytest.fixture(scope="module")
def truth(fork_server, tmp_path_factory):
    """What a local run stores, by what was asked."""
    known = {}

    def of(*question):
        if question not in known:
            home = tmp_path_factory.mktemp("truth")
            run = fork_server.run("compare", "-m", "linear", "-q", *question, "--jobs", 1, "--out", "out", home=home)
            assert run.returncode == 0, run.stderr
            known[question] = payloads(home / "out")
        return known[question]

    return of


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return str(tmp_path / "own.py")


def test_an_embedded_cluster_stores_what_a_local_run_stores(initbench, tmp_path, truth):
    run = initbench(*SHORT, "--executor", "dask", "--jobs", 2, "--out", "out", "--json")
    listening, told = set(), []

    def listens():
        new = set(listeners(run.pid)) - listening
        told.extend(page for address in new for page in pages(address))
        listening.update(new)
        return not run.ends_within(0.05)

    while listens():
        pass
    assert run.wait() == 0, said(run)
    assert len(listening) >= 5  # of the scheduler, two nannies and two workers
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert not told  # no dashboard
    assert payloads(tmp_path / "out") == truth(*SHORT)
    assert json.loads(run.stdout)["name"] == "c"
    assert said(run) == ""  # Dask's own lines are not shown
    assert not list(group_of(run.pid))


def listeners(leader):
    for pid in group_of(leader):
        try:
            found = psutil.Process(pid).net_connections(kind="inet")
        except psutil.Error:
            continue
        yield from (item.laddr for item in found if item.status == psutil.CONN_LISTEN)


def pages(address):
    """What somebody without keys is told at an address."""
    for page in ("status", "health", "metrics", "info/main/workers.html", "json/identity.json"):
        try:
            with urllib.request.urlopen(f"http://{address.ip}:{address.port}/{page}", timeout=5) as answer:
                yield answer.read()
        except (OSError, ValueError):
            continue


def test_the_users_own_cluster_by_address_and_by_file(initbench, scheduler, tmp_path, truth):
    for number, where in enumerate((scheduler.address, scheduler.file)):
        run = initbench(*SHORT, "--executor", where, "--out", f"out{number}")
        assert run.wait() == 0, said(run)
        assert payloads(tmp_path / f"out{number}") == truth(*SHORT)


def test_without_a_cluster_dask_is_not_loaded():
    code = "import sys, initbench.cli.grid, initbench.running.cluster; sys.exit('distributed' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode
        == 0
    )


def test_all_that_is_stored_needs_no_cluster(initbench, tmp_path):
    assert initbench(*SHORT, "--out", "out", "--jobs", 1).wait() == 0
    run = initbench(*SHORT, "--out", "out", "--executor", "tcp://127.0.0.1:1")
    assert run.wait() == 0, said(run)


@pytest.mark.long
def test_a_grid_of_rates_is_tuned_and_scored_on_one_cluster(initbench, scheduler, tmp_path, truth):
    question = ("-s", "kaiming", "--seeds", "2", "--steps", "10", "--lr", "0.01,0.1")
    run = initbench(*question, "--executor", scheduler.address, "--out", "out")
    assert run.wait() == 0, said(run)
    assert payloads(tmp_path / "out") == truth(*question)


@pytest.mark.long
def test_without_a_shared_folder_records_and_data_travel(initbench, alone, started, tmp_path):
    a_dataset(tmp_path / "data.npz")
    elsewhere = tmp_path / "elsewhere"
    begin_worker(started, alone, elsewhere, "--no-nanny", INITBENCH_CACHE="cache")
    question = ("-d", "./data.npz", "-s", "kaiming", "--seeds", "4", "--steps", "20")
    for out, more in (("local", ()), ("out", ("--executor", alone.address, "--no-shared-folder"))):
        # Another cache than the worker's: the path is relative.
        run = initbench(*question, *more, "--out", out, environment={"INITBENCH_CACHE": "cache"})
        assert run.wait() == 0, said(run)
    assert payloads(tmp_path / "out") == payloads(tmp_path / "local") != {}
    caches = [sorted(path.name for path in home.glob("cache/*/*")) for home in (elsewhere, tmp_path)]
    assert caches[0] == caches[1] != []
    assert not (elsewhere / "out").exists()


def a_dataset(path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(120, 6, 6), dtype=np.uint8)
    labels = np.arange(120) % 3
    np.savez(path, x_train=images, y_train=labels, x_test=images[:30], y_test=labels[:30])


def may_see_another_folder():
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0  # noqa: S607


@pytest.mark.skipif(not may_see_another_folder(), reason="needs `unshare -m`, which needs root")
def test_a_results_folder_that_is_not_shared_is_named(initbench, alone, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    worker = f"{sys.executable} -m dask worker {alone.address} --nthreads 1 --no-dashboard --no-nanny"
    shell = ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none '{out}' && exec {worker}"]
    other = other_process("-c", f"import os; os.execvp('unshare', {shell!r})", home=tmp_path)
    try:
        run = initbench(*SHORT, "--executor", alone.address, "--out", "out")
        assert run.wait() == 4
        assert f"cannot write the results folder {out}" in said(run)
        assert "--no-shared-folder" in said(run)
    finally:
        other.kill()
        other.wait()


def test_workers_declare_their_memory(initbench, alone, started, tmp_path, truth):
    small = begin_worker(started, alone, tmp_path, "--no-nanny", "--resources", "MEMORY=1e8")
    run = initbench(*SHORT, "--executor", alone.address, "--out", "out")
    assert run.wait() == 4
    assert "A trial takes about 0.5 GB, and no worker declares a MEMORY of more than 0.1 GB" in said(run)
    small.send(signal.SIGKILL)
    begin_worker(started, alone, tmp_path, "--no-nanny", "--resources", "MEMORY=1e9")
    run = initbench(*SHORT, "--executor", alone.address, "--out", "out")
    assert run.wait() == 0, said(run)
    assert payloads(tmp_path / "out") == truth(*SHORT)


@pytest.mark.long
def test_a_cluster_with_certificates_is_reached_with_dasks_configuration(initbench, started, tmp_path, truth):
    keys = certificates(tmp_path)
    scheduler = begin_scheduler(started, tmp_path, 0, "--protocol", "tls://", **keys)
    assert scheduler.address.startswith("tls://")
    begin_worker(started, scheduler, tmp_path, "--no-nanny", **keys)
    question = (*SHORT, "--executor", scheduler.address, "--out", "out")
    run = initbench(*question)
    assert run.wait() == 4, said(run)
    run = initbench(*question, environment=keys)
    assert run.wait() == 0, said(run)
    assert payloads(tmp_path / "out") == truth(*SHORT)


def certificates(folder):
    """Make a key and a certificate, and return the settings by which Dask finds them."""
    security = Security.temporary()
    settings = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": security.tls_ca_file}
    for role in ("client", "scheduler", "worker"):
        settings[f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__CERT"] = getattr(security, f"tls_{role}_cert")
        settings[f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__KEY"] = getattr(security, f"tls_{role}_key")
    for name, text in settings.items():
        (folder / name).write_text(text)
    return {name: str(folder / name) for name in settings}


@pytest.mark.long
def test_workers_killed_in_the_middle_of_trials_cost_time_alone(initbench, alone, started, tmp_path, truth):
    workers = begin_worker(started, alone, tmp_path, "--nworkers", 2)
    until(lambda: len(trainers(workers.pid)) == 2)
    run = initbench(*LONG, "--executor", alone.address, "--out", "out")
    until(lambda: payloads(tmp_path / "out"), run=run)
    for pid in trainers(workers.pid):
        os.kill(pid, signal.SIGKILL)
    assert run.wait() == 0, said(run)
    assert payloads(tmp_path / "out") == truth(*LONG)


@pytest.mark.long
def test_a_worker_that_joins_late_trains(initbench, alone, started, tmp_path, own):
    question = ("-s", f"{own}:marked", "--seeds", 60, "--steps", 5)
    run = initbench(*question, "--executor", alone.address, "--out", "out", quiet=False)
    until(lambda: "no workers yet" in said(run), run=run)
    first = begin_worker(started, alone, tmp_path, "--no-nanny")
    until(lambda: len(payloads(tmp_path / "out")) > 3, run=run)
    second = begin_worker(started, alone, tmp_path, "--no-nanny")
    assert run.wait() == 0, said(run)
    assert {int(path.name) for path in (tmp_path / "marks").iterdir()} == {first.pid, second.pid}
    assert len(payloads(tmp_path / "out")) == 60


@pytest.mark.long
def test_the_scheduler_killed_in_the_middle_of_a_run(initbench, started, tmp_path, truth):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    first = begin_scheduler(started, tmp_path, port)
    begin_worker(started, first, tmp_path, "--no-nanny")
    run = initbench(*LONG, "--executor", first.address, "--out", "out")
    until(lambda: payloads(tmp_path / "out"), run=run)
    first.send(signal.SIGKILL)
    assert run.wait(60) == 4
    assert f"The scheduler at {first.address} has ended" in said(run)
    assert "run the same command again" in said(run)
    assert "Traceback" not in said(run)
    assert payloads(tmp_path / "out").items() <= truth(*LONG).items()
    second = begin_scheduler(started, tmp_path, port)
    assert second.address == first.address
    begin_worker(started, second, tmp_path, "--no-nanny")
    again = initbench(*LONG, "--executor", second.address, "--out", "out")
    assert again.wait() == 0, said(again)
    assert payloads(tmp_path / "out") == truth(*LONG)


@pytest.fixture
def another(tmp_path):
    """Start a worker whose package has a line more."""
    copy = tmp_path / "another" / "initbench"
    shutil.copytree(ROOT / "initbench", copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "core" / "randomness.py").open("a") as file:
        file.write("# another version\n")
    workers = []

    def join(scheduler):
        command = ("-m", "dask", "worker", scheduler.address, "--nthreads", 1, "--no-dashboard", "--no-nanny")
        workers.append(other_process(*command, home=tmp_path, path=copy.parent))
        return workers[-1]

    yield join
    for worker in workers:
        worker.kill()
        worker.wait()


@pytest.mark.long
def test_a_worker_of_another_version_is_named_and_gets_no_trial(initbench, alone, started, tmp_path, another, own):
    other = another(alone)
    run = initbench(*SHORT, "--executor", alone.address, "--out", "out")
    assert run.wait() == 4
    assert f"has initbench {version('initbench')} (source " in said(run)
    assert f"this machine {version('initbench')} (source " in said(run)
    assert payloads(tmp_path / "out") == {}
    other.kill()
    good = begin_worker(started, alone, tmp_path, "--no-nanny")
    question = ("-s", f"{own}:marked", "--seeds", 80, "--steps", 5)
    run = initbench(*question, "--executor", alone.address, "--out", "out", quiet=False)
    until(lambda: len(payloads(tmp_path / "out")) > 3, run=run)
    late = another(alone)
    assert run.wait() == 0, said(run)
    assert "It gets no trials." in said(run)
    assert {int(path.name) for path in (tmp_path / "marks").iterdir()} == {good.pid}
    assert late.poll() is None
    assert len(payloads(tmp_path / "out")) == 80


def test_users_code_that_a_worker_has_not_or_has_otherwise(initbench, alone, started, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    elsewhere = tmp_path / "elsewhere"
    begin_worker(started, alone, elsewhere, "--no-nanny")
    question = ("-s", "own.py:marked", "--seeds", 2, "--steps", 5, "--executor", alone.address, "--out", "out")
    run = initbench(*question)
    assert run.wait() == 4
    assert "does not have own.py:marked (No file own.py)" in said(run)
    (elsewhere / "own.py").write_text(OWN + "\n# changed\n")
    run = initbench(*question)
    assert run.wait() == 4
    assert "has a different own.py:marked than this machine" in said(run)
    assert payloads(tmp_path / "out") == {}


@pytest.mark.long
def test_misbehaving_trials_fail_alone(initbench, tmp_path, own):
    bad = {"kills": "worker process died", "raises": "not today", "sleeps": "longer than 15 s"}
    schemes = [part for name in bad for part in ("-s", f"{own}:{name}")]
    run = initbench(
        "-s", "kaiming", *schemes, "--seeds", 1, "--steps", 20, "--out", "out", "--executor", "dask", "--jobs", 2,
        "--trial-timeout", 15, "--json",
    )  # fmt: skip
    assert run.wait() == 3, said(run)
    assert json.loads(run.stdout)["schema"] == 1
    assert "MY OWN WORDS" in said(run)
    records = [json.loads(path.read_text())["payload"] for path in (tmp_path / "out").glob("trials/*/*.json")]
    assert len(records) == 4
    for record in records:
        name = record["trial"]["scheme"].rpartition(":")[2]
        assert record["outcome"]["status"] == ("failed" if name in bad else "finished")
        assert bad.get(name, "") in (record["outcome"]["reason"] or "")


@pytest.mark.long
def test_a_stuck_worker_that_nobody_starts_again_takes_no_trial_along(initbench, alone, started, tmp_path, own):
    worker = begin_worker(started, alone, tmp_path, "--no-nanny")
    question = ("-s", f"{own}:sleeps", "-s", f"{own}:marked", "--seeds", 1, "--steps", 5, "--trial-timeout", 8)
    run = initbench(*question, "--executor", alone.address, "--out", "out", quiet=False)
    until(lambda: "no workers left" in said(run), run=run)
    assert not alive(worker.pid)
    begin_worker(started, alone, tmp_path)
    assert run.wait() == 3, said(run)
    assert "1 of 2 trials failed" in said(run)


@pytest.mark.long
def test_no_time_passes_for_a_trial_while_all_is_stopped(initbench, tmp_path, own):
    question = ("-s", f"{own}:slow", "--seeds", 1, "--steps", 5, "--trial-timeout", 10)
    run = initbench(*question, "--executor", "dask", "--jobs", 1, "--out", "out")
    until((tmp_path / "begun").exists, run=run)
    run.send(signal.SIGSTOP, group=True)
    time.sleep(12)
    run.send(signal.SIGCONT, group=True)
    assert run.wait() == 0, said(run)


@pytest.mark.long
def test_ctrl_c_keeps_what_is_finished_and_cancels_the_rest(initbench, scheduler, tmp_path, truth):
    run = initbench(*LONG, "--executor", scheduler.address, "--out", "out")
    until(lambda: payloads(tmp_path / "out"), run=run)
    took = interrupted(run)
    assert took < 10, took  # two seconds are promised on a machine that does nothing else
    assert "To continue:" in said(run)
    assert payloads(tmp_path / "out").items() <= truth(*LONG).items()
    assert nothing_is_left_on(scheduler.address)
    assert len(payloads(tmp_path / "out")) < len(truth(*LONG))
    again = initbench(*LONG, "--executor", scheduler.address, "--out", "out")
    assert again.wait() == 0, said(again)
    assert payloads(tmp_path / "out") == truth(*LONG)


@pytest.mark.long
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGKILL])
def test_an_embedded_cluster_ends_with_its_parent(initbench, tmp_path, truth, signal_):
    run = initbench(*LONG, "--executor", "dask", "--jobs", 2, "--out", "out")
    until(lambda: payloads(tmp_path / "out"), run=run)
    group = list(group_of(run.pid))
    assert len(group) > 2
    if signal_ == signal.SIGINT:
        assert interrupted(run) < 10
    else:
        run.send(signal_)
        run.wait()
    assert all_gone(group, patience=10) is not None
    assert payloads(tmp_path / "out").items() <= truth(*LONG).items()
    again = initbench(*LONG, "--jobs", 1, "--out", "out")
    assert again.wait() == 0, said(again)
    assert payloads(tmp_path / "out") == truth(*LONG)


def interrupted(run):
    """Press Ctrl-C, which the whole group hears; return the seconds until the end."""
    began = time.monotonic()
    run.send(signal.SIGINT, group=True)
    assert run.wait() == 130, said(run)
    took = time.monotonic() - began
    print(f"ended within {took:.2f} s")
    return took


def nothing_is_left_on(address):
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        return until(lambda: not any(client.processing().values()), 10)


@pytest.mark.parametrize(
    ("executor", "code", "told"),
    [
        (("ray",), 2, "'ray' is neither dask"),
        (("dask(4)",), 2, "is neither dask"),
        (("dask(dashboard='x')",), 2, "is neither dask"),
        (("tcp://127.0.0.1:8786", "--jobs", "2"), 2, "omit it"),
        pytest.param(
            ("tcp://127.0.0.1:1",), 4, "No Dask scheduler answers at tcp://127.0.0.1:1", marks=pytest.mark.long
        ),  # Dask tries for ten seconds
    ],
)
def test_mistakes_are_a_sentence(initbench, executor, code, told):
    run = initbench(*SHORT, "--executor", *executor, "--out", "out")
    assert run.wait() == code, said(run)
    assert told in said(run)
    assert "Traceback" not in said(run)
