"""Trying whether a volume is still there and can be written."""

import asyncio

from datanode.core.volume_states import VolumeEvent
from datanode.home import PROBE_NAME
from datanode.version_file import DirectoryUnusable, read_identity
from datanode.volume import Volume, is_full, is_unwritable, will_pass
from dolmen.protocol.errors import StartRefused

PROBE_S = 60.0
"""A disk that is silent for so long is dead: a busy one answers within seconds."""

PROBE_DATA = bytes(4096)
"""What is written: a block of most file systems."""


async def probe(volume: Volume) -> tuple[VolumeEvent, str] | None:
    """Return what is known of a volume now, and why; None if nothing could be found out.

    A full disk is fine: it is measured. An error other than that it cannot be written means that
    nothing on it can be relied on.
    """
    try:
        async with asyncio.timeout(PROBE_S):
            return await _try(volume)
    except TimeoutError:
        return VolumeEvent.VANISHED, f"the disk was silent for {PROBE_S:g} s"
    except OSError as error:
        return None if will_pass(error) else (VolumeEvent.VANISHED, str(error))


async def _try(volume: Volume) -> tuple[VolumeEvent, str]:
    reason = await _why_not_ours(volume)
    if reason:
        return VolumeEvent.VANISHED, reason
    await volume.measure()
    path = f"{volume.root}/{PROBE_NAME}"
    try:
        await volume.disk.write_file(path, PROBE_DATA)
        await volume.disk.remove(path)
    except OSError as error:
        if is_unwritable(error):
            return VolumeEvent.WRITE_FAILED, str(error)
        if not is_full(error):
            raise
    return VolumeEvent.WRITTEN_AGAIN, ""


async def _why_not_ours(volume: Volume) -> str:
    """Return why what is there is not this volume; empty if it is."""
    try:
        identity = await read_identity(volume.disk, volume.root)
    except (DirectoryUnusable, StartRefused) as error:
        return str(error)
    if identity is None:
        return "its VERSION file is gone"
    if identity.storage_id != volume.storage_id:
        return f"volume {identity.storage_id} is in its place"
    return ""
