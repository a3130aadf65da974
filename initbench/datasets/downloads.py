"""Downloads: https only, known hashes, several mirrors, and published only when complete and verified."""

import errno
import gzip
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from initbench.datasets.published import Archive, Source, confirm
from initbench.errors import ConfigurationError, DataError

Progress = Callable[[int, int], None]

# An opener for https only: a mirror or redirect to plain http fails by construction.
Handlers = tuple[type[urllib.request.BaseHandler], ...]
HANDLERS: Handlers = (urllib.request.HTTPSHandler,)
PLUMBING: Handlers = (
    urllib.request.UnknownHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPErrorProcessor,
)
TIMEOUT_SECONDS = 30.0  # without a byte
SLOWEST = 1000  # bytes per second, after that time: a mirror must not stall a download by sending single bytes
CHUNK_BYTES = 1 << 16
# Faults of the disk, not of a mirror: the next mirror would fail as well.
DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
# A mirror that sends more than this multiple of the known size sends another file.
SIZE_LIMIT = 2


def fetch_source(source: Source, data_dir: Path, progress: Progress | None = None) -> Path:
    """Download, verify and publish a dataset; return its folder. An intact dataset is kept.

    `progress` is called with the bytes received and the bytes expected in all.

    Raises:
        DataError: no mirror delivered it; no partial files are left.
        ConfigurationError: the data folder cannot be written.
    """
    final = data_dir / source.folder
    if _is_intact(source, data_dir):
        return final
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # In the data folder, so in the same file system: publishing is a rename.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=data_dir, ignore_cleanup_errors=True) as name:
            part = Path(name)
            _download_all(source, data_dir, part, progress or (lambda _received, _expected: None))
            _unpack(source, part)
            confirm(source, part)
            _publish(part / source.folder, final)
    except (OSError, tarfile.TarError) as error:
        raise ConfigurationError(
            f"Cannot write {source.title} to {data_dir} ({error}): choose another folder with --data-dir or "
            f"INITBENCH_DATA."
        ) from error
    return final


def _is_intact(source: Source, data_dir: Path) -> bool:
    try:
        confirm(source, data_dir)
    except DataError:
        return False
    return True


def _download_all(source: Source, data_dir: Path, part: Path, progress: Progress) -> None:
    done = 0
    for archive in source.archives:

        def report(received: int, before: int = done) -> None:
            progress(before + received, source.size)

        _download(source, archive, data_dir, part, report)
        done += archive.size
    progress(source.size, source.size)


def _download(source: Source, archive: Archive, data_dir: Path, part: Path, progress: Callable[[int], None]) -> None:
    """Try each mirror in turn."""
    import pooch  # noqa: PLC0415 - brings requests with it, and only downloads need it

    pooch.get_logger().setLevel("WARNING")  # its message per file would break the progress bar

    def stream(url: str, output: str, _pooch: object) -> None:
        _stream(url, Path(output), SIZE_LIMIT * archive.size, progress)

    failures = []
    for mirror in source.mirrors:
        try:
            pooch.retrieve(
                mirror + archive.name,
                known_hash=f"sha256:{archive.sha256}",
                fname=archive.name,
                path=part,
                downloader=stream,
            )
        except Exception as error:  # whatever is wrong with a mirror, the next may work
            if isinstance(error, OSError) and error.errno in DISK_FAULTS:
                raise
            failures.append(f"{urlsplit(mirror).hostname}: {_words(error)}")
        else:
            return
    raise DataError(
        f"No mirror delivered {archive.name} of {source.title} ({'; '.join(failures)}), and {data_dir / source.folder} "
        f"does not have it: connect to the network and fetch again, name a folder that has it with --data-dir, or use "
        f"--dataset digits."
    )


def _stream(url: str, path: Path, limit: int, progress: Callable[[int], None]) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "initbench"})  # noqa: S310 - HANDLERS know only https
    received, began = 0, time.monotonic()
    response: HTTPResponse = _opener().open(request, timeout=TIMEOUT_SECONDS)
    with response, path.open("wb") as file:
        while chunk := response.read1(CHUNK_BYTES):
            received += len(chunk)
            if received > limit:
                raise ValueError
            if received < SLOWEST * (time.monotonic() - began - TIMEOUT_SECONDS):
                raise TimeoutError(f"sends less than {SLOWEST} bytes a second")
            file.write(chunk)
            progress(received)


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme == "https"}
    opener.add_handler(urllib.request.ProxyHandler(proxies))
    for handler in (*PLUMBING, *HANDLERS):
        opener.add_handler(handler())
    return opener


def _words(error: Exception) -> str:
    # pooch and the size limit both raise ValueError for other content; the message of pooch has several paragraphs.
    if isinstance(error, ValueError):
        return "its content is not the published one"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(reason) or repr(reason)


def _unpack(source: Source, part: Path) -> None:
    """Unpack the required files, by name, to their place in a data folder."""
    folder = part / source.folder
    folder.mkdir(parents=True)
    for archive in source.archives:
        packed = part / archive.name
        if archive.name.endswith(".tar.gz"):
            _unpack_tar(source, packed, folder)
        else:
            with gzip.open(packed) as content, (folder / archive.name.removesuffix(".gz")).open("wb") as file:
                shutil.copyfileobj(content, file)
            # Kept, as torchvision does; if no hash of the unpacked file is published, it verifies that file.
            packed.rename(folder / archive.name)


def _unpack_tar(source: Source, packed: Path, folder: Path) -> None:
    # Only the required regular members, each under our own name: paths in the archive are not used.
    names = {f"{source.folder}/{file.name}": file.name for file in source.files}
    with tarfile.open(packed, "r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() and member.name in names else None
            if content is not None:
                with content, (folder / names[member.name]).open("wb") as file:
                    shutil.copyfileobj(content, file)


def _publish(part: Path, final: Path) -> None:
    """Rename the folder to its place, or into an existing folder its verified files one by one; other files stay."""
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        for path in part.iterdir():
            path.replace(final / path.name)
