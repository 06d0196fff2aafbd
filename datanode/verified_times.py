"""When the replicas of a volume were last verified, kept over restarts.

The file is written now and then and at a clean stop; a kill costs what was verified since. Lost or
damaged, it only means that everything is verified again.
"""

import asyncio
import logging
from collections.abc import Iterable
from itertools import islice

from datanode.core.replicas import Replica
from datanode.core.verified_file import NAME, decode, encode, encode_records
from datanode.volume import Volume
from dolmen.protocol.errors import DataDamaged

SLICE_REPLICAS = 2000
"""Encoded at a time: a millisecond or two."""

LOG = logging.getLogger("datanode")


class VerifiedTimes:
    """What the file of a volume says."""

    def __init__(self, volume: Volume) -> None:
        self._path = f"{volume.root}/{NAME}"
        self._disk = volume.disk
        self._known: dict[tuple[int, int], int] = {}

    async def load(self) -> int:
        """Read the file; return the latest time in it, 0 if there is none."""
        try:
            records = decode(await self._disk.read_file(self._path))
        except FileNotFoundError:
            return 0
        except (DataDamaged, OSError) as error:
            LOG.warning("%s: all is verified again: %s", self._path, error)
            return 0
        latest_ms = 0
        for number, (block_id, stamp, verified_ms) in enumerate(records):
            self._known[block_id, stamp] = verified_ms
            latest_ms = max(latest_ms, verified_ms)
            if number % SLICE_REPLICAS == 0:
                await asyncio.sleep(0)
        return latest_ms

    def of(self, block_id: int, stamp: int) -> int:
        """Return when a replica was verified, 0 if that is not known."""
        return self._known.get((block_id, stamp), 0)

    async def save(self, replicas: Iterable[Replica]) -> None:
        """Replace the file by what is known of these replicas. OSError."""
        records = iter([(one.block_id, one.stamp, one.verified_ms) for one in replicas])
        parts = []
        while part := encode_records(islice(records, SLICE_REPLICAS)):
            parts.append(part)
            await asyncio.sleep(0)
        await self._disk.write_file(self._path, encode(parts))
