"""The chunk checksums of blocks: fetched once, believed because the namenode gave their digest.

The lists of one client are kept while there is room, by (block, stamp, length): 16 KiB for a block
of 128 MiB. Those who want the same list from the same replica share one fetch, and its failure: so
they all turn to the next replica at once.
"""

import asyncio
from collections import OrderedDict

from dolmen.client.bulk import Datanodes
from dolmen.protocol.block_messages import ChecksumsFollow, ReadChecksums
from dolmen.protocol.checksums import CHECKSUM_BYTES, block_digest, chunk_count
from dolmen.protocol.client_messages import LocatedBlock, ReplicaLocation
from dolmen.protocol.errors import ChecksumMismatch

KEPT_BYTES = 16 * 1024 * 1024
"""The lists of 128 GiB of blocks: more than one process reads at random."""

Key = tuple[int, int, int]
Source = tuple[int, int, int, str]


class ChecksumLists:
    """The lists of checksums that a client has at hand."""

    def __init__(self, datanodes: Datanodes) -> None:
        self._datanodes = datanodes
        self._lists: OrderedDict[Key, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._fetching: dict[Source, asyncio.Task[bytes]] = {}

    def has(self, block: LocatedBlock) -> bool:
        """Whether the checksums of `block` are here."""
        return (block.block_id, block.stamp, block.length_bytes) in self._lists

    def get(self, block: LocatedBlock) -> bytes | None:
        """Return the checksums of `block` if they are here."""
        return self._lists.get((block.block_id, block.stamp, block.length_bytes))

    def take(self, block: LocatedBlock, checksums: bytes) -> bytes:
        """Keep a list that came from elsewhere, and return it; ChecksumMismatch unless it is
        that of `block`."""
        checked = _checked(block, checksums)
        self._keep((block.block_id, block.stamp, block.length_bytes), checked)
        return checked

    async def of(self, block: LocatedBlock, replica: ReplicaLocation) -> bytes:
        """Return the checksums of `block`, from `replica` if they are not here."""
        key = (block.block_id, block.stamp, block.length_bytes)
        if (known := self._lists.get(key)) is not None:
            self._lists.move_to_end(key)
            return known
        source = (*key, replica.datanode_id)
        fetching = self._fetching.get(source)
        if fetching is None:
            fetching = asyncio.create_task(self._fetch(block, replica))
            self._fetching[source] = fetching
            fetching.add_done_callback(lambda done: self._fetched(source, done))
        return await asyncio.shield(fetching)

    async def close(self) -> None:
        """End the fetches that nobody waits for any more."""
        fetching = list(self._fetching.values())
        for fetch in fetching:
            fetch.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)

    def _fetched(self, source: Source, done: asyncio.Task[bytes]) -> None:
        del self._fetching[source]
        if not done.cancelled() and done.exception() is None:
            self._keep(source[:3], done.result())

    async def _fetch(self, block: LocatedBlock, replica: ReplicaLocation) -> bytes:
        head = ReadChecksums(block.token, block.block_id, block.stamp)
        expected_bytes = chunk_count(block.length_bytes) * CHECKSUM_BYTES
        async with self._datanodes.asking(replica.address, head, ChecksumsFollow) as (reply, body):
            if (reply.length_bytes, body.length_bytes) != (block.length_bytes, expected_bytes):
                raise ChecksumMismatch(
                    f"the replica is {reply.length_bytes} bytes long, the block"
                    f" {block.length_bytes}"
                )
            checksums = bytearray(expected_bytes)
            await body.read_into(memoryview(checksums))
        return _checked(block, bytes(checksums))

    def _keep(self, key: Key, checksums: bytes) -> None:
        if key in self._lists:
            return
        self._lists[key] = checksums
        self._kept_bytes += len(checksums)
        while self._kept_bytes > KEPT_BYTES and len(self._lists) > 1:
            _, dropped = self._lists.popitem(last=False)
            self._kept_bytes -= len(dropped)


def _checked(block: LocatedBlock, checksums: bytes) -> bytes:
    if block_digest(block.length_bytes, checksums) != block.digest:
        raise ChecksumMismatch("its list of checksums does not have the block's digest")
    return checksums
