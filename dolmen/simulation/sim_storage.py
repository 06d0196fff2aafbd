"""What is on a simulated machine's disk, and what of it lasts.

Contents and names are kept twice: as they are, and as they would be found after a crash. In between
stand the writes since the last sync of a file, and the changes of names since the last sync of
their directory. A crash keeps any of them: each write wholly, in part (one is torn at a random
byte) or not at all; each change of names (a rename is one, even across directories) or none that
builds on a lost one. That is more cruel than ext4, which keeps changes of names in their order, and
as cruel as POSIX allows. A failed sync is final, as in Linux: what it should have made lasting
never will be, though it can still be read, and the next sync succeeds.
"""

import errno
import os
from dataclasses import dataclass, field
from random import Random

from dolmen.protocol.errors import StartRefused
from dolmen.runtime.disk import LOCK_NAME

DEFAULT_CAPACITY_BYTES = 1 << 40


@dataclass(frozen=True)
class _Write:
    offset: int
    data: bytes


@dataclass(frozen=True)
class _Truncate:
    length_bytes: int


class SimInode:
    """A file's bytes: as they are read now, as they last, and the changes between the two."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._lasting = bytearray()
        self._changes: list[_Write | _Truncate] = []
        self.linked = True

    def write(self, offset: int, data: bytes) -> None:
        self._change(_Write(offset, data))

    def truncate(self, length_bytes: int) -> None:
        self._change(_Truncate(length_bytes))

    def sync(self) -> None:
        for change in self._changes:
            _apply(change, self._lasting)
        self._changes.clear()

    def fail_sync(self) -> None:
        """The kernel has dropped the pages that it could not write, and calls them clean."""
        self._changes.clear()

    def crash(self, random: Random) -> None:
        torn = random.randrange(len(self._changes)) if self._changes else -1
        for index, change in enumerate(self._changes):
            if index == torn and isinstance(change, _Write):
                kept = random.randint(0, len(change.data))
                _apply(_Write(change.offset, change.data[:kept]), self._lasting)
            elif random.random() < 0.5:
                _apply(change, self._lasting)
        self._changes.clear()
        self.data = bytearray(self._lasting)

    def rot(self, offset: int) -> None:
        """Flip a bit, in memory and on disk, unseen."""
        for held in (self.data, self._lasting):
            if offset < len(held):
                held[offset] ^= 1

    def _change(self, change: _Write | _Truncate) -> None:
        self._changes.append(change)
        _apply(change, self.data)


def _apply(change: _Write | _Truncate, data: bytearray) -> None:
    if isinstance(change, _Truncate):
        missing = change.length_bytes - len(data)
        if missing > 0:
            data.extend(bytes(missing))
        del data[change.length_bytes :]
    elif change.data:
        gap = change.offset - len(data)
        if gap > 0:
            data.extend(bytes(gap))
        data[change.offset : change.offset + len(change.data)] = change.data


class SimDirectory:
    """Names, as they are now and as they last."""

    def __init__(self) -> None:
        self.entries: dict[str, SimNode] = {}
        self.lasting: dict[str, SimNode] = {}


SimNode = SimInode | SimDirectory


@dataclass(frozen=True)
class _NameChange:
    """One step: what each of these names means from now on (None: nothing)."""

    meanings: tuple[tuple[SimDirectory, str, SimNode | None], ...]

    def places(self) -> set[tuple[int, str]]:
        return {(id(directory), name) for directory, name, _ in self.meanings}

    def last(self) -> None:
        for directory, name, node in self.meanings:
            if node is None:
                directory.lasting.pop(name, None)
            else:
                directory.lasting[name] = node


@dataclass
class SimStorage:
    """The disk of one simulated machine. It outlives the processes and crashes of the machine."""

    capacity_bytes: int = DEFAULT_CAPACITY_BYTES
    used_bytes: int = 0
    syncs_to_fail: int = 0
    """So many of the next syncs fail."""
    locks: dict[str, str] = field(default_factory=dict)
    """Which process holds which directory."""

    def __post_init__(self) -> None:
        self._root = SimDirectory()
        self._name_changes: list[_NameChange] = []

    def crash(self, random: Random) -> None:
        """The machine loses its power: what was not synced is kept, torn or lost by chance."""
        lost: set[tuple[int, str]] = set()
        for change in self._name_changes:
            if change.places() & lost or random.random() < 0.5:
                lost |= change.places()
            else:
                change.last()
        self._name_changes.clear()
        self.used_bytes = 0
        self._crash_below(self._root, random)
        self.locks.clear()

    def _crash_below(self, directory: SimDirectory, random: Random) -> None:
        directory.entries = dict(directory.lasting)
        for name in sorted(directory.entries):
            node = directory.entries[name]
            if isinstance(node, SimDirectory):
                self._crash_below(node, random)
            else:
                node.crash(random)
                node.linked = True
                self.used_bytes += len(node.data)

    def rot(self, path: str, offset: int) -> None:
        """Flip a bit of a file."""
        self.file(path).rot(offset)

    def find(self, path: str) -> SimNode:
        node: SimNode = self._root
        for name in path.split("/"):
            if name:
                if not isinstance(node, SimDirectory):
                    raise _error(errno.ENOTDIR, path)
                if name not in node.entries:
                    raise _error(errno.ENOENT, path)
                node = node.entries[name]
        return node

    def file(self, path: str) -> SimInode:
        node = self.find(path)
        if isinstance(node, SimDirectory):
            raise _error(errno.EISDIR, path)
        return node

    def directory(self, path: str) -> SimDirectory:
        node = self.find(path)
        if not isinstance(node, SimDirectory):
            raise _error(errno.ENOTDIR, path)
        return node

    def open(self, path: str, *, create: bool) -> SimInode:
        parent, name = self._place(path)
        if create and name not in parent.entries:
            self._rename((parent, name, SimInode()))
        return self.file(path)

    def make_directory(self, path: str) -> None:
        parent, name = self._place(path)
        if name in parent.entries:
            raise _error(errno.EEXIST, path)
        self._rename((parent, name, SimDirectory()))

    def rename(self, source: str, target: str) -> None:
        old_parent, old_name = self._place(source)
        new_parent, new_name = self._place(target)
        node = self.find(source)
        replaced = new_parent.entries.get(new_name)
        if replaced is node:
            return
        if isinstance(replaced, SimDirectory):
            if not isinstance(node, SimDirectory):
                raise _error(errno.EISDIR, target)
            if replaced.entries:
                raise _error(errno.ENOTEMPTY, target)
        elif replaced is not None and isinstance(node, SimDirectory):
            raise _error(errno.ENOTDIR, target)
        self._unlinked(replaced)
        self._rename((old_parent, old_name, None), (new_parent, new_name, node))

    def remove(self, path: str) -> None:
        parent, name = self._place(path)
        self._unlinked(self.file(path))
        self._rename((parent, name, None))

    def remove_directory(self, path: str) -> None:
        parent, name = self._place(path)
        if self.directory(path).entries:
            raise _error(errno.ENOTEMPTY, path)
        self._rename((parent, name, None))

    def sync_directory(self, path: str) -> None:
        """Make this directory's names last, and every earlier change that they build on."""
        directory = self.directory(path)
        needed: set[tuple[int, str]] = set()
        syncing: list[_NameChange] = []
        waiting: list[_NameChange] = []
        for change in reversed(self._name_changes):
            touches = any(place is directory for place, _, _ in change.meanings)
            if touches or change.places() & needed:
                needed |= change.places()
                syncing.append(change)
            else:
                waiting.append(change)
        for change in reversed(syncing):
            change.last()
        self._name_changes = waiting[::-1]

    def sync(self, inode: SimInode) -> None:
        if self.syncs_to_fail:
            self.syncs_to_fail -= 1
            inode.fail_sync()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        inode.sync()

    def write(self, inode: SimInode, offset: int, data: bytes) -> None:
        """Write what fits; ENOSPC if that is not all."""
        growth = max(offset + len(data) - len(inode.data), 0) if inode.linked else 0
        excess = self.used_bytes + growth - self.capacity_bytes
        if excess > 0:
            data = data[: max(len(data) - excess, 0)]
        before = len(inode.data)
        inode.write(offset, data)
        self._resized(inode, before)
        if excess > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def truncate(self, inode: SimInode, length_bytes: int) -> None:
        before = len(inode.data)
        inode.truncate(length_bytes)
        self._resized(inode, before)

    def lock(self, path: str, process: str) -> None:
        self.directory(path)
        if path in self.locks:
            raise StartRefused(f"directory {path} is in use by process {self.locks[path]}")
        self.open(f"{path.rstrip('/')}/{LOCK_NAME}", create=True)
        self.locks[path] = process

    def _resized(self, inode: SimInode, before_bytes: int) -> None:
        if inode.linked:
            self.used_bytes += len(inode.data) - before_bytes

    def _unlinked(self, node: SimNode | None) -> None:
        if isinstance(node, SimInode) and node.linked:
            node.linked = False
            self.used_bytes -= len(node.data)

    def _place(self, path: str) -> tuple[SimDirectory, str]:
        parent, _, name = path.rstrip("/").rpartition("/")
        return self.directory(parent or "/"), name

    def _rename(self, *meanings: tuple[SimDirectory, str, SimNode | None]) -> None:
        for directory, name, node in meanings:
            if node is None:
                del directory.entries[name]
            else:
                directory.entries[name] = node
        self._name_changes.append(_NameChange(meanings))


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
