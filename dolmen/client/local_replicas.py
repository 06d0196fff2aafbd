"""The replicas on our own host that a client has open: a bounded number, each for as long as its
token lives, shared by all its readers.

Whether a datanode is on our host is found out by looking for it: that costs a system call, and who
was not found is looked for again after a while. Whatever goes wrong in opening a replica is no
error: it is then read over the network, and what is really the matter is met there. Only a list of
checksums that is not the block's is the same finding here and there.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from dolmen.client.checksum_lists import ChecksumLists
from dolmen.client.core.open_replicas import OpenReplicas
from dolmen.client.core.recent_failures import RecentFailures
from dolmen.client.local_datanode import LocalDatanode, Opened
from dolmen.client.local_replica import LocalReplica
from dolmen.protocol.checksums import CHECKSUM_BYTES, chunk_count
from dolmen.protocol.client_messages import LocatedBlock, ReplicaLocation
from dolmen.protocol.errors import ChecksumMismatch, DolmenError, PeerLost
from dolmen.protocol.tokens import Target
from dolmen.runtime.file_passing import FilePassing, PassedFile

LOOK_AGAIN_S = 30.0
"""A datanode that was restarted is read from its host again after so long."""


@dataclass
class LocalFigures:
    """Replicas read without their datanode; the figures only grow."""

    opened: int = 0
    revoked: int = 0
    reads: int = 0
    """Reads, or parts of one, that needed no datanode. Threads that read at the same moment may be
    counted as one."""
    read_bytes: int = 0


class LocalReplicas:
    """The open replicas of one client."""

    def __init__(self, passing: FilePassing, *, is_on: bool) -> None:
        self.figures = LocalFigures()
        self._passing = passing
        self._is_on = is_on
        self._open = OpenReplicas[LocalReplica]()
        self._opening: dict[tuple[int, int, str], asyncio.Task[LocalReplica | None]] = {}
        self._datanodes: dict[str, LocalDatanode] = {}
        self._absent = RecentFailures(LOOK_AGAIN_S)
        self._connecting = asyncio.Lock()

    def get(self, block: LocatedBlock) -> LocalReplica | None:
        """Return the open replica of a block, if there is one that may still be read."""
        replica = self._open.get((block.block_id, block.stamp))
        if replica is None or replica.length_bytes != block.length_bytes:
            return None
        return replica if _now_s() < replica.expires_s else None

    async def look(self, datanodes: Iterable[ReplicaLocation | Target]) -> tuple[str, ...]:
        """Return which datanodes are on our host, these among them if they are."""
        if not self._is_on:
            return ()
        known = (*self._datanodes, *self._absent.current(_now_s()))
        for datanode in datanodes:
            if datanode.datanode_id not in known:
                await self._connect(datanode.datanode_id)
        return tuple(self._datanodes)

    async def open(
        self, block: LocatedBlock, location: ReplicaLocation, lists: ChecksumLists
    ) -> LocalReplica | None:
        """Return a replica open, if it is on our host. ChecksumMismatch: it is not as it should
        be."""
        datanode = self._datanodes.get(location.datanode_id)
        if datanode is None:
            return None
        held = self.get(block)
        if held is not None and held.datanode_id == location.datanode_id:
            return held
        key = (block.block_id, block.stamp, location.datanode_id)
        opening = self._opening.get(key)
        if opening is None:
            opening = asyncio.create_task(self._open_one(datanode, block, lists))
            self._opening[key] = opening
            opening.add_done_callback(lambda done: self._opened(key, done))
        return await asyncio.shield(opening)

    def drop(self, block: LocatedBlock, datanode_id: str) -> None:
        """Read a replica no longer: it failed its reader."""
        held = self._open.get((block.block_id, block.stamp))
        if held is not None and held.datanode_id == datanode_id:
            self._give_up(held)

    def count(self, read_bytes: int) -> None:
        """So many bytes were read without a datanode."""
        self.figures.reads += 1
        self.figures.read_bytes += read_bytes

    async def close(self) -> None:
        """End the connections, and give up what is open."""
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for datanode in list(self._datanodes.values()):
            datanode.close()
        self._datanodes.clear()

    async def _connect(self, datanode_id: str) -> None:
        async with self._connecting:
            if datanode_id in self._datanodes:
                return  # another read has looked for it meanwhile
            datanode = LocalDatanode(datanode_id, self._revoked, self._ended)
            try:
                await datanode.connect(self._passing)
            except (PeerLost, TimeoutError):
                self._absent.add(datanode_id, _now_s())
            else:
                self._datanodes[datanode_id] = datanode

    async def _open_one(
        self, datanode: LocalDatanode, block: LocatedBlock, lists: ChecksumLists
    ) -> LocalReplica | None:
        try:
            opened = await datanode.open(block)
        except DolmenError:
            return None
        if opened.length_bytes != block.length_bytes:
            raise ChecksumMismatch(
                f"the replica is {opened.length_bytes} bytes long, the block {block.length_bytes}"
            )
        checksums = lists.get(block)
        if checksums is None:
            checksums = lists.take(block, await _read_list(opened))
        replica = opened.replica
        if replica.is_given_up:
            return None
        replica.vouch(block.length_bytes, checksums)
        self.figures.opened += 1
        for given_up in self._open.add(replica.key, replica):
            given_up.give_up()
        loop = asyncio.get_running_loop()
        replica.expiry = loop.call_at(replica.expires_s, self._give_up, replica)
        return replica

    def _opened(self, key: tuple[int, int, str], done: "asyncio.Task[LocalReplica | None]") -> None:
        del self._opening[key]
        if not done.cancelled():
            done.exception()  # told to whoever waited

    def _revoked(self, replica: LocalReplica) -> None:
        self.figures.revoked += 1
        self._give_up(replica)

    def _give_up(self, replica: LocalReplica) -> None:
        replica.give_up()
        self._open.remove(replica.key, replica)

    def _ended(self, datanode: LocalDatanode) -> None:
        if self._datanodes.get(datanode.datanode_id) is datanode:
            del self._datanodes[datanode.datanode_id]
        self._absent.add(datanode.datanode_id, _now_s())


async def _read_list(opened: Opened) -> bytes:
    """Return the checksums of a replica as its file has them."""
    file: PassedFile = opened.checksums
    checksums = memoryview(bytearray(chunk_count(opened.length_bytes) * CHECKSUM_BYTES))
    try:
        count = file.read_at_once(opened.checksums_offset, checksums)
        if count < len(checksums):
            count += await file.read_into(opened.checksums_offset + count, checksums[count:])
    except OSError as error:
        raise ChecksumMismatch(f"its list of checksums cannot be read: {error}") from error
    return bytes(checksums[:count])


def _now_s() -> float:
    return asyncio.get_running_loop().time()
