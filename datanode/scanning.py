"""What a datanode finds on a volume when it starts, made into replicas that it can prove good.

Directory by directory the files are grouped by block and `core.restart` decides: a finalized
replica is served if its checksum file is intact and its data file has the right length, or as
DAMAGED if it is marked so or its data file has not (rule 21), an unfinished one is worth its
verified prefix, a half-done step is finished, and what cannot be explained is put aside and kept.
What the disk does not let us read is not damaged yet: it is left as it is, and looked at again.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from datanode.block_store import BlockStore
from datanode.core.checksum_file import (
    Contents,
    FinalizedContents,
    FinalizedHeader,
    decode,
    decode_header,
    encode_finalized,
)
from datanode.core.layout import (
    Place,
    checksums_name,
    data_name,
    group_of,
    is_cut_off_write,
    parse_marker,
    parse_name,
)
from datanode.core.quarantine_entry import About
from datanode.core.receiver import PrefixFinder
from datanode.core.replicas import Replica, ReplicaEvent, state_after
from datanode.core.restart import (
    Discard,
    FoundBlock,
    FoundChecksums,
    Rebuild,
    Recover,
    Serve,
    ServeDamaged,
    SetAside,
    decide,
)
from datanode.file_check import verify_file
from datanode.verification import rebuilt_list
from datanode.verified_times import VerifiedTimes
from datanode.volume import Volume
from dolmen.protocol.datanode_messages import (
    ChangeKind,
    ReplicaChange,
    ReplicaReport,
    ReplicaState,
)
from dolmen.protocol.errors import ChecksumMismatch, DataDamaged, RequestRefused
from dolmen.runtime.transport import PIECE_BYTES

AT_ONCE = 16
"""Blocks looked at together: keeps the volume's threads busy, and few files open."""

TRIES = 5
"""Times that a block is looked at again before it is put aside: some seconds apart, so that a disk
in passing trouble has recovered."""

PLACES = (Place.BEING_WRITTEN, Place.FINALIZED)

LOG = logging.getLogger("datanode")


@dataclass
class _Names:
    """The names that belong to one block, by place."""

    data: set[Place] = field(default_factory=set)
    checksums: list[tuple[Place, int]] = field(default_factory=list)
    markers: set[int] = field(default_factory=set)

    def take(self, place: Place, name: str, block_id: int) -> bool:
        """Return whether a name belongs to a block, having noted it if it does."""
        parsed, marker = parse_name(name), parse_marker(name)
        if marker is not None and marker[0] == block_id:
            self.markers.add(marker[1])
        elif parsed is None or parsed[0] != block_id:
            return False
        elif parsed[1] is None:
            self.data.add(place)
        else:
            self.checksums.append((place, parsed[1]))
        return True

    def all_but(
        self, data: Place, checksums: tuple[Place, int]
    ) -> Iterator[tuple[Place, int | None]]:
        """Yield (place, stamp, or None for data) of the names that a replica does not need."""
        yield from ((place, None) for place in sorted(self.data, key=str) if place is not data)
        yield from (one for one in self.checksums if one != checksums)


class VolumeScan:
    """One pass over a volume, before anybody is served."""

    def __init__(self, store: BlockStore, volume: Volume, mark: int) -> None:
        self._store = store
        self._volume = volume
        self._mark = mark
        self._verified = VerifiedTimes(volume)
        self.damaged: list[ReplicaChange] = []
        """What was put aside though it was FINALIZED: to be reported."""

    async def run(self) -> None:
        """Add every replica of the volume to the store."""
        root = self._volume.root
        await self._volume.quarantine.load()
        self._store.scrub_clock.not_before(await self._verified.load())
        groups: set[str] = set()
        for place in PLACES:
            await self._volume.make_below(place.value)
            for namespace in await self._directories(f"{root}/{place.value}"):
                for first in await self._directories(f"{root}/{place.value}/{namespace}"):
                    path = f"{namespace}/{first}"
                    for second in await self._directories(f"{root}/{place.value}/{path}"):
                        groups.add(f"{path}/{second}")
        for group in sorted(groups):
            await self._scan_group(group)

    async def _directories(self, path: str) -> list[str]:
        disk = self._volume.disk
        names = await disk.list_directory(path)
        return [name for name in names if await disk.is_directory(f"{path}/{name}")]

    async def _scan_group(self, group: str) -> None:
        blocks: dict[int, _Names] = {}
        for place in PLACES:
            path = f"{self._volume.root}/{place.value}/{group}"
            strangers = []
            for name in await self._names_in(place, group):
                parsed = parse_marker(name) or parse_name(name)
                if parsed is not None and group_of(parsed[0]) == group:
                    blocks.setdefault(parsed[0], _Names()).take(place, name, parsed[0])
                elif is_cut_off_write(name):
                    await self._volume.disk.remove(f"{path}/{name}")
                else:
                    strangers.append(name)
            if strangers:
                LOG.warning("put aside from %s: %s", path, ", ".join(strangers))
                about = About(None, "their names say nothing that is known here")
                await self._volume.put_group_aside(
                    f"{place.value}/{group}", strangers, about, self._mark
                )
        block_ids = sorted(blocks)
        for start in range(0, len(block_ids), AT_ONCE):
            slice_ = block_ids[start : start + AT_ONCE]
            await asyncio.gather(*(self._try_block(one, blocks[one]) for one in slice_))

    async def _names_in(self, place: Place, group: str) -> list[str]:
        path = f"{self._volume.root}/{place.value}/{group}"
        if not await self._volume.disk.is_directory(path):
            return []
        return await self._volume.disk.list_directory(path)

    async def _try_block(self, block_id: int, names: _Names) -> None:
        """Look at one block; one that the disk does not let us look at is not served."""
        async with self._store.gates.hold(block_id):
            try:
                await self._scan_block(block_id, names)
            except OSError as error:
                self._leave(block_id, 0, error)

    def _leave(self, block_id: int, tries: int, error: OSError) -> None:
        LOG.error("block %016x is left as it is, and not served: %s", block_id, error)
        self._volume.unread[block_id] = tries + 1

    async def look_again(self) -> None:
        """Look at the blocks of a volume in use which the disk did not let us look at; put aside
        what has been unreadable for long."""
        for block_id, tries in sorted(self._volume.unread.items()):
            async with self._store.gates.hold(block_id):
                del self._volume.unread[block_id]
                try:
                    await self._look_again(block_id, tries)
                except OSError as error:
                    self._leave(block_id, tries, error)

    async def _look_again(self, block_id: int, tries: int) -> None:
        known, names = self._store.get(block_id), _Names()
        if known is not None and known.storage_id == self._volume.storage_id:
            return  # it has been copied here anew
        for place in PLACES:
            for name in await self._names_in(place, group_of(block_id)):
                names.take(place, name, block_id)
        if tries < TRIES:
            await self._scan_block(block_id, names)
        else:
            reason = SetAside("the disk does not let it be read")
            await self._set_aside(block_id, names, reason)

    async def _scan_block(self, block_id: int, names: _Names) -> None:
        found = await self._look(block_id, names)
        decision = decide(found)
        if isinstance(decision, Serve):
            await self._serve(block_id, names, decision)
        elif isinstance(decision, ServeDamaged):
            await self._serve_damaged(block_id, names, decision)
        elif isinstance(decision, Rebuild):
            await self._rebuild(block_id, names, decision)
        elif isinstance(decision, Recover):
            await self._recover(block_id, names, decision)
        elif isinstance(decision, Discard):
            await self._discard(block_id, names)
        else:
            await self._set_aside(block_id, names, decision)

    async def _look(self, block_id: int, names: _Names) -> FoundBlock:
        sizes = {}
        for place in sorted(names.data, key=str):
            file = await self._volume.disk.open(
                self._volume.data_path(place, block_id), writable=False
            )
            try:
                sizes[place] = await file.size()
            finally:
                await file.close()
        checksums = [
            FoundChecksums(place, stamp, *await self._contents(place, block_id, stamp))
            for place, stamp in names.checksums
        ]
        return FoundBlock(sizes, tuple(checksums))

    async def _contents(
        self, place: Place, block_id: int, stamp: int
    ) -> tuple[Contents | None, FinalizedHeader | None]:
        """Return what a checksum file says; if it is damaged, what its header says."""
        path, cluster_id = (
            self._volume.checksums_path(place, block_id, stamp),
            self._volume.cluster_id,
        )
        data = await self._volume.disk.read_file(path)
        try:
            return decode(data, cluster_id, block_id), None
        except (DataDamaged, RequestRefused) as error:
            LOG.warning("%s: %s", path, error)
            return None, decode_header(data, cluster_id, block_id)

    # ------------------------------------------------------------ outcomes

    async def _serve(self, block_id: int, names: _Names, decision: Serve) -> None:
        contents, found = decision.contents, decision.found
        volume = self._volume
        if (decision.data_place, found.place) != (Place.FINALIZED, Place.FINALIZED):
            path = volume.data_path(decision.data_place, block_id)
            try:
                await verify_file(volume, path, contents.length_bytes, contents.checksums)
            except ChecksumMismatch as error:
                await self._set_aside(block_id, names, SetAside(str(error), contents))
                return
            await volume.publish(block_id, found.stamp, decision.data_place, found.place)
            LOG.info("finished finalizing block %016x", block_id)
        needed = (decision.data_place, (found.place, found.stamp))
        await self._clear(block_id, names.all_but(*needed))
        await self._add(self._finalized(contents, names))

    async def _serve_damaged(self, block_id: int, names: _Names, decision: ServeDamaged) -> None:
        LOG.warning("block %016x is damaged: %s", block_id, decision.reason)
        contents, found = decision.contents, decision.found
        await self._volume.mark_damaged(block_id, contents.stamp, decision.reason)
        names.markers.add(contents.stamp)
        needed = (Place.FINALIZED, (found.place, found.stamp))
        await self._clear(block_id, names.all_but(*needed))
        await self._add(self._finalized(contents, names))

    async def _rebuild(self, block_id: int, names: _Names, decision: Rebuild) -> None:
        """Make a damaged list of checksums anew from the data, if the digest says it is sound."""
        volume, header = self._volume, decision.header
        names.markers.discard(header.stamp)  # if the data fits now, it is sound
        replica = self._finalized(header, names)
        checksums = await rebuilt_list(volume, replica)
        if checksums is None:
            reason = "neither the data nor the list of checksums has the block's digest"
            await self._set_aside(block_id, names, SetAside(reason, header))
            return
        contents = FinalizedContents(
            header.cluster_id,
            block_id,
            header.stamp,
            header.length_bytes,
            header.digest,
            checksums,
        )
        path = volume.checksums_path(Place.FINALIZED, block_id, header.stamp)
        await volume.disk.write_file(path, encode_finalized(contents))
        await volume.unmark(block_id, header.stamp)
        LOG.warning("%s: its checksum file was made anew", replica)
        await self._add(replica)

    def _finalized(self, header: FinalizedHeader, names: _Names) -> Replica:
        damaged = header.stamp in names.markers
        return Replica(
            header.block_id,
            header.stamp,
            ReplicaState.DAMAGED if damaged else ReplicaState.FINALIZED,
            self._volume.storage_id,
            stored_bytes=header.length_bytes,
            digest=header.digest,
            verified_ms=self._verified.of(header.block_id, header.stamp),
        )

    async def _recover(self, block_id: int, names: _Names, decision: Recover) -> None:
        finder = PrefixFinder(decision.contents.records)
        volume, found = self._volume, decision.found
        file = await volume.disk.open(
            volume.data_path(Place.BEING_WRITTEN, block_id), writable=False
        )
        try:
            buffer = memoryview(bytearray(PIECE_BYTES))
            offset = 0
            while not finder.ended:
                count = await file.read_into(offset, buffer)
                finder.feed(buffer[:count])
                offset += count
                if count < len(buffer):
                    break
        finally:
            await file.close()
        await self._clear(block_id, names.all_but(Place.BEING_WRITTEN, (found.place, found.stamp)))
        state = state_after(ReplicaState.BEING_WRITTEN, ReplicaEvent.RESTARTED)
        received = finder.received
        await self._add(Replica(block_id, found.stamp, state, volume.storage_id, received))

    async def _discard(self, block_id: int, names: _Names) -> None:
        for place in sorted(names.data, key=str):
            await self._volume.disk.remove(self._volume.data_path(place, block_id))
        for place, stamp in names.checksums:
            await self._volume.disk.remove(self._volume.checksums_path(place, block_id, stamp))
        for stamp in sorted(names.markers):
            await self._volume.unmark(block_id, stamp)
        LOG.info("removed what a step that was cut off has left of block %016x", block_id)

    async def _set_aside(self, block_id: int, names: _Names, decision: SetAside) -> None:
        LOG.warning("put block %016x aside: %s", block_id, decision.reason)
        stamps = sorted({stamp for _, stamp in names.checksums} | names.markers)
        about = About(block_id, decision.reason, max(stamps, default=0))
        if decision.damaged is not None:
            about = msgspec.structs.replace(about, length_bytes=decision.damaged.length_bytes)
        await self._store.quarantine_files(self._volume, about, stamps)
        if names.checksums and Place.FINALIZED in names.data:
            self.damaged.append(self._damage(block_id, max(stamps), decision.damaged))

    def _damage(self, block_id: int, stamp: int, contents: FinalizedHeader | None) -> ReplicaChange:
        length_bytes, digest = 0, b""
        if contents is not None:
            length_bytes, digest = contents.length_bytes, contents.digest
        report = ReplicaReport(block_id, stamp, length_bytes, ReplicaState.FINALIZED, digest)
        return ReplicaChange(ChangeKind.CORRUPT, self._volume.storage_id, report)

    async def _clear(self, block_id: int, leftovers: Iterator[tuple[Place, int | None]]) -> None:
        """Put what a half-done step left behind aside."""
        for place, stamp in leftovers:
            name = data_name(block_id) if stamp is None else checksums_name(block_id, stamp)
            about = About(block_id, "a step that was cut off has left it", stamp or 0)
            await self._volume.put_aside(place, [name], about, self._mark)

    async def _add(self, replica: Replica) -> None:
        """Take a replica into the store, which may be in use: the volume may have come back, or
        all but this has been read before. The gate is held."""
        other = self._store.get(replica.block_id)
        if other is None:
            self._store.add(replica)
        else:
            await self._add_better(other, replica)
        if self._store.get(replica.block_id) is replica:
            self._store.tell(ChangeKind.STORED, replica)
            if other is not None:
                self._store.tell(ChangeKind.DELETED, other)

    async def _add_better(self, other: Replica, replica: Replica) -> None:
        """Keep the better one of two on different volumes."""
        worse, better = sorted((other, replica), key=_worth)
        LOG.warning("%s is on two volumes", better)
        if worse is other:
            self._store.forget(other)
            await self._store.close_files(other.block_id)
            self._store.add(replica)
        volume = self._store.volume_of(worse)
        about = About(
            worse.block_id, "a better one is on another volume", worse.stamp, worse.length_bytes
        )
        await self._store.quarantine_files(volume, about, [worse.stamp])


def _worth(replica: Replica) -> tuple[int, int, int]:
    order = (ReplicaState.DAMAGED, ReplicaState.FINALIZED)
    rank = order.index(replica.state) + 1 if replica.state in order else 0
    return replica.stamp, rank, replica.length_bytes
