"""What is on a simulated machine's disk, and what of it lasts.

Contents and names are kept twice: as they are, and as they would be found after a crash. In between
stand the writes since the last sync of a file, and the changes of names since the last sync of
their directory. A crash keeps any of them: each write wholly, in part (one is torn at a random
byte) or not at all; each change of names (a rename is one, even across directories) or none that
builds on a lost one. That is more cruel than ext4, which keeps changes of names in their order, and
as cruel as POSIX allows; a change lasts by itself only when it is `WRITTEN_BACK_S` old. A failed
sync is final, as in Linux: what it should have made lasting never will be, though it can still be
read, and the next sync succeeds.

The storage begins as one file system; others can be plugged in over directories, and pulled out
again: then the empty directory shows that is underneath.
"""

import errno
import os
from collections import deque
from collections.abc import Callable
from random import Random

from dolmen.protocol.errors import StartRefused
from dolmen.runtime.disk import LOCK_NAME
from dolmen.simulation.sim_device import DEFAULT_CAPACITY_BYTES, SimDevice
from dolmen.simulation.sim_inode import Keeps, SimInode, is_kept

WRITTEN_BACK_S = 60.0
"""So long a change of names may get lost without a sync: twice what kernels take to write it back.
Without an end, whatever was ever deleted without one would be kept for the rest of the run."""


class SimDirectory:
    """Names, as they are now and as they last."""

    def __init__(self, device: SimDevice) -> None:
        self.device = device
        self.entries: dict[str, SimNode] = {}
        self.lasting: dict[str, SimNode] = {}

    def copy(self, device: SimDevice) -> "SimDirectory":
        """Return all that is below it now, on another device: an image of a disk."""
        twin = SimDirectory(device)
        twin.entries = {name: node.copy(device) for name, node in self.entries.items()}
        twin.lasting = dict(twin.entries)
        return twin


SimNode = SimInode | SimDirectory


class _NameChange:
    """One step: what each of these names means from now on (None: nothing)."""

    def __init__(
        self, meanings: tuple[tuple[SimDirectory, str, SimNode | None], ...], at_s: float
    ) -> None:
        self.meanings = meanings
        self.at_s = at_s
        self.directories = [directory for directory, _, _ in meanings]
        self.places = {(directory, name) for directory, name, _ in meanings}

    def last(self) -> None:
        for directory, name, node in self.meanings:
            if node is None:
                directory.lasting.pop(name, None)
            else:
                directory.lasting[name] = node


class SimStorage:
    """The disks of one simulated machine. They outlive its processes and its crashes."""

    def __init__(
        self,
        capacity_bytes: int = DEFAULT_CAPACITY_BYTES,
        now_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._now_s = now_s
        self.device = SimDevice(capacity_bytes=capacity_bytes)
        """The file system that holds what no other one does."""
        self.locks: dict[int, str] = {}
        """Which process holds which directory, by its lock file."""
        self._root = SimDirectory(self.device)
        self._name_changes: deque[_NameChange] = deque()
        self._devices = [self.device]
        self._plugged: dict[str, SimDirectory] = {}
        self._underneath: dict[str, SimDirectory] = {}
        self._pulled_out: list[SimDirectory] = []
        self._watchers: list[Callable[[str, str | None], None]] = []

    def watch(self, watcher: Callable[[str, str | None], None]) -> None:
        """Have a path told, and where it goes (None: nowhere), just before it loses its name; also
        that of a file system that is pulled out."""
        self._watchers.append(watcher)

    def plug_in(self, path: str, disk: SimDirectory | None = None) -> SimDirectory:
        """Let another file system be seen at an existing directory: `disk`, or an empty one."""
        parent, name = self._place(path)
        self._underneath[path] = self.directory(path)
        if disk is None:
            disk = SimDirectory(self.new_device())
        elif disk in self._pulled_out:
            self._pulled_out.remove(disk)
        parent.entries[name] = parent.lasting[name] = self._plugged[path] = disk
        return disk

    def new_device(self) -> SimDevice:
        """Return one that nothing is on."""
        device = SimDevice(len(self._devices) + 1)
        self._devices.append(device)
        return device

    def go_on(self) -> None:
        """No device hangs any more."""
        for device in self._devices:
            device.go_on()

    def pull_out(self, path: str) -> SimDirectory:
        """Let a file system that was plugged in vanish, and return it."""
        parent, name = self._place(path)
        disk = self.directory(path)
        for watcher in self._watchers:
            watcher(path, None)
        parent.entries[name] = parent.lasting[name] = self._underneath.pop(path)
        del self._plugged[path]
        self._pulled_out.append(disk)
        return disk

    @property
    def plugged(self) -> list[str]:
        """The directories over which a disk is plugged in now."""
        return list(self._plugged)

    def throw_away(self, disk: SimDirectory) -> None:
        """A disk that was pulled out never comes back."""
        self._pulled_out.remove(disk)

    def device_of(self, path: str) -> SimDevice:
        """Return the file system that holds a path, whether anything is there or not."""
        for mounted, disk in self._plugged.items():
            if path.startswith(mounted):
                return disk.device
        return self.device

    def crash(self, random: Random, keeps: Keeps = Keeps.SOME) -> None:
        """The machine loses its power: what was not synced is kept, torn or lost."""
        lost: set[tuple[SimDirectory, str]] = set()
        for change in self._name_changes:
            if change.places & lost or not is_kept(random, keeps):
                lost |= change.places
            else:
                change.last()
        self._name_changes.clear()
        for device in self._devices:
            device.used_bytes = 0
        for disk in [self._root, *self._pulled_out]:
            self._crash_below(disk, random, keeps)
        self.locks.clear()

    def _crash_below(self, directory: SimDirectory, random: Random, keeps: Keeps) -> None:
        directory.entries = dict(directory.lasting)
        for name in sorted(directory.entries):
            node = directory.entries[name]
            if isinstance(node, SimDirectory):
                self._crash_below(node, random, keeps)
            else:
                node.crash(random, keeps)
                node.linked = True
                node.device.used_bytes += len(node.data)

    def rot(self, path: str, offset: int) -> None:
        """Flip a bit of a file."""
        self.file(path).rot(offset)

    def find(self, path: str) -> SimNode:
        node: SimNode = self._root
        device = node.device
        device.check_readable()
        for name in path.split("/"):
            if name:
                if not isinstance(node, SimDirectory):
                    raise _error(errno.ENOTDIR, path)
                if name not in node.entries:
                    raise _error(errno.ENOENT, path)
                node = node.entries[name]
                if node.device is not device:
                    device = node.device
                    device.check_readable()
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
        for watcher in self._watchers:
            watcher(source, target)
        self._unlinked(replaced)
        self._rename((old_parent, old_name, None), (new_parent, new_name, node))

    def remove(self, path: str) -> None:
        parent, name = self._place(path)
        node = self.file(path)
        parent.device.check_writable()
        for watcher in self._watchers:
            watcher(path, None)
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
        needed: set[tuple[SimDirectory, str]] = set()
        syncing: list[_NameChange] = []
        waiting: list[_NameChange] = []
        for change in reversed(self._name_changes):
            if directory in change.directories or (needed and change.places & needed):
                needed |= change.places
                syncing.append(change)
            else:
                waiting.append(change)
        for change in reversed(syncing):
            change.last()
        self._name_changes = deque(reversed(waiting))

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
        excess = growth - device.free_bytes
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
        self._write_back()
        self._name_changes.append(_NameChange(meanings, self._now_s()))

    def _write_back(self) -> None:
        """Let what changed long ago last, oldest first: nothing is kept that builds on less."""
        until_s = self._now_s() - WRITTEN_BACK_S
        while self._name_changes and self._name_changes[0].at_s < until_s:
            self._name_changes.popleft().last()


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
