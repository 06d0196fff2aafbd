"""A namenode for the client's tests: it keeps its word and no more.

It stores in memory, knows the client's side of the protocol, and fails on order: a `fault` is asked
before each call and may raise, wait for ever, or kill the process.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from dolmen.protocol import block_messages as blocks
from dolmen.protocol import client_messages as messages
from dolmen.protocol.control_messages import (
    PROTOCOL_VERSION,
    ClientCall,
    Greet,
    Greeting,
    Reply,
    decode_call,
    encode_error,
    encode_reply,
)
from dolmen.protocol.errors import (
    DolmenError,
    InvalidRequest,
    LeaseConflict,
    NoSuchPath,
    PathExists,
    StaleGeneration,
    StaleHandle,
    TooFewDatanodes,
)
from dolmen.protocol.tokens import Access, Target
from dolmen.runtime.transport import Incoming, Outgoing
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_transport import SimTransport
from tests.unit.client.scripted_drafts import PAGE_BLOCKS, ScriptedDrafts

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

    @property
    def length_bytes(self) -> int:
        """Its length, when its writer is done with it."""
        assert self.committed is not None
        return self.committed.length_bytes


@dataclass
class StoredFile:
    """A file, published or not."""

    inode_id: int
    block_size_bytes: int
    blocks: list[StoredBlock] = field(default_factory=list)
    info: messages.FileInfo | None = None
    replaced: list[StoredBlock] = field(default_factory=list)
    """Blocks that gave way to others, and are kept for their readers."""


class Datanodes(Protocol):
    """What the namenode knows of the datanodes."""

    network: SimNetwork

    def choose(self, excluded: set[str], wanted: int) -> list[str]:
        """Live datanodes."""

    def is_alive(self, name: str) -> bool:
        """Whether this one lives."""

    def targets(self, names: list[str]) -> tuple[Target, ...]:
        """Their addresses."""

    def token(
        self, block_id: int, stamp: int, access: Access, targets: tuple[Target, ...]
    ) -> bytes:
        """A signed token."""

    def good_replicas(self, block: "StoredBlock") -> list[str]:
        """Who holds the block as it was committed."""


class ScriptedNamenode:
    """Answers a client; its state survives `kill`, as the real one's does."""

    def __init__(self, world: Datanodes) -> None:
        self.world = world
        self.files: dict[int, StoredFile] = {}
        self.paths: dict[str, int] = {}
        self.gone: set[int] = set()
        self.drafts = ScriptedDrafts(self)
        self.done: Counter[str] = Counter()
        """What was carried out, repeated calls not counted."""
        self.heard: list[ClientCall] = []
        self.fault: Fault = no_fault
        self.after: Fault = no_fault
        """Asked when the call is done and its reply not yet on its way."""
        self.gives_first_blocks = False
        self.token_life_ms = 600_000
        self.ended: tuple[int, ...] = ()
        self.cluster_id = "c" * 32
        self._answered: dict[tuple[bytes, int], Reply] = {}
        self._last_id = 100
        self.transport: SimTransport | None = None

    async def start(self) -> None:
        self.transport = SimTransport(self.world.network, "namenode")
        await self.transport.listen(self, "namenode", 9870)

    def kill(self) -> None:
        assert self.transport is not None
        self.transport.abort()

    def open_session(self, peer_host: str) -> "ScriptedNamenode":
        return self

    def closed(self) -> None:
        """Connections have no state here."""

    async def exchange(self, incoming: Incoming) -> Outgoing:
        return Outgoing(blocks.refusal_of(InvalidRequest("this is a namenode")))

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
        told = (self.cluster_id, 1, b"", b"", BLOCK_BYTES, 3, 2, 60_000, self.token_life_ms)
        return Greeting(PROTOCOL_VERSION, "0", *told)

    def _answer_once(self, call: ClientCall) -> Reply:
        key = (call.client_id, call.number)
        if call.number and key in self._answered:
            return self._answered[key]
        name = type(call.request).__name__
        owner = self if hasattr(self, f"_{name}") else self.drafts
        reply: Reply = getattr(owner, f"_{name}")(call.request)
        self.done[name] += 1
        if call.number:
            self._answered[key] = reply
        return reply

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def move(self, source: str, target: str) -> None:
        """Somebody renames a file."""
        file = self.files[self.paths.pop(source)]
        assert file.info is not None
        self.paths[target] = file.inode_id
        file.info = msgspec.structs.replace(file.info, path=target, changed_txid=self.new_id())

    # ------------------------------------------------------------ namespace

    def _MakeDirectory(self, request: messages.MakeDirectory) -> messages.FileInfo:  # noqa: N802
        if request.path in self.paths:
            raise PathExists(f"{request.path} exists", request.path)
        self.paths[request.path] = self.new_id()
        return self._info(request.path, 0)

    def _GetInfo(self, request: messages.GetInfo) -> messages.FileInfo:  # noqa: N802
        if request.path not in self.paths:
            raise NoSuchPath(f"{request.path} does not exist", request.path)
        file = self.files.get(self.paths[request.path])
        return file.info if file and file.info else self._info(request.path, 0)

    def _GetInfos(self, request: messages.GetInfos) -> messages.Infos:  # noqa: N802
        page = request.paths[:2]
        return messages.Infos(
            tuple(self._info(path, 0) if path in self.paths else None for path in page)
        )

    def _ListDirectory(self, request: messages.ListDirectory) -> messages.Listing:  # noqa: N802
        names = sorted(path for path in self.paths if path.rpartition("/")[2] > request.after)
        return self._listing(names, lambda path: path.rpartition("/")[2])

    def _WalkTree(self, request: messages.WalkTree) -> messages.Listing:  # noqa: N802
        root = request.path.rstrip("/") + "/"
        names = sorted(path for path in self.paths if path.removeprefix(root) > request.after)
        return self._listing(names, lambda path: path.removeprefix(root))

    def _listing(self, paths: list[str], place: Callable[[str], str]) -> messages.Listing:
        page, after = paths[:3], place(paths[2]) if len(paths) > 3 else None
        return messages.make_listing([self._info(path, 0) for path in page], after)

    def _info(self, path: str, length: int, content_hash: bytes = b"") -> messages.FileInfo:
        return messages.FileInfo(
            path, 1, messages.EntryKind.FILE, length, 0, "", "", 0, 0, 3, 0, content_hash
        )

    # ------------------------------------------------------------ writing

    def _CreateFile(self, request: messages.CreateFile) -> messages.CreatedFile:  # noqa: N802
        inode_id = self.new_id()
        size = request.block_size_bytes or BLOCK_BYTES
        self.files[inode_id] = StoredFile(inode_id, size)
        block = None
        if request.first_block is not None and self.gives_first_blocks:
            block = self._AllocateBlock(messages.AllocateBlock(inode_id, 0))
        return messages.CreatedFile(inode_id, request.replication or 3, size, block)

    def _AllocateBlock(self, request: messages.AllocateBlock) -> messages.AllocatedBlock:  # noqa: N802
        file = self.files.get(request.inode_id)
        if file is None:
            raise LeaseConflict(f"there is no lease on inode {request.inode_id}")
        assert request.index in (len(file.blocks), len(file.blocks) - 1)
        if request.index == len(file.blocks):
            self.commit(file, request.previous)
        for earlier in file.blocks[: max(0, request.index - 1)]:
            if len(self.world.good_replicas(earlier)) < 2:
                raise TooFewDatanodes("a third block would be unfinished")
        members = self.world.choose(set(request.excluded), 3)
        if len(members) < 2:
            raise TooFewDatanodes(f"only {len(members)} datanodes")
        block = StoredBlock(self.new_id(), self.new_id(), tuple(members))
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

    def commit(self, file: StoredFile, previous: messages.CommittedBlock | None) -> None:
        assert (previous is None) == (not file.blocks)
        if previous is None:
            return
        assert previous.block_id == file.blocks[-1].block_id
        if previous.stamp != file.blocks[-1].stamp:
            raise StaleGeneration(f"the block has stamp {file.blocks[-1].stamp}")
        file.blocks[-1].committed = previous

    def _block(self, inode_id: int, block_id: int) -> StoredBlock:
        return next(each for each in self.files[inode_id].blocks if each.block_id == block_id)

    def _RebuildPipeline(self, request: messages.RebuildPipeline) -> messages.AllocatedBlock:  # noqa: N802
        block = self._block(request.inode_id, request.block_id)
        assert request.survivors
        assert set(request.survivors) <= set(block.members)
        assert request.stamp in (block.stamp, block.issued)
        alive = [name for name in request.survivors if self.world.is_alive(name)]
        if not alive:
            raise TooFewDatanodes("no survivor is live")
        fresh = self.world.choose({*request.survivors, *request.excluded}, 3 - len(alive))
        if len(alive + fresh) < 2:
            raise TooFewDatanodes(f"only {len(alive + fresh)} datanodes")
        block.issued = self.new_id()
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
        self.commit(file, request.last)
        if request.exclusive and request.path in self.paths:
            raise PathExists(f"{request.path} exists", request.path)
        length = 0
        for block in file.blocks:
            assert block.committed is not None
            length += block.committed.length_bytes
            good = self.world.good_replicas(block)
            if len(good) < 2:
                file.blocks[-1].committed = None  # waiting in vain commits nothing
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
        self.files.pop(request.inode_id, None)
        self.drafts.targets.pop(request.inode_id, None)
        return messages.Done()

    def _RenewLeases(self, request: messages.RenewLeases) -> messages.LeasesRenewed:  # noqa: N802
        return messages.LeasesRenewed(self.ended)

    # ------------------------------------------------------------ reading

    def _OpenFile(self, request: messages.OpenFile) -> messages.OpenedFile:  # noqa: N802
        if request.path not in self.paths:
            raise NoSuchPath(f"{request.path} does not exist", request.path)
        file = self.files[self.paths[request.path]]
        assert file.info is not None
        return self.opened(file)

    def opened(self, file: StoredFile) -> messages.OpenedFile:
        """A file's first page, and the ids of all its blocks if there are more."""
        assert file.info is not None
        page = self._located(file, 0)
        block_ids = b"".join(block.block_id.to_bytes(8) for block in file.blocks)
        return messages.OpenedFile(
            file.info, page.blocks, page.more, block_ids if page.more else b""
        )

    def _LocateBlocks(self, request: messages.LocateBlocks) -> messages.LocatedBlocks:  # noqa: N802
        if request.inode_id in self.gone:
            raise StaleHandle("the file is gone")
        file = self.files[request.inode_id]
        assert file.info is not None
        return self._located(file, request.first_index)

    def _located(self, file: StoredFile, first: int) -> messages.LocatedBlocks:
        located = self.locate(file.blocks)
        page = located[first : first + PAGE_BLOCKS]
        return messages.LocatedBlocks(tuple(page), first + PAGE_BLOCKS < len(located))

    def locate(self, stored: list[StoredBlock]) -> list[messages.LocatedBlock]:
        """The blocks of a file, with whoever has them."""
        located = []
        offset = 0
        for block in stored:
            assert block.committed is not None
            replicas = tuple(
                messages.ReplicaLocation(
                    target.datanode_id, target.address, target.datanode_id, "/r"
                )
                for target in self.world.targets(self.world.good_replicas(block))
            )
            token = self.world.token(block.block_id, block.stamp, Access.READ, ())
            length, digest = block.committed.length_bytes, block.committed.digest
            located.append(
                messages.LocatedBlock(
                    block.block_id, block.stamp, offset, length, digest, replicas, token
                )
            )
            offset += length
        return located

    def _ReportCorruptReplica(self, request: messages.ReportCorruptReplica) -> messages.Done:  # noqa: N802
        return messages.Done()
