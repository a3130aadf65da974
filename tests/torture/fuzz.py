"""Coverage-guided fuzzing of what reads text and files of others, by libFuzzer through atheris.

    python -m tests.torture.fuzz 60          sixty seconds a target
    python -m tests.torture.fuzz 60 npy      one target

Hypothesis, in the ordinary suite, draws cases without a look at what they reach. Here the interpreter tells libFuzzer
which branches an input took, in our readers and in the parts of NumPy and of the standard library that they call. An
input that breaks a law is left as `crash-*` in the current folder, and the exit code is 1.
"""

import io
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["initbench", "numpy.lib._format_impl", "numpy.lib.format", "zipfile"]):
    import numpy as np

    from initbench.core import spec
    from initbench.datasets import arrays, files, published
    from initbench.errors import DataError, UsageError

SHAPES = ((4, 2, 3), (4,), (3, 2, 3), (3,))
FILES = tuple(published.File(name, "", shape) for name, shape in zip(published.IDX_NAMES, SHAPES, strict=True))
SOURCE = published.Source("fashion_mnist", "F", "raw", FILES, (published.Archive("none.gz", "", 0),) * 4, ())
HEADERS = [struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape) for shape in SHAPES]
WHOLE = [header + bytes(int(np.prod(shape))) for header, shape in zip(HEADERS, SHAPES, strict=True)]
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it; disks are what slows this down
HERE = Path(sys.argv[-1])  # a folder of this process alone
SPECS = ["kaiming_normal(mode='fan_out')", "f(1, a=[(2.5,), {'b': None}])", "conv=f(-1e-3); bias=g(True)", "my.py:init"]


def an_npz(member: bytes = b"") -> bytes:
    """Return an .npz of a small dataset, its x_train.npy replaced by `member` if there is one."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for key, array in {
            "x_train": np.eye(4),
            "y_train": [0, 1] * 2,
            "x_test": np.eye(4),
            "y_test": [0, 1] * 2,
        }.items():
            packed = io.BytesIO()
            np.save(packed, np.asarray(array), allow_pickle=False)
            archive.writestr(f"{key}.npy", member if member and key == "x_train" else packed.getvalue())
    return content.getvalue()


def fuzz_spec(data: bytes) -> None:
    """A text is a spec that prints to what parses back to it, or our error; cutting it loses nothing."""
    text = data.decode("utf-8", "surrogateescape")
    assert ";".join(spec.split_outside_brackets(text, ";")) == text
    try:
        parsed = spec.parse(text)
    except UsageError:
        return
    assert repr(spec.parse(str(parsed))) == repr(parsed)


def fuzz_idx(data: bytes) -> None:
    """One IDX file of four is what its place says, or our error."""
    which = data[0] % 4 if data else 0
    folder = HERE / SOURCE.folder
    folder.mkdir(parents=True, exist_ok=True)
    for i, file in enumerate(FILES):
        (folder / file.name).write_bytes(data[1:] if i == which else WHOLE[i])
    try:
        published.confirm(SOURCE, HERE)
    except DataError:
        return
    assert data[1:].startswith(HEADERS[which])
    assert len(data) - 1 == len(WHOLE[which])
    assert len(SHAPES[which]) > 1 or max(data[1 + len(HEADERS[which]) :]) <= 9


def read_npz(content: bytes) -> None:
    """An .npz is a dataset of finite numbers, or our error."""
    path = HERE / "a.npz"
    path.write_bytes(content)
    try:
        read = arrays.check(files.read_npz(path), path)
    except DataError:
        return
    assert len(read.train_images) == len(read.train_labels)
    assert read.train_images.dtype in (np.uint8, np.float32)


def fuzz_npy(data: bytes) -> None:
    """An array inside a sound archive, whose checksum would otherwise hide its header from the fuzzer."""
    read_npz(an_npz(data or b"\0"))


SEEDS = {
    "spec": (fuzz_spec, [text.encode() for text in SPECS]),
    "idx": (fuzz_idx, [bytes([i]) + content for i, content in enumerate(WHOLE)]),
    "npz": (read_npz, [an_npz()]),
    "npy": (fuzz_npy, [zipfile.ZipFile(io.BytesIO(an_npz())).read("x_train.npy")]),
}


def fuzz(target: str, seconds: str) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    warnings.simplefilter("ignore")
    function, seeds = SEEDS[target]
    corpus = HERE / "corpus"
    corpus.mkdir()
    for i, seed in enumerate(seeds):
        (corpus / str(i)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=1024", "-timeout=10"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, "-verbosity=0", "-print_final_stats=1"], function)
    atheris.Fuzz()


def main(seconds: str = "60", *targets: str) -> int:
    """Fuzz targets one after the other, each in a process of its own."""
    codes = []
    for target in targets or SEEDS:
        sys.stdout.write(f"== {target}\n")
        sys.stdout.flush()
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            command = [sys.executable, "-m", "tests.torture.fuzz", "--one", target, seconds, folder]
            codes.append(subprocess.run(command, check=False).returncode)
    return int(any(codes))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(*sys.argv[2:4])
    else:
        sys.exit(main(*sys.argv[1:]))
