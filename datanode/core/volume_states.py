"""The states of a volume while its datanode runs, and what changes them.

    HEALTHY ─ WRITE_FAILED ─► READ_ONLY ─ WRITTEN_AGAIN ─► HEALTHY
       │                         │
       ├────── SYNC_FAILED ──────┴─► SUSPECT
       └─ VANISHED (from each of the three) ─► FAILED

In READ_ONLY and SUSPECT nothing new goes there, and what is there is served. A volume that could
not be written is used again when it can be; one whose sync failed is not, because the kernel has
dropped pages and a later sync says nothing about them (rule 19): it has to be read anew, as after
a restart. FAILED is the end: what comes back to the same directory is another volume.
"""

import enum


class VolumeState(enum.Enum):
    """How a volume fares."""

    HEALTHY = "healthy"
    READ_ONLY = "read-only"
    SUSPECT = "suspect"
    FAILED = "failed"


class VolumeEvent(enum.Enum):
    """What can happen to a volume."""

    WRITE_FAILED = enum.auto()
    WRITTEN_AGAIN = enum.auto()
    SYNC_FAILED = enum.auto()
    VANISHED = enum.auto()


_HEALTHY, _READ_ONLY = VolumeState.HEALTHY, VolumeState.READ_ONLY
_SUSPECT, _FAILED = VolumeState.SUSPECT, VolumeState.FAILED

TRANSITIONS: dict[tuple[VolumeState, VolumeEvent], VolumeState] = {
    (_HEALTHY, VolumeEvent.WRITE_FAILED): _READ_ONLY,
    (_HEALTHY, VolumeEvent.WRITTEN_AGAIN): _HEALTHY,
    (_HEALTHY, VolumeEvent.SYNC_FAILED): _SUSPECT,
    (_HEALTHY, VolumeEvent.VANISHED): _FAILED,
    (_READ_ONLY, VolumeEvent.WRITE_FAILED): _READ_ONLY,
    (_READ_ONLY, VolumeEvent.WRITTEN_AGAIN): _HEALTHY,
    (_READ_ONLY, VolumeEvent.SYNC_FAILED): _SUSPECT,
    (_READ_ONLY, VolumeEvent.VANISHED): _FAILED,
    (_SUSPECT, VolumeEvent.WRITE_FAILED): _SUSPECT,
    (_SUSPECT, VolumeEvent.WRITTEN_AGAIN): _SUSPECT,
    (_SUSPECT, VolumeEvent.SYNC_FAILED): _SUSPECT,
    (_SUSPECT, VolumeEvent.VANISHED): _FAILED,
    # Operations that began before it failed may end after it did.
    (_FAILED, VolumeEvent.WRITE_FAILED): _FAILED,
    (_FAILED, VolumeEvent.WRITTEN_AGAIN): _FAILED,
    (_FAILED, VolumeEvent.SYNC_FAILED): _FAILED,
    (_FAILED, VolumeEvent.VANISHED): _FAILED,
}
