"""Storage that fails: the Nth thing done below a folder raises, once or from then on.

Opening, renaming, creating folders, changing modes, deleting and listing are caught by an audit hook, which sees C code
too; writing and syncing by wrappers, a write after half of its bytes.
"""

import errno
import os
import sys
from pathlib import Path

EVENTS = {"open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.scandir", "os.listdir"}


class Storage:
    """Counts what is done below `folder`; `log` keeps the first failure as text, or how many things were done."""

    def __init__(self, folder, number, once, log):
        self.folder, self.number, self.once, self.log = str(folder), number, once, Path(log)
        self.count = 0
        self.armed = True

    def meets(self, what, path):
        """Raise where it is time to; `path` may be one of a file elsewhere."""
        if not self.armed or not str(path).startswith(self.folder):
            return
        self.count += 1
        if self.count == self.number or (self.count > self.number and not self.once):
            if self.count == self.number:
                self.tell(f"failed {what} {path}")
            code = errno.EIO if what in {"fsync", "open"} else errno.ENOSPC
            raise OSError(code, os.strerror(code), str(path))

    def tell(self, text):
        self.armed, before = False, self.armed
        self.log.write_text(text)
        self.armed = before


class Writer:
    """A file that may fail in the middle of a write."""

    def __init__(self, file, storage):
        self.file, self.storage = file, storage

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        try:
            self.storage.meets("write", _name_of(self.file.fileno()))
        except OSError:
            self.file.write(data[: len(data) // 2])
            raise
        return self.file.write(data)


def arm(folder, number, once, log):
    """Make this process's storage fail, until it ends."""
    storage = Storage(folder, number, once, log)
    fsync, fdopen = os.fsync, os.fdopen

    def failing_fsync(handle):
        storage.meets("fsync", _name_of(handle))
        fsync(handle)

    def failing_fdopen(*arguments, **options):
        return Writer(fdopen(*arguments, **options), storage)

    def hook(event, arguments):
        if event in EVENTS and isinstance(arguments[0], str | Path):
            storage.meets(event, arguments[0])

    os.fsync, os.fdopen = failing_fsync, failing_fdopen
    sys.addaudithook(hook)
    return storage


def _name_of(handle):
    return Path(f"/proc/self/fd/{handle}").readlink()
