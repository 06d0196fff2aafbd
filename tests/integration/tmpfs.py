"""Small disks: file systems in memory, mounted where a test wants them, and gone after it.

Each is mounted twice: at a place of its own, which keeps its contents, and bound to where it is
used. So it can vanish from there, and come back as it was. Only root may mount; who may not skips
the test, which in CI counts as a failure.
"""

import contextlib
import errno
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Longer than a process holds a file open for writing that it writes now and then.
BUSY_FOR_S = 20.0
POLL_S = 0.01

FILLER = "filler"
PIECE_BYTES = 64 * 1024


class SmallDisk:
    """A file system of `size_mib` MiB that is used at `path`."""

    def __init__(self, path: Path, keeper: Path, size_mib: int) -> None:
        self.path = path
        self._keeper = keeper
        keeper.mkdir(parents=True)
        path.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0755", "tmpfs", str(keeper))

    def plug_in(self) -> None:
        """Let it be at its path."""
        _run("mount", "--bind", str(self._keeper), str(self.path))

    def pull_out(self) -> None:
        """Let it vanish from its path, also under those who use it; it keeps what it holds."""
        _run("umount", "-l", str(self.path))

    def make_read_only(self) -> None:
        """Let nobody write, as a kernel does that met an error; wait for a moment in which no file
        is open for writing."""
        deadline = time.monotonic() + BUSY_FOR_S
        while not _succeeds("mount", "-o", "remount,ro", str(self._keeper)):
            assert time.monotonic() < deadline, f"{self.path} stays busy"
            time.sleep(POLL_S)

    def make_writable(self) -> None:
        """Let it be written again."""
        _run("mount", "-o", "remount,rw", str(self._keeper))

    def fill(self, leave_bytes: int = 0) -> None:
        """Let a stranger take all its space but `leave_bytes`."""
        piece = bytes(PIECE_BYTES)
        descriptor = os.open(self._keeper / FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while (room := self.free_bytes - leave_bytes) > 0:
                os.write(descriptor, piece[:room])
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        """Give the space that `fill` took back."""
        (self._keeper / FILLER).unlink()

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self._keeper)
        return found.f_frsize * found.f_bavail

    @property
    def contents(self) -> Path:
        """Where what it holds can be seen, wherever it is plugged in."""
        return self._keeper

    def remove(self) -> None:
        """Unmount it everywhere; nothing if that has happened."""
        for path in (self.path, self._keeper):
            while os.path.ismount(path) and _succeeds("umount", "-l", str(path)):
                pass
        with contextlib.suppress(OSError):
            self._keeper.rmdir()


class SmallDisks:
    """The small disks of one test."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._disks: list[SmallDisk] = []

    def plug_in(self, path: Path, size_mib: int) -> SmallDisk:
        """Return a new, empty disk that is used at `path`; pull another one out of there first."""
        try:
            disk = SmallDisk(path, self._root / f"disk-{len(self._disks)}", size_mib)
        except PermissionError:
            pytest.skip("only who may mount can have small disks")
        self._disks.append(disk)
        disk.plug_in()
        return disk

    def remove(self) -> None:
        """Unmount them all, the last ones first."""
        for disk in reversed(self._disks):
            disk.remove()


@contextmanager
def small_disks_below(root: Path) -> Iterator[SmallDisks]:
    """Have small disks, which are gone at the end whatever happens."""
    disks = SmallDisks(root)
    try:
        yield disks
    finally:
        disks.remove()


def _succeeds(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _run(*words: str) -> None:
    """Run a command; PermissionError if this user, or this machine, may not do what it does."""
    done = subprocess.run(words, capture_output=True, check=False, text=True)
    if done.returncode == 0:
        return
    if os.geteuid() != 0 or "permission denied" in done.stderr.lower():
        raise PermissionError(done.stderr)
    raise AssertionError(f"{' '.join(words)}: {done.stderr}")
