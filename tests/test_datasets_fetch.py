"""Downloads from a mirror on the loopback that lies, breaks off and redirects: nothing of it is ever left in place."""

import dataclasses
import hashlib
import io
import socket
import tarfile
import threading
import urllib.request
import urllib.response
from email.message import Message

import pytest
from mirror import ARCHIVES, listing, publish, serving

import initbench.datasets as ds
from initbench.datasets import downloads, published
from initbench.errors import ConfigurationError, DataError, UsageError


@pytest.fixture
def server(monkeypatch):
    """Start a mirror on the loopback and let the opener speak http to it."""
    monkeypatch.setattr(downloads, "HANDLERS", (urllib.request.HTTPHandler,))
    with serving() as http:
        yield http


@pytest.fixture
def idx_source(server, monkeypatch, tmp_path):
    """Publish a small Fashion-MNIST and return its source; mirrors: /bad/, /good/."""
    monkeypatch.setenv("INITBENCH_CACHE", str(tmp_path / "cache"))
    source = publish(server, "bad", "good")
    monkeypatch.setitem(published.SOURCES, "fashion_mnist", source)
    return source


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def only_bad(monkeypatch, source):
    lone = dataclasses.replace(source, mirrors=source.mirrors[:1])
    monkeypatch.setitem(published.SOURCES, source.name, lone)
    return lone


FIRST = ARCHIVES[0]
LIES = {
    "absent": lambda _good: (404, {}, b"gone"),
    "broken server": lambda _good: (500, {}, b""),
    "html": lambda _good: (200, {"Content-Type": "text/html"}, b"<html>This domain is for sale</html>"),
    "empty": lambda _good: (200, {}, b""),
    "cut short": lambda good: (200, {"Content-Length": str(len(good))}, good[: len(good) // 2]),
    "cut at the end": lambda good: (200, {}, good[:-1]),
    "flipped byte": lambda good: (200, {}, good[:-9] + bytes([good[-9] ^ 4]) + good[-8:]),
    "one byte more": lambda good: (200, {}, good + b"\0"),
    "endless": lambda good: (200, {}, good * 50),
    "to ftp": lambda _good: (302, {"Location": "ftp://127.0.0.1/x"}, b""),
    "in a circle": lambda _good: (302, {"Location": f"/bad/{FIRST}"}, b""),
}


def lie(server, kind):
    server.pages[f"/bad/{FIRST}"] = LIES[kind](server.pages[f"/good/{FIRST}"][2])


def test_what_is_fetched_is_parsed_verified_and_fetched_once(server, idx_source, data):
    seen = []
    folder = ds.fetch("fashion_mnist", data, lambda *bytes_of: seen.append(bytes_of))
    assert folder == data / "FashionMNIST" / "raw"
    dataset = ds.prepare("fashion_mnist", data)
    assert (dataset.shape, dataset.train_size, dataset.val_size, dataset.test_size) == ((1, 3, 4), 27, 3, 20)
    assert ds.locate("fashion_mnist", data).state == "verified"
    assert "SHA-256" in ds.locate("fashion_mnist", data).note
    assert {total for _, total in seen} == {idx_source.size}
    assert [received for received, _ in seen] == sorted(received for received, _ in seen)
    assert seen[-1] == (idx_source.size, idx_source.size)
    asked = len(server.asked)
    assert ds.fetch("fashion_mnist", data) == folder
    assert len(server.asked) == asked
    assert listing(data)[:2] == ["FashionMNIST", "FashionMNIST/raw"]


@pytest.mark.parametrize("kind", LIES)
def test_a_bad_mirror_is_passed_over_for_the_next(server, idx_source, data, kind):
    lie(server, kind)
    ds.fetch("fashion_mnist", data)
    assert f"/bad/{FIRST}" in server.asked
    assert f"/good/{FIRST}" in server.asked
    assert published.confirm(idx_source, data).startswith("SHA-256")


@pytest.mark.parametrize("kind", LIES)
def test_where_every_mirror_is_bad_nothing_is_left_and_the_ways_out_are_named(
    server, idx_source, data, kind, monkeypatch
):
    lie(server, kind)
    only_bad(monkeypatch, idx_source)
    with pytest.raises(DataError) as caught:
        ds.fetch("fashion_mnist", data)
    for word in (FIRST, "127.0.0.1", str(data / "FashionMNIST/raw"), "--data-dir", "--dataset digits"):
        assert word in str(caught.value)
    assert listing(data) == []


def test_a_mirror_that_sends_without_end_is_cut_off(server, tmp_path):
    server.pages["/long"] = (200, {}, bytes(2_000_000))
    seen = []
    with pytest.raises(ValueError, match=r"^$"):
        downloads._stream(f"{server.url}/long", tmp_path / "long", 100_000, seen.append)
    assert max(seen) <= 100_000


def test_a_mirror_that_stalls_is_passed_over(server, idx_source, data, monkeypatch):
    lie(server, "empty")
    release = threading.Event()
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.2)
    server.pages[f"/bad/{FIRST}"] = (200, {"Content-Length": "10"}, b"x")
    server.before_body = lambda: release.wait(5) if server.asked[-1].startswith("/bad/") else None
    try:
        ds.fetch("fashion_mnist", data)
    finally:
        release.set()
    assert published.confirm(idx_source, data).startswith("SHA-256")


def test_a_mirror_that_nobody_serves_is_passed_over(idx_source, data, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/"
    source = dataclasses.replace(idx_source, mirrors=(dead, "https://nowhere.invalid/", idx_source.mirrors[1]))
    monkeypatch.setitem(published.SOURCES, "fashion_mnist", source)
    ds.fetch("fashion_mnist", data)
    assert published.confirm(idx_source, data).startswith("SHA-256")


def test_a_stop_from_the_keyboard_leaves_nothing(idx_source, data):
    def stop(_received, _expected):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ds.fetch("fashion_mnist", data, stop)
    assert listing(data) == []


def test_a_damaged_file_is_replaced_and_what_else_is_there_stays(idx_source, data):
    folder = ds.fetch("fashion_mnist", data)
    images = folder / published.IDX_NAMES[0]
    whole = images.read_bytes()
    images.write_bytes(whole[:-3])
    (folder / "mine.txt").write_text("keep")
    assert ds.locate("fashion_mnist", data).state == "damaged"
    ds.fetch("fashion_mnist", data)
    assert images.read_bytes() == whole
    assert (folder / "mine.txt").read_text() == "keep"
    assert not [name for name in listing(data) if ".fetch-" in name]
    assert published.confirm(idx_source, data).startswith("SHA-256")


def test_a_data_folder_that_cannot_be_written_names_the_remedy(idx_source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="choose another folder with --data-dir"):
        ds.fetch("fashion_mnist", tmp_path / "file" / "data")


def test_a_full_disk_while_unpacking_leaves_nothing(idx_source, data, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.shutil, "copyfileobj", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        ds.fetch("fashion_mnist", data)
    monkeypatch.undo()
    assert listing(data) == []


# ---- never plain http


def test_every_mirror_speaks_https():
    assert all(mirror.startswith("https://") for source in published.SOURCES.values() for mirror in source.mirrors)
    assert all(source.mirrors for source in published.SOURCES.values())
    assert [handler.__name__ for handler in downloads.HANDLERS] == ["HTTPSHandler"]


def test_a_mirror_of_plain_http_is_not_even_asked(server, idx_source, data, monkeypatch):
    monkeypatch.setattr(downloads, "HANDLERS", (urllib.request.HTTPSHandler,))
    with pytest.raises(DataError, match="unknown url type: http"):
        ds.fetch("fashion_mnist", data)
    assert (server.asked, listing(data)) == ([], [])
    assert idx_source.mirrors[1].startswith("http://")


def test_a_redirect_from_https_to_http_is_not_followed(server, idx_source, data, monkeypatch):
    target = f"{server.url}/good/{FIRST}"

    class Redirecting(urllib.request.BaseHandler):
        """Answers any https request with the way to plain http."""

        def https_open(self, _request):
            headers = Message()
            headers["Location"] = target
            answer = urllib.response.addinfourl(io.BytesIO(), headers, "https://mirror.invalid/", 302)
            answer.msg = "Found"
            return answer

    monkeypatch.setattr(downloads, "HANDLERS", (Redirecting,))
    source = dataclasses.replace(idx_source, mirrors=("https://mirror.invalid/",))
    monkeypatch.setitem(published.SOURCES, "fashion_mnist", source)
    with pytest.raises(DataError, match="unknown url type: http"):
        ds.fetch("fashion_mnist", data)
    assert (server.asked, listing(data)) == ([], [])


# ---- archives


@pytest.fixture
def tar_source(server, monkeypatch):
    """Publish a CIFAR-100 archive of small files beside members that must not be unpacked."""
    wanted = {"train": b"training batch", "test": b"test batch", "meta": b"names"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        members = {f"cifar-100-python/{name}": body for name, body in wanted.items()}
        for name, body in {**members, "cifar-100-python/extra": b"x", "../evil": b"x", "/tmp/evil": b"x"}.items():  # noqa: S108
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
        link = tarfile.TarInfo("cifar-100-python/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    body = packed.getvalue()
    server.pages["/cifar-100-python.tar.gz"] = (200, {}, body)

    def md5(content):
        return "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()

    source = dataclasses.replace(
        published.CIFAR100,
        files=tuple(published.File(name, md5(content)) for name, content in wanted.items()),
        archives=(published.Archive("cifar-100-python.tar.gz", hashlib.sha256(body).hexdigest(), len(body)),),
        mirrors=(f"{server.url}/",),
    )
    monkeypatch.setitem(published.SOURCES, "cifar100", source)
    return source


def test_only_the_wanted_members_of_an_archive_are_unpacked(tar_source, data):
    folder = ds.fetch("cifar100", data)
    assert listing(data) == ["cifar-100-python", *(f"cifar-100-python/{name}" for name in ("meta", "test", "train"))]
    assert (folder / "train").read_bytes() == b"training batch"
    assert published.confirm(tar_source, data) == "MD5 of all 3 files verified"


def test_an_archive_whose_members_are_not_the_published_ones_is_not_put_in_place(tar_source, data, monkeypatch):
    others = (*tar_source.files[:2], published.File("meta", "md5:" + "0" * 32))
    monkeypatch.setitem(published.SOURCES, "cifar100", dataclasses.replace(tar_source, files=others))
    with pytest.raises(DataError, match="has the md5"):
        ds.fetch("cifar100", data)
    assert listing(data) == []


def test_two_fetches_at_once_both_succeed(idx_source, data):
    failures = []

    def run():
        try:
            ds.fetch("fashion_mnist", data)
        except Exception as error:  # noqa: BLE001 - a thread's error must reach the test
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert published.confirm(idx_source, data).startswith("SHA-256")


def test_there_is_nothing_to_fetch_for_digits(data):
    with pytest.raises(UsageError, match="'digits' needs no download"):
        ds.fetch("digits", data)
