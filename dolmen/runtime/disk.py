"""The port to disks: positioned reads and writes, and the syncs that make them last.

What was written counts only after `sync` of the file, a file's name only after `sync_directory` of
the directory that holds it: the simulated disk (`dolmen.simulation.sim_disk`) takes everything else
away in a crash. A failed sync is final: the file object must not be used again, and its bytes are
suspect. Errors are `OSError` with the usual errno (ENOSPC, EIO, ENOENT, EEXIST). Paths are absolute
strings.

The real implementation runs on a small thread pool of its own, one `Disk` for each volume, so that
a slow volume holds up nobody else. Cancelling a call does not undo or stop an operation under way.
Going to a thread and back costs more than most operations do: `in_one_go` does several for one.
"""

from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from dolmen.protocol.checksums import Buffer

T = TypeVar("T")

LOCK_NAME = "lock"
"""The entry that `lock_directory` leaves in a directory."""


class DiskFile(Protocol):
    """An open file."""

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        """Read at `offset` into `buffer`; return the number of bytes: short only at the end."""

    async def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of `data` at `offset`, extending the file if need be."""

    async def truncate(self, length_bytes: int) -> None:
        """Cut or extend the file to `length_bytes`."""

    async def sync(self) -> None:
        """Make the file's bytes and length last."""

    async def size(self) -> int:
        """Return the file's length in bytes."""

    async def close(self) -> None:
        """Close without sync. Idempotent."""


class DirectoryLock(Protocol):
    """A directory that this process alone may use."""

    def release(self) -> None:
        """Give it up; the death of the process does the same."""


class Disk(Protocol):
    """One file system, or one volume's share of its threads."""

    async def in_one_go(self, operations: Coroutine[Any, Any, T]) -> T:
        """Do what `operations` awaits, one after the other, as one piece of work on a thread.

        It awaits operations of this disk and its files and nothing else, and touches nothing that
        the event loop or another piece of work may use meanwhile. Each of its operations is as
        when it is awaited by itself, also in a crash. Like one of them it runs to its end when its
        caller is cancelled: it closes what it opens, unless that is its result.
        """

    async def open(
        self, path: str, *, create: bool = False, writable: bool = True, past_cache: bool = False
    ) -> DiskFile:
        """Open a file; `create` makes it if it is missing (never truncates).

        With `past_cache`, reads come from the device, as far as the file is synced, and leave
        nothing in memory: so one sees what is stored.
        """

    async def read_file(self, path: str) -> bytes:
        """Return all bytes of a small file."""

    async def write_file(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Replace a small file atomically and durably: temporary name, sync, rename, directory
        sync.

        `mode` are its permissions from the start: a secret is readable by nobody else at any time.
        """

    async def rename(self, source: str, target: str) -> None:
        """Rename, replacing a target; lasting only after `sync_directory` of both directories."""

    async def remove(self, path: str) -> None:
        """Remove a file."""

    async def remove_tree(self, path: str) -> None:
        """Remove a directory with all it holds; a missing one is fine."""

    async def make_directories(self, path: str, *, below: str = "/") -> None:
        """Make a directory and its missing parents, each made one lasting (parents synced).

        FileNotFoundError if `below`, a directory above `path`, is missing: it is never made.
        """

    async def sync_directory(self, path: str) -> None:
        """Make names made, renamed and removed in this directory last."""

    async def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; FileNotFoundError if it is missing."""

    async def is_directory(self, path: str) -> bool:
        """Return whether `path` is an existing directory."""

    async def exists(self, path: str) -> bool:
        """Return whether anything has this name."""

    async def space(self, path: str) -> tuple[int, int]:
        """Return (capacity, free) of the file system that holds `path`, in bytes."""

    async def device(self, path: str) -> int:
        """Return the number of the file system that holds `path`."""

    def lock_directory(self, path: str) -> DirectoryLock:
        """Take the exclusive lock of an existing directory; StartRefused if another process has it.

        Leaves an entry named LOCK_NAME in the directory.
        """

    def close(self) -> None:
        """Stop the threads, after the operations under way."""
