"""A file's bytes on a simulated disk: as they are read, as they last, and what is in between.

Most files are written once, synced and kept: the two are one buffer then, until a change.
"""

import enum
import errno
import os
from dataclasses import dataclass
from random import Random

from dolmen.simulation.sim_device import SimDevice


class Keeps(enum.Enum):
    """What a loss of power leaves of what was not synced."""

    SOME = "some"
    """Any part of it, by chance; one write of each file may be torn."""
    NOTHING = "nothing"
    EVERYTHING = "everything"


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
        self.rotten = False
        """A bit of it has flipped since it was written."""

    def readable_data(self, start: int = 0, end: int | None = None) -> bytes:
        """Return bytes as they are read now; EIO if they cannot be."""
        self.device.check_read()
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
        if self._lasting == self.data:  # not so after a sync that failed
            self._lasting = self.data

    def fail_sync(self) -> None:
        """The kernel has dropped the pages that it could not write, and calls them clean."""
        self._changes.clear()

    def crash(self, random: Random, keeps: Keeps) -> None:
        torn = -1
        if self._changes and keeps is Keeps.SOME:
            torn = random.randrange(len(self._changes))
        for index, change in enumerate(self._changes):
            if index == torn and isinstance(change, _Write):
                kept = random.randint(0, len(change.data))
                _apply(_Write(change.offset, change.data[:kept]), self._lasting)
            elif is_kept(random, keeps):
                _apply(change, self._lasting)
        self._changes.clear()
        self.data = self._lasting

    def rot(self, offset: int) -> None:
        """Flip a bit, in memory and on disk, unseen."""
        self.rotten = True
        buffers = (self.data,) if self._lasting is self.data else (self.data, self._lasting)
        for held in buffers:
            if offset < len(held):
                held[offset] ^= 1

    def copy(self, device: SimDevice) -> "SimInode":
        """Return the same file as it is now, on another device."""
        twin = SimInode(device)
        twin.data = twin._lasting = bytearray(self.data)
        twin.unreadable, twin.rotten = self.unreadable, self.rotten
        device.used_bytes += len(twin.data)
        return twin

    def _change(self, change: _Write | _Truncate) -> None:
        if self._lasting is self.data:
            self._lasting = bytearray(self.data)
        self._changes.append(change)
        _apply(change, self.data)


def is_kept(random: Random, keeps: Keeps) -> bool:
    """Return whether a loss of power leaves a change that was not synced."""
    return random.random() < 0.5 if keeps is Keeps.SOME else keeps is Keeps.EVERYTHING


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
