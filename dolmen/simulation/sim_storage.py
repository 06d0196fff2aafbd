"""What is on a simulated machine's disk, and what of it lasts.

Contents and names are kept twice: as they are, and as they would be found after a crash. In between
stand the writes since the last sync of a file, and the changes of names since the last sync of
their directory. A crash keeps any of them: each write wholly, in part (one is torn at a random
byte) or not at all; each change of names (a rename is one, even across directories) or none that
builds on a lost one. That is more cruel than ext4, which keeps changes of names in their order, and
as cruel as POSIX allows. A failed sync is final, as in Linux: what it should have made lasting
never will be, though it can still be read, and the next sync succeeds.

The storage begins as one file system; others can be plugged in over directories, and pulled out
again: then the empty directory shows that is underneath.
"""

import errno
import os
from dataclasses import dataclass
from random import Random

from dolmen.protocol.errors import StartRefused
from dolmen.runtime.disk import LOCK_NAME
from dolmen.simulation.sim_device import DEFAULT_CAPACITY_BYTES, SimDevice


@dataclass(frozen=True)
class _Write:
    offset: int
    data: bytes


@dataclass(frozen=True)
class _Truncate:
    length_bytes: int


class SimInode:
    """A file's bytes: as they are read now, as they last, and the changes between the two."""

    def __init__(self, device: SimDevice | None = None) -> None:
        self.device = device or SimDevice()
        self.data = bytearray()
        self._lasting = bytearray()
        self._changes: list[_Write | _Truncate] = []
        self.linked = True
        self.unreadable = False
        """The device cannot read the place that holds it."""

    def readable_data(self, start: int = 0, end: int | None = None) -> bytes:
        """Return bytes as they are read now; EIO if they cannot be."""
        if self.unreadable:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return bytes(self.data[start:end])

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

    def __init__(self, device: SimDevice) -> None:
        self.device = device
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


class SimStorage:
    """The disks of one simulated machine. They outlive its processes and its crashes."""

    def __init__(self, capacity_bytes: int = DEFAULT_CAPACITY_BYTES) -> None:
        self.device = SimDevice(capacity_bytes=capacity_bytes)
        """The file system that holds what no other one does."""
        self.locks: dict[int, str] = {}
        """Which process holds which directory, by its lock file."""
        self._root = SimDirectory(self.device)
        self._name_changes: list[_NameChange] = []
        self._devices = [self.device]
        self._underneath: dict[str, SimDirectory] = {}
        self._pulled_out: list[SimDirectory] = []

    def plug_in(self, path: str, disk: SimDirectory | None = None) -> SimDirectory:
        """Let another file system be seen at an existing directory: `disk`, or an empty one."""
        parent, name = self._place(path)
        self._underneath[path] = self.directory(path)
        if disk is None:
            disk = SimDirectory(SimDevice(len(self._devices) + 1))
            self._devices.append(disk.device)
        elif disk in self._pulled_out:
            self._pulled_out.remove(disk)
        parent.entries[name] = parent.lasting[name] = disk
        return disk

    def pull_out(self, path: str) -> SimDirectory:
        """Let a file system that was plugged in vanish, and return it."""
        parent, name = self._place(path)
        disk = self.directory(path)
        parent.entries[name] = parent.lasting[name] = self._underneath.pop(path)
        self._pulled_out.append(disk)
        return disk

    def crash(self, random: Random) -> None:
        """The machine loses its power: what was not synced is kept, torn or lost by chance."""
        lost: set[tuple[int, str]] = set()
        for change in self._name_changes:
            if change.places() & lost or random.random() < 0.5:
                lost |= change.places()
            else:
                change.last()
        self._name_changes.clear()
        for device in self._devices:
            device.used_bytes = 0
        for disk in [self._root, *self._pulled_out]:
            self._crash_below(disk, random)
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
                node.device.used_bytes += len(node.data)

    def rot(self, path: str, offset: int) -> None:
        """Flip a bit of a file."""
        self.file(path).rot(offset)

    def find(self, path: str) -> SimNode:
        node: SimNode = self._root
        node.device.check_readable()
        for name in path.split("/"):
            if name:
                if not isinstance(node, SimDirectory):
                    raise _error(errno.ENOTDIR, path)
                if name not in node.entries:
                    raise _error(errno.ENOENT, path)
                node = node.entries[name]
                node.device.check_readable()
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
            self._rename((parent, name, SimInode(parent.device)))
        return self.file(path)

    def make_directory(self, path: str) -> None:
        parent, name = self._place(path)
        if name in parent.entries:
            raise _error(errno.EEXIST, path)
        self._rename((parent, name, SimDirectory(parent.device)))

    def rename(self, source: str, target: str) -> None:
        old_parent, old_name = self._place(source)
        new_parent, new_name = self._place(target)
        node = self.find(source)
        if old_parent.device is not new_parent.device:
            raise _error(errno.EXDEV, target)
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
        new_parent.device.check_writable()
        self._unlinked(replaced)
        self._rename((old_parent, old_name, None), (new_parent, new_name, node))

    def remove(self, path: str) -> None:
        parent, name = self._place(path)
        node = self.file(path)
        parent.device.check_writable()
        self._unlinked(node)
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
        device = inode.device
        if device.syncs_to_fail or device.broken:
            device.syncs_to_fail = max(0, device.syncs_to_fail - 1)
            inode.fail_sync()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        inode.sync()

    def write(self, inode: SimInode, offset: int, data: bytes) -> None:
        """Write what fits; ENOSPC if that is not all."""
        device = inode.device
        device.check_writable()
        growth = max(offset + len(data) - len(inode.data), 0) if inode.linked else 0
        excess = device.used_bytes + growth - device.capacity_bytes
        if excess > 0:
            data = data[: max(len(data) - excess, 0)]
        before = len(inode.data)
        inode.write(offset, data)
        self._resized(inode, before)
        if excess > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def truncate(self, inode: SimInode, length_bytes: int) -> None:
        inode.device.check_writable()
        before = len(inode.data)
        inode.truncate(length_bytes)
        self._resized(inode, before)

    def lock(self, path: str, process: str) -> int:
        """Give a directory to a process; return the number of the lock."""
        self.directory(path)
        inode = self.open(f"{path.rstrip('/')}/{LOCK_NAME}", create=True)
        if id(inode) in self.locks:
            raise StartRefused(f"directory {path} is in use by process {self.locks[id(inode)]}")
        self.locks[id(inode)] = process
        return id(inode)

    def _resized(self, inode: SimInode, before_bytes: int) -> None:
        if inode.linked:
            inode.device.used_bytes += len(inode.data) - before_bytes

    def _unlinked(self, node: SimNode | None) -> None:
        if isinstance(node, SimInode) and node.linked:
            node.linked = False
            node.device.used_bytes -= len(node.data)

    def _place(self, path: str) -> tuple[SimDirectory, str]:
        parent, _, name = path.rstrip("/").rpartition("/")
        return self.directory(parent or "/"), name

    def _rename(self, *meanings: tuple[SimDirectory, str, SimNode | None]) -> None:
        for directory, name, node in meanings:
            directory.device.check_writable()
            if node is None:
                del directory.entries[name]
            else:
                directory.entries[name] = node
        self._name_changes.append(_NameChange(meanings))


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
