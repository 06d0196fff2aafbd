"""The namespace against a model of dictionaries, step by step.

Each rule does one thing to both and compares the answers, errors included. After each step the
tables fit together (the driver checks) and the whole tree is the model's. In the end the log,
replayed from its beginning and from a copy taken on the way, gives the very tables that live.
"""

from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from dolmen.protocol.checksums import content_hash
from dolmen.protocol.client_messages import (
    AbandonFile,
    ClientRequest,
    CreatedFile,
    CreateFile,
    Delete,
    Done,
    EntryKind,
    FileInfo,
    Listing,
    LocateBlocks,
    LocatedBlock,
    LocatedBlocks,
    MakeDirectory,
    OpenedFile,
    OpenFile,
    PublishFile,
    Rename,
    SetAttributes,
    StoreFile,
    WalkTree,
)
from dolmen.protocol.control_messages import Reply
from dolmen.protocol.draft_messages import LISTED_LIMIT, KeepBlocks, LocateBlock
from dolmen.protocol.errors import DolmenError, LeaseConflict, StaleHandle
from dolmen.simulation.sim_key_value import SimKeyValueStore
from namenode.core.apply import apply_group
from namenode.core.case import NamesystemSettings
from namenode.core.edits import decode_group
from namenode.core.tables import DURABLE_TABLES
from tests.model.namespace_model import (
    INLINE_LIMIT_BYTES,
    Block,
    Directory,
    File,
    Model,
    Node,
    Path,
)
from tests.unit.namenode.core.driver import CLIENT, DIGEST, Driver, contents

SETTINGS = NamesystemSettings(
    block_size_bytes=65536,
    inline_limit_bytes=INLINE_LIMIT_BYTES,
    delete_after_ms=1_000,
    lease_soft_limit_ms=5_000,
    lease_hard_limit_ms=20_000,
    block_token_life_ms=3_000,
    answered_life_ms=10_000,
)
names = st.sampled_from(["a", "b", "ä", "B c"])
paths = st.lists(names, min_size=0, max_size=3).map(tuple)
lengths = st.lists(st.integers(1, 65536), max_size=3).map(tuple)
short = st.binary(max_size=INLINE_LIMIT_BYTES)


@dataclass(frozen=True)
class Pending:
    inode_id: int
    path: Path
    lengths: tuple[int, ...]
    exclusive: bool
    renewed_ms: int


class NamespaceMachine(RuleBasedStateMachine):
    pending = Bundle("pending")

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(SETTINGS)
        self.model = Model()
        self.last: tuple[ClientRequest, int, bytes, Reply] | None = None
        self.copy: tuple[int, dict[str, list[tuple[bytes, bytes]]]] | None = None
        self.open: dict[int, int] = {}  # inode id → until when its reader has a token
        self.readable: dict[int, int] = {}  # block id → until when its reader has a token

    def attempt(
        self, request: ClientRequest, client_id: bytes = CLIENT
    ) -> tuple[Reply | None, type | None]:
        before = len(self.driver.log)
        try:
            reply = self.driver.do(request, client_id=client_id)
        except DolmenError as error:
            refused = type(error)
            assert len(self.driver.log) == before
            return None, refused
        if len(self.driver.log) > before:
            self.last = (request, self.driver.number, client_id, reply)
        return reply, None

    @initialize()
    def begin(self) -> None:
        """Something is there already, so that the first steps can collide with it."""
        self.driver.tick()
        self.driver.now_ms += SETTINGS.block_token_life_ms
        self.write(("a", "b", "a"), (65536, 7))
        self.write(("b",), (1,))
        self.make_directory(("ä",), parents=False, exist_ok=False)

    @rule(path=paths, parents=st.booleans(), exist_ok=st.booleans())
    def make_directory(self, path: Path, parents: bool, exist_ok: bool) -> None:
        _, error = self.attempt(MakeDirectory(show(path), parents=parents, exist_ok=exist_ok))
        assert error is raised(lambda: self.model.make_directory(path, parents, exist_ok))

    @rule(path=paths, lengths=lengths, exclusive=st.booleans(), target=pending)
    def create(self, path: Path, lengths: tuple[int, ...], exclusive: bool) -> Pending:
        reply, error = self.attempt(CreateFile(show(path), exclusive=exclusive))
        assert error is raised(lambda: self.model.check_publishable(path, exclusive))
        if not isinstance(reply, CreatedFile):
            return Pending(0, path, lengths, exclusive, 0)
        return Pending(reply.inode_id, path, lengths, exclusive, self.driver.now_ms)

    @rule(file=consumes(pending))
    def publish(self, file: Pending) -> None:
        if self.is_over(file):
            _, error = self.attempt(PublishFile(file.inode_id, show(file.path), None, DIGEST))
            assert error is LeaseConflict
            return
        last = self.driver.write_blocks(file.inode_id, file.lengths)
        request = PublishFile(file.inode_id, show(file.path), last, DIGEST, file.exclusive)
        reply, error = self.attempt(request)
        published = File(self.blocks_of(file.inode_id, file.lengths), file.inode_id)
        assert error is raised(lambda: self.model.publish(file.path, published, file.exclusive))
        if error is None:
            assert reply == self.driver.info(show(file.path))

    def blocks_of(self, inode_id: int, lengths: tuple[int, ...]) -> tuple[Block, ...]:
        """What was just written to an unpublished file."""
        return tuple(map(Block, self.driver.block_ids(inode_id), lengths))

    @rule(path=paths, lengths=lengths)
    def write(self, path: Path, lengths: tuple[int, ...]) -> None:
        self.publish(self.create(path, lengths, exclusive=False))

    @rule(path=paths, content=short, exclusive=st.booleans())
    def store(self, path: Path, content: bytes, exclusive: bool) -> None:
        """A file that is short enough is stored, as one that is created and published."""
        file = CreateFile(show(path), exclusive=exclusive)
        reply, error = self.attempt(StoreFile(file, content, content_hash(content)))
        stored = File((), 0, content=content)
        assert error is raised(lambda: self.model.publish(path, stored, exclusive))
        if error is None:
            assert reply == self.driver.info(show(path))
            assert isinstance(reply, FileInfo)
            stored.inode_id = reply.inode_id

    @rule(file=consumes(pending))
    def abandon(self, file: Pending) -> None:
        assert self.attempt(AbandonFile(file.inode_id)) == (Done(), None)
        assert self.attempt(AbandonFile(file.inode_id)) == (Done(), None)

    def is_over(self, file: Pending) -> bool:
        with self.driver.key_value.snapshot() as view:
            leases = [int.from_bytes(key) for key, _ in view.scan("leases")]
        if file.inode_id and self.driver.now_ms < file.renewed_ms + SETTINGS.lease_hard_limit_ms:
            assert file.inode_id in leases, "a lease ended before its time"
        return file.inode_id not in leases

    def some_path(self, data: st.DataObject) -> Path:
        """A path that exists, more often than chance would find one."""
        known = [tuple(path[1:].split("/")) for path, _ in self.model.walk()]
        return data.draw(st.sampled_from(known) | paths if known else paths)

    @rule(data=st.data(), to=paths, replace=st.booleans())
    def rename(self, data: st.DataObject, to: Path, replace: bool) -> None:
        source = self.some_path(data)
        _, error = self.attempt(Rename(show(source), show(to), replace))
        assert error is raised(lambda: self.model.rename(source, to, replace))

    @rule(data=st.data(), to=st.data(), replace=st.booleans())
    def rename_onto(self, data: st.DataObject, to: st.DataObject, replace: bool) -> None:
        self.rename(data, self.some_path(to), replace)

    @rule(data=st.data(), recursive=st.booleans())
    def delete(self, data: st.DataObject, recursive: bool) -> None:
        path = self.some_path(data)
        _, error = self.attempt(Delete(show(path), recursive))
        assert error is raised(lambda: self.model.delete(path, recursive))

    @rule(
        data=st.data(),
        mode=st.none() | st.integers(0, 0o7777),
        replication=st.none() | st.integers(1, 512),
    )
    def set_attributes(
        self, data: st.DataObject, mode: int | None, replication: int | None
    ) -> None:
        path = self.some_path(data)
        reply, error = self.attempt(SetAttributes(show(path), replication, mode))
        assert error is raised(lambda: self.model.set_attributes(path, mode, replication))
        if error is None:
            assert reply == self.driver.info(show(path))

    @precondition(lambda self: self.last)
    @rule()
    def repeat(self) -> None:
        assert self.last
        request, number, client_id, reply = self.last
        size = len(self.driver.log)
        assert self.driver.do(request, number, client_id) == reply
        assert len(self.driver.log) == size

    @rule(wait_ms=st.sampled_from([1, 500, 1_000, 3_000, 5_000, 25_000]))
    def let_time_pass(self, wait_ms: int) -> None:
        self.driver.now_ms += wait_ms
        self.driver.tick()
        if wait_ms > SETTINGS.answered_life_ms:
            self.last = None  # its reply may be forgotten, rightly
        for block_id in self.driver.dropped():
            assert self.readable.pop(block_id, 0) < self.driver.now_ms

    @rule()
    def open_files(self) -> None:
        for path, node in self.model.walk():
            if isinstance(node, File):
                self.open_file(path, node)

    def open_file(self, path: str, file: File) -> None:
        opened = self.driver.ask(OpenFile(path))
        assert isinstance(opened, OpenedFile)
        found = tuple(Block(block.block_id, block.length_bytes) for block in opened.blocks)
        assert found == file.blocks
        assert opened.content == file.content
        if not file.content:
            self.open[file.inode_id] = self.read(opened.blocks)

    def read(self, blocks: tuple[LocatedBlock, ...]) -> int:
        """Somebody has got tokens for these blocks; return until when they are valid."""
        until_ms = self.driver.now_ms + SETTINGS.block_token_life_ms
        self.readable.update((block.block_id, until_ms) for block in blocks)
        return until_ms

    @precondition(lambda self: self.open)
    @rule()
    def renew(self) -> None:
        for inode_id, until_ms in list(self.open.items()):
            try:
                page = self.driver.ask(LocateBlocks(inode_id))
            except StaleHandle:
                assert until_ms <= self.driver.now_ms
            else:
                assert isinstance(page, LocatedBlocks)
                self.open[inode_id] = self.read(page.blocks)
        for block_id, until_ms in list(self.readable.items()):
            try:
                page = self.driver.ask(LocateBlock(block_id))
            except StaleHandle:
                assert until_ms <= self.driver.now_ms
            else:
                assert isinstance(page, LocatedBlocks)
                self.read(page.blocks)

    @precondition(lambda self: self.readable)
    @rule()
    def keep(self) -> None:
        """Somebody still reads what he has valid tokens for, wherever it is by now."""
        block_ids = tuple(self.readable)[-LISTED_LIMIT:]
        assert self.driver.ask(KeepBlocks(block_ids)) == Done()
        for block_id in block_ids:
            if self.readable[block_id] >= self.driver.now_ms:
                self.readable[block_id] = self.driver.now_ms + SETTINGS.block_token_life_ms

    @rule()
    def restart(self) -> None:
        self.driver.start()
        self.driver.tick()

    @rule()
    def take_a_copy(self) -> None:
        with self.driver.key_value.snapshot() as view:
            self.copy = (len(self.driver.log), contents(view))

    @invariant()
    def the_tree_is_the_models(self) -> None:
        walked: list[FileInfo] = []
        more = True
        while more:
            after = walked[-1].path[1:] if walked else ""
            page = self.driver.ask(WalkTree("/", after, limit=4))
            assert isinstance(page, Listing)
            walked.extend(page.entries)
            more = page.more
        assert [seen(info) for info in walked] == [
            expected(path, node) for path, node in self.model.walk()
        ]

    def teardown(self) -> None:
        with self.driver.key_value.snapshot() as view:
            live = contents(view)
        assert replay(self.driver.log, 0, {}) == live
        if self.copy is not None:
            assert replay(self.driver.log, *self.copy) == live


def show(path: Path) -> str:
    return "/" + "/".join(path)


def raised(do: object) -> type | None:
    assert callable(do)
    try:
        do()
    except DolmenError as error:
        return type(error)
    return None


def seen(info: FileInfo) -> tuple[object, ...]:
    if info.kind == EntryKind.DIRECTORY:
        return info.path, info.mode
    length_bytes, cut_txid = info.length_bytes, info.cut_txid
    what = (info.replication, info.inode_id, info.inline)
    return info.path, info.mode, length_bytes, *what, cut_txid


def expected(path: str, node: Node) -> tuple[object, ...]:
    if isinstance(node, Directory):
        return path, node.mode
    length_bytes, cut_txid = node.length_bytes, node.cut_txid
    what = (node.replication, node.inode_id, node.content != b"")
    return path, node.mode, length_bytes, *what, cut_txid


def replay(
    log: list[bytes], start: int, copied: dict[str, list[tuple[bytes, bytes]]]
) -> dict[str, list[tuple[bytes, bytes]]]:
    """Return the tables that the log gives from transaction `start` on, over a copy of then."""
    key_value = SimKeyValueStore().open("/replayed", DURABLE_TABLES)
    transaction = key_value.begin()
    for table, records in copied.items():
        for key, value in records:
            transaction.put(table, key, value)
    for txid, group in enumerate(log[start:], start + 1):
        apply_group(decode_group(group), transaction, txid)
    transaction.commit()
    with key_value.snapshot() as view:
        return contents(view)


TestNamespace = NamespaceMachine.TestCase
TestNamespace.settings = settings(max_examples=100, stateful_step_count=40)
