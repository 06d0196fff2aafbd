"""The replicas of this datanode: which there are, on which volume, and how they end.

The map is the truth for everybody who asks; what is on disk follows it under the gate of the block.
A replica leaves the map before its files go, and before the order to delete it is acknowledged
(rule 24). What is found damaged is marked and still read, as long as the namenode has no better one
(rule 21), then put aside; it is reported, and never deleted.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Iterable, Sequence
from random import Random

from datanode.core.checksum_file import (
    FinalizedContents,
    decode,
    encode_records,
    encode_unfinished_header,
)
from datanode.core.layout import Place, checksums_name, data_name, marker_name
from datanode.core.quarantine_entry import About
from datanode.core.receiver import ReceivedChunks
from datanode.core.replicas import COMPLETE, Replica, ReplicaEvent, next_state, no_such_replica
from datanode.core.scrub_schedule import ScrubClock
from datanode.core.volume_choice import draw
from datanode.gates import Gates
from datanode.open_files import OpenFiles, ReplicaFiles
from datanode.volume import Volume
from datanode.work import Work
from dolmen.protocol.datanode_messages import (
    ChangeKind,
    ReplicaChange,
    ReplicaReport,
    ReplicaState,
)
from dolmen.protocol.errors import ChecksumMismatch, InvalidRequest, NoSpace, Overloaded

UNFINISHED_REPLICAS_MAX = 10_000
"""Each costs 12 bytes of memory a chunk, 24 KiB for a block of 128 MiB."""

LOG = logging.getLogger("datanode")


class BlockStore:
    """All replicas on all volumes. `changed` hears what the namenode must be told."""

    def __init__(
        self,
        volumes: list[Volume],
        wall_clock_ms: Callable[[], int],
        changed: Callable[[ReplicaChange], None],
        random: Random,
    ) -> None:
        self.volumes = volumes
        """Those that are used, and told of."""
        self.gates = Gates()
        self.work = Work()
        self.withdrawn: Callable[[Replica], None] = lambda replica: None
        """Hears of what is not to be read by its files any more."""
        self._by_storage = {volume.storage_id: volume for volume in volumes}
        self._wall_clock_ms = wall_clock_ms
        self._changed = changed
        self._random = random
        self._replicas: dict[int, Replica] = {}
        self._unfinished: set[int] = set()
        self._open = OpenFiles(self.gates)
        self._lost_stamps: dict[int, int] = {}  # of unfinished replicas whose volume failed
        self.scrub_clock = ScrubClock(wall_clock_ms(), asyncio.get_running_loop().time())

    # ------------------------------------------------------------ asking

    def get(self, block_id: int) -> Replica | None:
        """Return the replica of a block, whatever its stamp."""
        return self._replicas.get(block_id)

    def find(self, block_id: int, stamp: int) -> Replica:
        """Return the replica; NoSuchReplica, or StaleGeneration if it has another stamp."""
        replica = self._replicas.get(block_id)
        if replica is None:
            raise no_such_replica(block_id)
        replica.check_stamp(stamp)
        return replica

    def volume_of(self, replica: Replica) -> Volume:
        """Return the volume that holds the replica; NoSuchReplica if it has failed."""
        volume = self._by_storage.get(replica.storage_id)
        if volume is None:
            raise no_such_replica(replica.block_id)
        return volume

    def choose_volume(self, length_bytes: int, failed: Sequence[Volume] = ()) -> Volume:
        """Return a volume with room for `length_bytes` that has not just failed, or raise
        NoSpace."""
        volumes = [volume for volume in self.volumes if volume not in failed]
        index = draw([volume.room_bytes for volume in volumes], length_bytes, self._random)
        if index is None:
            stories = "; ".join(str(volume.no_space()) for volume in self.volumes)
            raise NoSpace(stories or "no volume of this datanode can be used now")
        return volumes[index]

    def check_not_lost(self, block_id: int, stamp: int) -> None:
        """NoSuchReplica if a volume failed with the beginning of what is being written."""
        if stamp <= self._lost_stamps.get(block_id, -1):
            raise no_such_replica(block_id)

    def inventory(self) -> list[tuple[str, list[int]]]:
        """Return (storage id, block ids ascending) of each volume, for a full report."""
        held: dict[str, list[int]] = {volume.storage_id: [] for volume in self.volumes}
        for block_id in sorted(self._replicas):
            storage_id = self._replicas[block_id].storage_id
            if storage_id in held:  # not of a volume that is read, or given up, just now
                held[storage_id].append(block_id)
        return list(held.items())

    def block_ids(self) -> list[int]:
        """Return the blocks of which there is a replica."""
        return list(self._replicas)

    def settled_replicas(self) -> list[tuple[int, int]]:
        """Return (block id, stamp) of the FINALIZED replicas whose gate nobody holds."""
        return [
            (block_id, replica.stamp)
            for block_id, replica in self._replicas.items()
            if replica.state is ReplicaState.FINALIZED and not self.gates.is_held(block_id)
        ]

    def count_by_state(self) -> dict[str, int]:
        """Return how many replicas there are: by state those that are written, the others as one
        number, which is at hand however many they are."""
        counts = {"COMPLETE": len(self._replicas) - len(self._unfinished)}
        for block_id in self._unfinished:
            name = self._replicas[block_id].state.name
            counts[name] = counts.get(name, 0) + 1
        return counts

    def report(self, block_id: int, storage_id: str) -> ReplicaReport | None:
        """Return what a full report says of a block; None if nothing, as of a copy begun."""
        replica = self._replicas.get(block_id)
        if replica is None or replica.storage_id != storage_id:
            return None
        return None if replica.state is ReplicaState.TEMPORARY else replica.report()

    def check_invariants(self) -> None:
        """Raise AssertionError if what is known of the replicas contradicts itself."""
        occupied = dict.fromkeys(self._by_storage, 0)
        for replica in self._replicas.values():
            occupied[replica.storage_id] += replica.occupied_bytes
            finalized = replica.state in COMPLETE
            assert finalized == (replica.received is None), f"{replica} has chunks, or lacks them"
            assert finalized != (replica.block_id in self._unfinished), f"{replica} is miscounted"
            if replica.received is not None:
                replica.received.check_invariants()
        assert self._unfinished <= self._replicas.keys(), "an unfinished replica does not exist"
        assert self._unfinished.issuperset(self._open.block_ids), (
            "files of no unfinished replica are open"
        )
        for volume in self._by_storage.values():
            assert volume.used_bytes == occupied[volume.storage_id], (
                f"{volume.root} counts {volume.used_bytes} bytes of {occupied[volume.storage_id]}"
            )

    # ------------------------------------------------------------ the map

    def add(self, replica: Replica) -> None:
        """A replica exists from now on."""
        if replica.block_id in self._replicas:
            raise AssertionError(f"{replica} exists twice")
        if replica.received is not None:
            self._unfinished.add(replica.block_id)
        self._replicas[replica.block_id] = replica
        self.volume_of(replica).used_bytes += replica.occupied_bytes

    def tell(self, kind: ChangeKind, replica: Replica) -> None:
        """Have the namenode told of a replica, unless its volume has failed meanwhile."""
        if any(volume.storage_id == replica.storage_id for volume in self.volumes):
            self._changed(ReplicaChange(kind, replica.storage_id, replica.report()))

    def tell_gone(self, block_id: int, stamp: int) -> None:
        """Have the namenode told that no volume holds this replica, as it believes."""
        for volume in self.volumes:
            report = ReplicaReport(block_id, stamp, 0, ReplicaState.FINALIZED)
            self._changed(ReplicaChange(ChangeKind.DELETED, volume.storage_id, report))

    def settled(self, replica: Replica) -> None:
        """The replica is FINALIZED. Its bytes were verified on their way in: that counts."""
        self._unfinished.discard(replica.block_id)
        self.verified(replica)

    def verified(self, replica: Replica) -> None:
        """All of the replica has been verified."""
        replica.verified_ms = self.scrub_clock.now_ms(asyncio.get_running_loop().time())

    def resumed(self, replica: Replica) -> None:
        """The replica is written again."""
        self.withdrawn(replica)
        self._unfinished.add(replica.block_id)

    def forget(self, replica: Replica) -> None:
        """The replica no longer exists for anybody who asks."""
        self.withdrawn(replica)
        next_state(replica.state, ReplicaEvent.DROPPED)
        del self._replicas[replica.block_id]
        self._unfinished.discard(replica.block_id)
        self.volume_of(replica).used_bytes -= replica.occupied_bytes

    # ------------------------------------------------------------ volumes come and go

    def know(self, volume: Volume) -> None:
        """A volume is being read: what is found on it may be added."""
        self._by_storage[volume.storage_id] = volume

    def use(self, volume: Volume) -> None:
        """A volume has been read whole: new replicas may go there."""
        self.volumes.append(volume)

    async def lose(self, volume: Volume) -> int:
        """A volume has failed: none of its replicas exists any more. Return how many did.

        What somebody does to one of them comes to its end first, well or not.
        """
        if volume in self.volumes:
            self.volumes.remove(volume)
        theirs = [one for one in self._replicas.values() if one.storage_id == volume.storage_id]
        held = [one for one in theirs if self.gates.is_held(one.block_id)]
        at_once = [one for one in theirs if not self.gates.is_held(one.block_id)]
        for replica in at_once:
            self._lose(replica)
        await self._open.close_of([replica.block_id for replica in at_once])
        for replica in held:
            async with self.gates.hold(replica.block_id):
                if self._replicas.get(replica.block_id) is replica:
                    self._lose(replica)
                    await self._open.close_of([replica.block_id])
        del self._by_storage[volume.storage_id]
        return len(theirs)

    def _lose(self, replica: Replica) -> None:
        if replica.received is not None:
            self._lost_stamps[replica.block_id] = replica.stamp
            if len(self._lost_stamps) > UNFINISHED_REPLICAS_MAX:
                del self._lost_stamps[next(iter(self._lost_stamps))]
        self.forget(replica)

    # ------------------------------------------------------------ files of unfinished replicas

    async def create(self, replica: Replica) -> None:
        """Make the files of a new replica, empty; nothing lasts yet. The gate is held. OSError if
        its volume fails meanwhile."""
        if len(self._unfinished) >= UNFINISHED_REPLICAS_MAX:
            raise Overloaded(f"{len(self._unfinished)} replicas are being written here already")
        volume = self.volume_of(replica)
        temporary = replica.state is ReplicaState.TEMPORARY
        header = encode_unfinished_header(volume.cluster_id, replica.block_id, temporary=temporary)
        await volume.make_directory(Place.BEING_WRITTEN, replica.block_id)
        try:
            await self._open.create(volume, replica, header)
            if volume not in self.volumes:  # `lose` has not seen this replica
                raise OSError(errno.EIO, "the volume has failed", volume.root)
        except OSError:
            with contextlib.suppress(OSError):
                await self.close_files(replica.block_id)
            with contextlib.suppress(OSError):
                await volume.remove(replica.block_id, replica.stamp, Place.BEING_WRITTEN)
            raise
        self.add(replica)

    async def files_of(self, replica: Replica) -> ReplicaFiles:
        """Return the files of an unfinished replica, open. The gate is held."""
        return await self._open.get(self.volume_of(replica), replica)

    async def close_files(self, block_id: int) -> None:
        """Close the files of an unfinished replica, if they are open."""
        await self._open.close(block_id)

    async def close(self) -> None:
        """Close all files, without sync."""
        await self._open.close_all()

    def first_contents(self, replica: Replica, received: ReceivedChunks) -> bytes:
        """Return an unfinished replica's checksum file with the records of these chunks."""
        cluster_id = self.volume_of(replica).cluster_id
        header = encode_unfinished_header(cluster_id, replica.block_id, temporary=False)
        return header + encode_records(replica.block_id, received.records())

    # ------------------------------------------------------------ finalized replicas

    async def final_checksums(self, replica: Replica) -> bytes:
        """Return the packed checksums of a finalized replica from disk, verified by its digest."""
        volume = self.volume_of(replica)
        path = volume.checksums_path(Place.FINALIZED, replica.block_id, replica.stamp)
        contents = decode(await volume.disk.read_file(path), volume.cluster_id, replica.block_id)
        if not isinstance(contents, FinalizedContents) or contents.digest != replica.digest:
            raise ChecksumMismatch(f"the checksum file of {replica} is of another replica")
        return contents.checksums

    # ------------------------------------------------------------ ends

    async def invalidate(self, block_id: int, take_order: Callable[[], int | None]) -> None:
        """Delete a replica on the namenode's order, and tell it.

        `take_order` returns the stamp ordered deleted, or None if the order is void by the time
        that the gate is held: then nothing happens.
        """
        async with self.gates.hold(block_id):
            stamp = take_order()
            if stamp is None:
                return
            replica = self.find(block_id, stamp)
            if replica.state is ReplicaState.TEMPORARY:
                raise no_such_replica(block_id)  # nobody was told of it
            self.forget(replica)
            self.tell(ChangeKind.DELETED, replica)
            await self.close_files(block_id)
            volume = self.volume_of(replica)
            if replica.state is ReplicaState.DAMAGED:
                await volume.unmark(block_id, stamp)
            await volume.remove(block_id, stamp, Place.FINALIZED, Place.BEING_WRITTEN)
        LOG.info("deleted %s", replica)

    async def quarantine(self, block_id: int, take_order: Callable[[], int | None]) -> None:
        """Put a DAMAGED replica aside on the namenode's order, which is as for `invalidate`."""
        async with self.gates.hold(block_id):
            stamp = take_order()
            if stamp is None:
                return
            replica = self.find(block_id, stamp)
            if replica.state is not ReplicaState.DAMAGED:
                raise InvalidRequest(f"{replica} is not damaged")
            await self.put_aside(replica, ChangeKind.CORRUPT, "damaged, and replaced elsewhere")

    async def mark_damaged(self, replica: Replica, reason: str) -> None:
        """Some of a FINALIZED replica's bytes are bad: go on serving it, as such. The gate is
        held."""
        LOG.warning("%s is damaged: %s", replica, reason)
        replica.happened(ReplicaEvent.DAMAGE_FOUND)
        self.withdrawn(replica)
        self.tell(ChangeKind.STORED, replica)
        volume = self.volume_of(replica)
        await volume.mark_damaged(replica.block_id, replica.stamp, reason)

    async def mark_sound(self, replica: Replica) -> None:
        """All of a DAMAGED replica reads well again. The gate is held."""
        LOG.warning("%s is sound again", replica)
        replica.happened(ReplicaEvent.FOUND_SOUND)
        self.tell(ChangeKind.STORED, replica)
        await self.volume_of(replica).unmark(replica.block_id, replica.stamp)

    async def drop_unfinished(self, replica: Replica) -> None:
        """Drop a copy that failed, or what was written of a stamp that is no more. The gate is
        held."""
        self.forget(replica)
        if replica.state is not ReplicaState.TEMPORARY:  # nobody was told of a copy
            self.tell(ChangeKind.DELETED, replica)
        await self.close_files(replica.block_id)
        volume = self.volume_of(replica)
        # Finalizing it may have failed behind the renames, or its disk be away for a moment.
        volume.unread.setdefault(replica.block_id, 0)
        await volume.remove(replica.block_id, replica.stamp, Place.BEING_WRITTEN, Place.FINALIZED)

    async def put_aside(self, replica: Replica, kind: ChangeKind, reason: str) -> None:
        """Take a replica out of service, quarantine its files, tell. The gate is held."""
        LOG.warning("put %s aside: %s", replica, reason)
        self.forget(replica)
        await self.close_files(replica.block_id)
        self.tell(kind, replica)
        about = About(replica.block_id, reason, replica.stamp, replica.length_bytes)
        await self.quarantine_files(self.volume_of(replica), about, [replica.stamp])

    async def quarantine_files(self, volume: Volume, about: About, stamps: Iterable[int]) -> None:
        """Move what there is of a block's files into quarantine; what a disk that fails does not
        let go is looked at again."""
        assert about.block_id is not None, "the files are a block's"
        names = [data_name(about.block_id)]
        for stamp in stamps:
            names += [checksums_name(about.block_id, stamp), marker_name(about.block_id, stamp)]
        for place in (Place.FINALIZED, Place.BEING_WRITTEN):
            try:
                await volume.put_aside(place, names, about, self._wall_clock_ms())
            except OSError as error:
                LOG.error("block %016x cannot be put aside: %s", about.block_id, error)
                volume.unread.setdefault(about.block_id, 0)
