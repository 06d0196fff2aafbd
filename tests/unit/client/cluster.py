"""A cluster for the client's tests: a namenode and datanodes that keep their word and no more.

They store in memory, know the client's side of the protocol, and fail on order: a `fault` is asked
before each call or exchange and may raise, wait for ever, or kill the process.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from dolmen.client.client import Client
from dolmen.client.options import ClientOptions
from dolmen.protocol import block_messages as blocks
from dolmen.protocol import client_messages as messages
from dolmen.protocol.checksums import block_digest, chunk_checksums, first_bad_chunk
from dolmen.protocol.control_messages import (
    ClientCall,
    Greet,
    Greeting,
    Reply,
    decode_call,
    encode_error,
    encode_reply,
)
from dolmen.protocol.errors import (
    ChecksumMismatch,
    DolmenError,
    InvalidRequest,
    NoSuchPath,
    NoSuchReplica,
    PathExists,
    StaleGeneration,
    StaleHandle,
    TooFewDatanodes,
)
from dolmen.protocol.tokens import Access, BlockToken, ClusterKeys, Target
from dolmen.runtime.machine import Machine
from dolmen.runtime.transport import Incoming, Listener, Outgoing, body_of
from dolmen.simulation.sim_key_value import SimKeyValueStore
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_transport import SimTransport

KEYS = ClusterKeys(b"the secret of the tests")
BLOCK_BYTES = 512 * 1024

Fault = Callable[[Any], Awaitable[None]]


async def no_fault(request: Any) -> None:
    """Let it happen."""


@dataclass
class StoredBlock:
    """A block as the namenode knows it."""

    block_id: int
    stamp: int
    members: tuple[str, ...]
    issued: int = 0
    committed: messages.CommittedBlock | None = None


@dataclass
class StoredFile:
    """A file, published or not."""

    inode_id: int
    block_size_bytes: int
    blocks: list[StoredBlock] = field(default_factory=list)
    info: messages.FileInfo | None = None


class ScriptedNamenode:
    """Answers a client; its state survives `kill`, as the real one's does."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.files: dict[int, StoredFile] = {}
        self.paths: dict[str, int] = {}
        self.gone: set[int] = set()
        self.done: Counter[str] = Counter()
        """What was carried out, repeated calls not counted."""
        self.heard: list[ClientCall] = []
        self.fault: Fault = no_fault
        self.after: Fault = no_fault
        """Asked when the call is done and its reply not yet on its way."""
        self.ended: tuple[int, ...] = ()
        self.cluster_id = "c" * 32
        self._answered: dict[tuple[bytes, int], Reply] = {}
        self._last_id = 100
        self._listener: Listener | None = None
        self.transport: SimTransport | None = None

    async def start(self) -> None:
        self.transport = SimTransport(self.world.network, "namenode")
        self._listener = await self.transport.listen(self, "namenode", 9870)

    def kill(self) -> None:
        assert self.transport is not None
        self.transport.abort()

    def open_session(self, peer_host: str) -> "ScriptedNamenode":
        return self

    def closed(self) -> None:
        """Connections have no state here."""

    async def exchange(self, incoming: Incoming) -> Outgoing:
        return Outgoing(blocks.refusal_of(InvalidRequest("this is a namenode")), ok=False)

    async def answer(self, payload: bytes) -> bytes:
        try:
            call = decode_call(payload)
            if isinstance(call, Greet):
                return encode_reply(self._greet())
            assert isinstance(call, ClientCall)
            self.heard.append(call)
            await self.fault(call.request)
            reply = self._answer_once(call)
            await self.after(call.request)
            return encode_reply(reply)
        except DolmenError as error:
            return encode_error(error)

    def heard_of(self, kind: type) -> list[Any]:
        return [call.request for call in self.heard if isinstance(call.request, kind)]

    def _greet(self) -> Greeting:
        return Greeting(1, "0", self.cluster_id, 1, b"", b"", BLOCK_BYTES, 3, 2, 60_000)

    def _answer_once(self, call: ClientCall) -> Reply:
        key = (call.client_id, call.number)
        if call.number and key in self._answered:
            return self._answered[key]
        name = type(call.request).__name__
        reply: Reply = getattr(self, f"_{name}")(call.request)
        self.done[name] += 1
        if call.number:
            self._answered[key] = reply
        return reply

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # ------------------------------------------------------------ namespace

    def _MakeDirectory(self, request: messages.MakeDirectory) -> messages.FileInfo:  # noqa: N802
        if request.path in self.paths:
            raise PathExists(f"{request.path} exists", request.path)
        self.paths[request.path] = self._new_id()
        return self._info(request.path, 0)

    def _GetInfo(self, request: messages.GetInfo) -> messages.FileInfo:  # noqa: N802
        if request.path not in self.paths:
            raise NoSuchPath(f"{request.path} does not exist", request.path)
        return self._info(request.path, 0)

    def _ListDirectory(self, request: messages.ListDirectory) -> messages.Listing:  # noqa: N802
        names = sorted(path for path in self.paths if path.rpartition("/")[2] > request.after)
        page = names[:3]
        return messages.Listing(tuple(self._info(path, 0) for path in page), len(names) > 3)

    def _WalkTree(self, request: messages.WalkTree) -> messages.Listing:  # noqa: N802
        root = request.path.rstrip("/") + "/"
        names = sorted(path for path in self.paths if path.removeprefix(root) > request.after)
        page = names[:3]
        return messages.Listing(tuple(self._info(path, 0) for path in page), len(names) > 3)

    def _info(self, path: str, length: int, content_hash: bytes = b"") -> messages.FileInfo:
        return messages.FileInfo(
            path, 1, messages.EntryKind.FILE, length, 0, "", "", 0, 0, 3, 0, content_hash
        )

    # ------------------------------------------------------------ writing

    def _CreateFile(self, request: messages.CreateFile) -> messages.CreatedFile:  # noqa: N802
        inode_id = self._new_id()
        size = request.block_size_bytes or BLOCK_BYTES
        self.files[inode_id] = StoredFile(inode_id, size)
        return messages.CreatedFile(inode_id, request.replication or 3, size)

    def _choose(self, excluded: set[str], wanted: int) -> list[str]:
        return [
            name
            for name, datanode in self.world.datanodes.items()
            if datanode.alive and name not in excluded
        ][:wanted]

    def _AllocateBlock(self, request: messages.AllocateBlock) -> messages.AllocatedBlock:  # noqa: N802
        file = self.files[request.inode_id]
        assert request.index in (len(file.blocks), len(file.blocks) - 1)
        if request.index == len(file.blocks):
            self._commit(file, request.previous)
        members = self._choose(set(request.excluded), 3)
        if len(members) < 2:
            raise TooFewDatanodes(f"only {len(members)} datanodes")
        block = StoredBlock(self._new_id(), self._new_id(), tuple(members))
        file.blocks[request.index :] = [block]
        return self._allocated(block, block.stamp, members, [])

    def _allocated(
        self, block: StoredBlock, stamp: int, members: list[str], fresh: list[str]
    ) -> messages.AllocatedBlock:
        targets = self.world.targets(members)
        sources = tuple(target for target in targets if target.datanode_id not in fresh)
        return messages.AllocatedBlock(
            block.block_id,
            stamp,
            targets,
            self.world.token(block.block_id, stamp, Access.WRITE, targets),
            tuple(fresh),
            self.world.token(block.block_id, stamp, Access.COPY, sources),
        )

    def _commit(self, file: StoredFile, previous: messages.CommittedBlock | None) -> None:
        assert (previous is None) == (not file.blocks)
        if previous is None:
            return
        assert previous.block_id == file.blocks[-1].block_id
        assert previous.stamp == file.blocks[-1].stamp
        file.blocks[-1].committed = previous

    def _block(self, inode_id: int, block_id: int) -> StoredBlock:
        return next(each for each in self.files[inode_id].blocks if each.block_id == block_id)

    def _RebuildPipeline(self, request: messages.RebuildPipeline) -> messages.AllocatedBlock:  # noqa: N802
        block = self._block(request.inode_id, request.block_id)
        assert request.survivors
        assert set(request.survivors) <= set(block.members)
        assert request.stamp in (block.stamp, block.issued)
        alive = [name for name in request.survivors if self.world.datanodes[name].alive]
        if not alive:
            raise TooFewDatanodes("no survivor is live")
        fresh = self._choose({*request.survivors, *request.excluded}, 3 - len(alive))
        block.issued = self._new_id()
        return self._allocated(block, block.issued, alive + fresh, fresh)

    def _UpdatePipeline(self, request: messages.UpdatePipeline) -> messages.Done:  # noqa: N802
        block = self._block(request.inode_id, request.block_id)
        assert request.stamp == block.issued
        block.stamp, block.members = request.stamp, request.members
        if block.committed is not None:
            assert request.length_bytes == block.committed.length_bytes
        return messages.Done()

    def _PublishFile(self, request: messages.PublishFile) -> messages.FileInfo:  # noqa: N802
        file = self.files[request.inode_id]
        self._commit(file, request.last)
        if request.exclusive and request.path in self.paths:
            raise PathExists(f"{request.path} exists", request.path)
        length = 0
        for block in file.blocks:
            assert block.committed is not None
            length += block.committed.length_bytes
            good = self.world.good_replicas(block)
            if len(good) < 2:
                raise TooFewDatanodes(f"block {block.block_id} has {len(good)} replicas")
        file.info = messages.FileInfo(
            request.path,
            request.inode_id,
            messages.EntryKind.FILE,
            length,
            0o644,
            "",
            "",
            request.modified_ms,
            0,
            3,
            file.block_size_bytes,
            request.content_hash,
        )
        self.paths[request.path] = request.inode_id
        return file.info

    def _AbandonFile(self, request: messages.AbandonFile) -> messages.Done:  # noqa: N802
        del self.files[request.inode_id]
        return messages.Done()

    def _RenewLeases(self, request: messages.RenewLeases) -> messages.LeasesRenewed:  # noqa: N802
        return messages.LeasesRenewed(self.ended)

    # ------------------------------------------------------------ reading

    def _OpenFile(self, request: messages.OpenFile) -> messages.OpenedFile:  # noqa: N802
        if request.path not in self.paths:
            raise NoSuchPath(f"{request.path} does not exist", request.path)
        file = self.files[self.paths[request.path]]
        assert file.info is not None
        page = self._located(file, 0)
        return messages.OpenedFile(file.info, page.blocks, page.more)

    def _LocateBlocks(self, request: messages.LocateBlocks) -> messages.LocatedBlocks:  # noqa: N802
        if request.inode_id in self.gone:
            raise StaleHandle("the file is gone")
        return self._located(self.files[request.inode_id], request.first_index)

    def _located(self, file: StoredFile, first: int) -> messages.LocatedBlocks:
        located = []
        offset = 0
        for block in file.blocks:
            assert block.committed is not None
            replicas = tuple(
                messages.ReplicaLocation(name, self.world.datanodes[name].address, name, "/r")
                for name in self.world.good_replicas(block)
            )
            token = self.world.token(block.block_id, block.stamp, Access.READ, ())
            length, digest = block.committed.length_bytes, block.committed.digest
            located.append(
                messages.LocatedBlock(
                    block.block_id, block.stamp, offset, length, digest, replicas, token
                )
            )
            offset += length
        page = located[first : first + 2]
        return messages.LocatedBlocks(tuple(page), first + 2 < len(located))

    def _ReportCorruptReplica(self, request: messages.ReportCorruptReplica) -> messages.Done:  # noqa: N802
        return messages.Done()


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


class ScriptedDatanode:
    """Stores replicas in memory and passes segments on."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.address = f"{name}:9864"
        self.replicas: dict[int, Replica] = {}
        self.alive = False
        self.fault: Fault = no_fault
        self.served: Counter[str] = Counter()
        self.transport: SimTransport | None = None

    async def start(self) -> None:
        self.transport = SimTransport(self.world.network, self.name)
        await self.transport.listen(self, self.name, 9864)
        self.alive = True

    def kill(self) -> None:
        assert self.transport is not None
        self.alive = False
        self.transport.abort()

    def open_session(self, peer_host: str) -> Any:
        raise AssertionError("nobody calls a datanode")

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
            return Outgoing(blocks.refusal_of(error), ok=False)

    async def _store(
        self, head: blocks.WriteSegment, token: BlockToken, incoming: Incoming
    ) -> blocks.SegmentStored:
        data = bytearray(head.length_bytes)
        await incoming.body.read_into(memoryview(data))
        if first_bad_chunk(data, head.checksums) is not None:
            raise ChecksumMismatch("it arrived damaged")
        replica = self.replicas.setdefault(head.block_id, Replica(head.stamp, bytearray()))
        if replica.stamp != head.stamp or replica.finalized:
            raise StaleGeneration(f"{self.name} has stamp {replica.stamp}")
        end = head.offset_bytes + head.length_bytes
        replica.data.extend(bytes(max(0, end - len(replica.data))))
        replica.data[head.offset_bytes : end] = data
        position = head.position + 1
        if position == len(token.targets):
            return blocks.SegmentStored()
        onward = blocks.WriteSegment(
            head.token,
            head.block_id,
            head.stamp,
            head.offset_bytes,
            head.length_bytes,
            head.checksums,
            position,
        )
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
            return blocks.SegmentStored(position, error.message)
        assert isinstance(reply, blocks.SegmentStored)
        return reply

    async def _do(self, head: Any, token: BlockToken) -> Outgoing:
        if isinstance(head, blocks.CopyReplica):
            source = self.world.datanodes[token.targets[0].datanode_id]
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
        return Outgoing(blocks.encode_head(blocks.RangesFollow(len(data))), body_of(data))


class World:
    """A namenode, datanodes and a client on one simulated network."""

    def __init__(self, datanodes: int = 4, seed: int = 0) -> None:
        self.network = SimNetwork(Random(seed))
        self.namenode = ScriptedNamenode(self)
        self.datanodes = {
            name: ScriptedDatanode(self, name) for name in (f"d{n}" for n in range(datanodes))
        }

    async def start(self) -> "World":
        await self.namenode.start()
        for datanode in self.datanodes.values():
            await datanode.start()
        return self

    def client(self, name: str = "client", **options: Any) -> Client:
        machine = Machine(
            transport=SimTransport(self.network, name),
            open_disk=_no_disk,
            tables=SimKeyValueStore(),
            wall_clock_ms=lambda: 0,
            random=Random(7),
            background=_at_once,
            boot_id="boot",
            host_name=name,
        )
        chosen: dict[str, Any] = {
            "namenode": "namenode:9870",
            "user": "tester",
            "segment_bytes": 64 * 1024,
            "read_piece_bytes": 128 * 1024,
        }
        return Client(machine, ClientOptions(**chosen | options))

    def targets(self, names: list[str]) -> tuple[Target, ...]:
        return tuple(Target(name, self.datanodes[name].address) for name in names)

    def token(
        self, block_id: int, stamp: int, access: Access, targets: tuple[Target, ...]
    ) -> bytes:
        return KEYS.sign(BlockToken(block_id, stamp, access, "tester", 10**15, 1 << 40, targets))

    def good_replicas(self, block: StoredBlock) -> list[str]:
        committed = block.committed
        assert committed is not None
        found = []
        for name, datanode in self.datanodes.items():
            replica = datanode.replicas.get(block.block_id)
            if replica and replica.finalized and replica.stamp == block.stamp and datanode.alive:
                found.append(name)
        return found

    def content(self, path: str) -> bytes:
        """The bytes of a published file, checked to be the same on every good replica."""
        whole = b""
        for block in self.namenode.files[self.namenode.paths[path]].blocks:
            names = self.good_replicas(block)
            contents = {bytes(self.datanodes[name].replicas[block.block_id].data) for name in names}
            assert len(contents) == 1, f"replicas of {block} differ or are missing"
            whole += contents.pop()
        return whole


def _no_disk() -> Any:
    raise AssertionError("the client touches no disk here")


async def _at_once(work: Callable[[], Any]) -> Any:
    return work()


async def for_ever(request: Any) -> None:
    """A fault: fall silent."""
    await asyncio.Event().wait()
