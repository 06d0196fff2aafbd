"""Reading a replica whole, past the page cache, and what follows from what is found (rule 21).

The digest in memory says what the bytes must be, so the verdict needs the data alone: data that
fits the digest is sound, and a damaged checksum file is made anew from it. Data that does not fit
is served on, as DAMAGED, while the list of checksums is whole, because readers can use every good
chunk; without list or data nobody can use anything, and the replica is put aside at once. What the
disk does not let us read is not known to be wrong: it stays, as DAMAGED, and may be the last. A
whole volume that is not there makes no replica damaged. No gate is held while reading: what was
deleted, or written again, meanwhile is not judged.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from datanode.block_store import BlockStore
from datanode.core.checksum_file import FinalizedContents, encode_finalized
from datanode.core.layout import Place
from datanode.core.replicas import COMPLETE, Replica, no_such_replica
from datanode.volume import Volume, will_pass
from dolmen.protocol.checksums import (
    CHECKSUM_BYTES,
    block_digest,
    chunk_checksums,
    split_checksums,
)
from dolmen.protocol.datanode_messages import ChangeKind, ReplicaState
from dolmen.protocol.errors import DataDamaged, DolmenError, StaleGeneration, TryAgain
from dolmen.runtime.transport import PIECE_BYTES

LOG = logging.getLogger("datanode")

Pace = Callable[[int], Awaitable[None]]
"""Waits until so many more bytes may be read."""


@dataclass(frozen=True)
class Finding:
    """What reading a replica has shown. `computed` is the list of checksums of its data."""

    computed: bytes
    list_problem: str = ""
    data_problem: str = ""
    data_is_gone: bool = False
    was_read: bool = True
    """Whether the disk let us read data and list, whatever was in them."""


@dataclass
class Tally:
    """What has been verified since the start."""

    replicas: int = 0
    length_bytes: int = 0
    damaged: int = 0
    mended_lists: int = 0


class Verifier:
    """Verifies replicas, and does what follows."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self.tally = Tally()

    async def verify(self, block_id: int, stamp: int, pace: Pace | None = None) -> str:
        """Read a replica whole; return what is wrong with it, nothing if it is sound.

        NoSuchReplica or StaleGeneration if there is none to judge, TryAgain if the volume or the
        process is in trouble.
        """
        replica = self._store.find(block_id, stamp)
        if replica.state not in COMPLETE:
            raise StaleGeneration(f"{replica} is not finalized")
        try:
            finding = await self._examine(replica, pace)
            problem = await self._store.work.run(self._conclude(replica, stamp, finding))
        except OSError as error:
            raise TryAgain(f"{replica} cannot be judged now: {error}") from error
        self.tally.replicas += 1
        self.tally.length_bytes += replica.length_bytes
        return problem

    async def _examine(self, replica: Replica, pace: Pace | None) -> Finding:
        expected, list_problem, was_read = await self._read_list(replica)
        volume, computed = self._store.volume_of(replica), bytearray()
        try:
            await _compute(volume, replica, computed, pace)
        except OSError as error:
            await self._check_volume(volume, error)
            gone = isinstance(error, FileNotFoundError)
            return Finding(bytes(computed), list_problem, str(error), gone, was_read=False)
        except DataDamaged as error:
            return Finding(bytes(computed), list_problem, error.message, was_read=was_read)
        if block_digest(replica.length_bytes, computed) == replica.digest:
            return Finding(bytes(computed), list_problem)
        difference = _first_difference(computed, expected)
        return Finding(bytes(computed), list_problem, difference, was_read=was_read)

    async def _read_list(self, replica: Replica) -> tuple[bytes, str, bool]:
        """Return the list of checksums on disk, what is wrong with it, and whether that is known
        from reading it, or from its absence."""
        try:
            return await self._store.final_checksums(replica), "", True
        except OSError as error:
            await self._check_volume(self._store.volume_of(replica), error)
            is_gone = isinstance(error, FileNotFoundError)
            return b"", f"the checksum file cannot be read: {error}", is_gone
        except DolmenError as error:
            return b"", error.message, True

    async def _check_volume(self, volume: Volume, error: OSError) -> None:
        """Raise `error` if it says nothing of the replica."""
        if will_pass(error) or not await volume.is_there():
            raise error

    # ------------------------------------------------------------ what follows

    async def _conclude(self, replica: Replica, stamp: int, finding: Finding) -> str:
        store = self._store
        async with store.gates.hold(replica.block_id):
            is_current = store.get(replica.block_id) is replica and replica.stamp == stamp
            if not is_current or replica.state not in COMPLETE:
                raise no_such_replica(replica.block_id)  # it went, or is written, meanwhile
            store.verified(replica)
            if not finding.data_problem:
                return await self._sound(replica, finding)
            self.tally.damaged += replica.state is not ReplicaState.DAMAGED
            problem = finding.data_problem
            if finding.data_is_gone or (finding.list_problem and finding.was_read):
                if finding.list_problem:
                    problem = f"{problem}; {finding.list_problem}"
                await store.put_aside(replica, ChangeKind.CORRUPT, problem)
            elif replica.state is ReplicaState.FINALIZED:
                await store.mark_damaged(replica, problem)
            return problem

    async def _sound(self, replica: Replica, finding: Finding) -> str:
        if finding.list_problem:
            await self._write_list(replica, finding)
        if replica.state is ReplicaState.DAMAGED:
            await self._store.mark_sound(replica)
        return ""

    async def _write_list(self, replica: Replica, finding: Finding) -> None:
        """Make the checksum file anew: a new file, renamed over the damaged one."""
        volume, block_id, stamp = self._store.volume_of(replica), replica.block_id, replica.stamp
        contents = FinalizedContents(
            volume.cluster_id,
            block_id,
            stamp,
            replica.length_bytes,
            replica.digest,
            finding.computed,
        )
        path = volume.checksums_path(Place.FINALIZED, block_id, stamp)
        await volume.disk.write_file(path, encode_finalized(contents))
        self.tally.mended_lists += 1
        LOG.warning("%s: its checksum file was made anew: %s", replica, finding.list_problem)


async def _compute(
    volume: Volume, replica: Replica, computed: bytearray, pace: Pace | None
) -> None:
    """Append the checksums of a replica's data; DataDamaged if it has another length."""
    length_bytes = replica.length_bytes
    path = volume.data_path(Place.FINALIZED, replica.block_id)
    file = await volume.disk.open(path, writable=False, past_cache=True)
    try:
        size_bytes = await file.size()
        buffer = memoryview(bytearray(min(PIECE_BYTES, length_bytes)))
        for start in range(0, min(length_bytes, size_bytes), PIECE_BYTES):
            piece = buffer[: min(PIECE_BYTES, length_bytes - start, size_bytes - start)]
            if pace is not None:
                await pace(len(piece))
            count = await file.read_into(start, piece)
            computed += chunk_checksums(piece[:count])
    finally:
        await file.close()
    if size_bytes != length_bytes:
        raise DataDamaged(f"the data file has {size_bytes} bytes instead of {length_bytes}")


def _first_difference(computed: bytes | bytearray, expected: bytes) -> str:
    if len(computed) != len(expected):
        return "the data does not have the block's digest"
    pairs = zip(split_checksums(computed), split_checksums(expected), strict=True)
    bad = [index for index, (ours, listed) in enumerate(pairs) if ours != listed]
    count = len(expected) // CHECKSUM_BYTES
    return f"{len(bad)} of {count} chunks fail their checksums, the first is chunk {bad[0]}"


async def rebuilt_list(volume: Volume, replica: Replica) -> bytes | None:
    """Return the list of checksums made from a replica's data, None if it is not the digest's."""
    computed = bytearray()
    try:
        await _compute(volume, replica, computed, None)
    except DataDamaged:
        return None
    fits = block_digest(replica.length_bytes, computed) == replica.digest
    return bytes(computed) if fits else None
