"""A datanode for the client's tests: it keeps its word and no more.

It stores replicas in memory and passes segments on. A `fault` is asked before each exchange and may
raise, wait for ever, or kill the process.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from dolmen.protocol import block_messages as blocks
from dolmen.protocol.checksums import block_digest, chunk_checksums, first_bad_chunk
from dolmen.protocol.control_messages import encode_error
from dolmen.protocol.errors import (
    ChecksumMismatch,
    DolmenError,
    InvalidRequest,
    NoSuchReplica,
    StaleGeneration,
)
from dolmen.protocol.tokens import BlockToken, ClusterKeys
from dolmen.runtime.transport import Incoming, Outgoing, body_of
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_transport import SimTransport
from tests.unit.client.scripted_namenode import Fault, no_fault

KEYS = ClusterKeys(b"the secret of the tests")


@dataclass
class Replica:
    """What a datanode holds of a block."""

    stamp: int
    data: bytearray
    finalized: bool = False
    original: bytes | None = None
    """What its checksums are of, if its bytes were damaged since."""

    def damage(self, offset: int) -> None:
        """Flip a bit, unseen by the checksums."""
        self.original = self.original or bytes(self.data)
        self.data[offset] ^= 1

    def checksums(self) -> bytes:
        return chunk_checksums(self.data if self.original is None else self.original)


class SignOfLife:
    """Any call is refused: who waits for a datanode sees that it lives, if no fault keeps it."""

    def __init__(self, datanode: "ScriptedDatanode") -> None:
        self._datanode = datanode

    async def answer(self, payload: bytes) -> bytes:
        await self._datanode.fault(payload)
        return encode_error(InvalidRequest("calls go to the namenode"))

    def closed(self) -> None:
        """Nothing was kept."""


class ScriptedDatanode:
    """Stores replicas in memory and passes segments on."""

    def __init__(
        self, network: SimNetwork, others: Mapping[str, "ScriptedDatanode"], name: str
    ) -> None:
        self._network = network
        self._others = others
        self.name = name
        self.address = f"{name}:9864"
        self.replicas: dict[int, Replica] = {}
        self.alive = False
        self.fault: Fault = no_fault
        self.spoil: Callable[[Outgoing], Outgoing] = lambda outgoing: outgoing
        """What becomes of the answers to reads."""
        self.served: Counter[str] = Counter()
        self.transport: SimTransport | None = None

    async def start(self) -> None:
        self.transport = SimTransport(self._network, self.name)
        await self.transport.listen(self, self.name, 9864)
        self.alive = True

    def kill(self) -> None:
        assert self.transport is not None
        self.alive = False
        self.transport.abort()

    def open_session(self, peer_host: str) -> Any:
        return SignOfLife(self)

    async def exchange(self, incoming: Incoming) -> Outgoing:
        try:
            head = blocks.decode_request(incoming.head)
            await self.fault(head)
            self.served[type(head).__name__] += 1
            token = KEYS.open_token(head.token, 0)
            assert (token.block_id, token.stamp) == (head.block_id, head.stamp)
            if isinstance(head, blocks.WriteSegment):
                return Outgoing(blocks.encode_head(await self._store(head, token, incoming)))
            return await self._do(head, token)
        except DolmenError as error:
            return Outgoing(blocks.refusal_of(error))

    async def _store(
        self, head: blocks.WriteSegment, token: BlockToken, incoming: Incoming
    ) -> blocks.SegmentStored:
        data = bytearray(head.length_bytes)
        await incoming.body.read_into(memoryview(data))
        if first_bad_chunk(data, head.checksums) is not None:
            raise ChecksumMismatch("it arrived damaged")
        replica = self.replicas.setdefault(head.block_id, Replica(head.stamp, bytearray()))
        if replica.stamp != head.stamp or (replica.finalized and not head.digest):
            raise StaleGeneration(f"{self.name} has stamp {replica.stamp}")
        end = head.offset_bytes + head.length_bytes
        replica.data.extend(bytes(max(0, end - len(replica.data))))
        replica.data[head.offset_bytes : end] = data
        replica.finalized = bool(head.digest)
        position = head.position + 1
        if position == len(token.targets):
            return blocks.SegmentStored()
        onward = msgspec.structs.replace(head, position=position)
        assert self.transport is not None
        try:
            async with self.transport.exchange(
                token.targets[position].address,
                blocks.encode_head(onward),
                body_of(data),
                stall_s=9.0 - 2 * position,
            ) as answered:
                reply = blocks.decode_block_reply(answered.head)
        except DolmenError as error:
            return blocks.SegmentStored(position, error.message, type(error).__name__)
        assert isinstance(reply, blocks.SegmentStored)
        return reply

    async def _do(self, head: Any, token: BlockToken) -> Outgoing:
        if isinstance(head, blocks.CopyReplica):
            source = self._others[token.targets[0].datanode_id]
            held = source.replicas[head.block_id]
            assert held.stamp == head.stamp
            self.replicas[head.block_id] = Replica(head.stamp, bytearray(held.data))
            return Outgoing(blocks.encode_head(blocks.ReplicaRestamped(head.length_bytes)))
        replica = self.replicas.get(head.block_id)
        if replica is None:
            raise NoSuchReplica(f"{self.name} has no such replica")
        if isinstance(head, blocks.RestampReplica):
            if replica.stamp != head.old_stamp:
                raise StaleGeneration(f"{self.name} has stamp {replica.stamp}")
            if len(replica.data) < head.length_bytes:
                raise NoSuchReplica(f"{self.name} has only {len(replica.data)} bytes")
            del replica.data[head.length_bytes :]
            replica.stamp, replica.finalized = head.stamp, False
            return Outgoing(blocks.encode_head(blocks.ReplicaRestamped(head.length_bytes)))
        if replica.stamp != head.stamp:
            raise StaleGeneration(f"{self.name} has stamp {replica.stamp}")
        if isinstance(head, blocks.FinalizeReplica):
            if block_digest(len(replica.data), chunk_checksums(replica.data)) != head.digest:
                raise ChecksumMismatch("it does not have the digest")
            replica.finalized = True
            return Outgoing(blocks.encode_head(blocks.ReplicaFinalized()))
        if isinstance(head, blocks.ReadChecksums):
            checksums = replica.checksums()
            reply = blocks.ChecksumsFollow(
                len(replica.data), block_digest(len(replica.data), checksums)
            )
            return Outgoing(blocks.encode_head(reply), body_of(checksums))
        assert isinstance(head, blocks.ReadRanges)
        data = b"".join(
            bytes(replica.data[offset : offset + length]) for offset, length in head.ranges
        )
        return self.spoil(
            Outgoing(blocks.encode_head(blocks.RangesFollow(len(data))), body_of(data))
        )


async def for_ever(request: Any) -> None:
    """A fault: fall silent."""
    await asyncio.Event().wait()
