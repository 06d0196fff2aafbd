"""The exclusive lock of a directory, held by one process at a time."""

import contextlib
import errno
import fcntl
import os

from dolmen.protocol.errors import StartRefused
from dolmen.runtime.disk import LOCK_NAME


class FileLock:
    """An flock on the file `lock` of the directory, which the kernel drops with the process.

    It is held by a descriptor for reading: one for writing would keep a file system from being
    made read-only.
    """

    def __init__(self, path: str) -> None:
        name = os.path.join(path, LOCK_NAME)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        self._descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            if error.errno != errno.EWOULDBLOCK:
                raise
            raise StartRefused(
                f"directory {path} is in use by process {owner or 'unknown'}"
            ) from None
        with contextlib.suppress(OSError):  # a full or read-only disk is locked all the same
            _write_owner(name)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _write_owner(name: str) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    finally:
        os.close(descriptor)
