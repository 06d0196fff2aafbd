"""A client of one cluster: the namespace by calls, files by readers and writers.

One client serves one event loop. It opens its control connection at the first call and opens it
again whenever it breaks; calls, readers and writers go on across a restart of the namenode.
Everything that is wrong with a request is raised as a `DolmenError`; the errors named in
`dolmen.protocol.client_messages` at each request are the ones to expect.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Literal, TypedDict, Unpack, overload

from dolmen.client.append_writer import AppendWriter, open_appender
from dolmen.client.bulk import Datanodes
from dolmen.client.byte_budget import ByteBudget
from dolmen.client.checksum_lists import ChecksumLists
from dolmen.client.concat import concat
from dolmen.client.connection import NamenodeConnection
from dolmen.client.core.byte_shares import ByteShares
from dolmen.client.follow import Start, follow
from dolmen.client.hedging import Hedging, HedgingFigures
from dolmen.client.hints import Hints
from dolmen.client.leases import LeaseKeeper
from dolmen.client.links import Links
from dolmen.client.local_replicas import LocalFigures, LocalReplicas
from dolmen.client.new_file import store_at_once
from dolmen.client.operator import Operator
from dolmen.client.options import ClientOptions
from dolmen.client.pages import directory_pages, tree_pages
from dolmen.client.reader import Reader, open_reader
from dolmen.client.truncate import truncate
from dolmen.client.url import complete_address, login_name
from dolmen.client.writer import Writer, open_writer
from dolmen.protocol.checksums import Buffer
from dolmen.protocol.client_messages import (
    CreateFile,
    Delete,
    Done,
    EntryKind,
    FileInfo,
    GetInfo,
    GetInfos,
    Infos,
    ListDirectory,
    Listing,
    LocateBlocks,
    LocatedBlock,
    LocatedBlocks,
    MakeDirectory,
    OpenedFile,
    OpenFile,
    Rename,
    SetAttributes,
)
from dolmen.protocol.control_messages import Greeting
from dolmen.protocol.draft_messages import RecoverLease
from dolmen.protocol.errors import IsADirectory, NoSuchPath, PathExists
from dolmen.protocol.identifiers import INFOS_LIMIT
from dolmen.protocol.operator_messages import ClusterReport, GetReport
from dolmen.runtime.machine import Machine


class AttributeChanges(TypedDict, total=False):
    """What `Client.set_attributes` can change."""

    replication: int | None
    mode: int | None
    owner: str | None
    group: str | None
    modified_ms: int | None


class FileShape(TypedDict, total=False):
    """What a new file is to be; 0 asks for the cluster's value."""

    replication: int
    block_size_bytes: int
    mode: int


class Client:
    """What a program uses. Close it, or use it as `async with Client(...) as client`.

    It has its machine for itself: closing it closes the machine's transport.
    """

    def __init__(self, machine: Machine, options: ClientOptions) -> None:
        self.address = complete_address(options.namenode)
        user = options.user or login_name()
        self._machine = machine
        self._namenode = NamenodeConnection(machine, self.address, user, options)
        self._links = Links(
            machine=machine,
            options=options,
            namenode=self._namenode,
            datanodes=Datanodes(machine, options),
            hedging=Hedging(options.hedged_share),
            local=LocalReplicas(machine.file_passing, is_on=options.short_circuit),
            leases=LeaseKeeper(self._namenode),
            hints=Hints(self._namenode),
            read_memory=ByteShares(options.read_memory_bytes),
            write_memory=ByteBudget(options.write_memory_bytes),
            host=options.host or machine.host_name,
        )
        self._checksums = ChecksumLists(self._links.datanodes)
        self.operator = Operator(self._namenode)
        """What an operator asks and has done: fsck, admin states, safe mode, balancing."""

    @property
    def cluster(self) -> Greeting:
        """What the namenode said of its cluster; only after `connect` or any other call."""
        return self._namenode.greeting

    @property
    def user(self) -> str:
        """Who the namenode believes us to be."""
        return self._namenode.user

    @property
    def hedging(self) -> HedgingFigures:
        """How many reads were asked of a second replica, and how that went."""
        return self._links.hedging.figures

    @property
    def local_reads(self) -> LocalFigures:
        """How much was read without a datanode, from replicas on our own host."""
        return self._links.local.figures

    async def find_local(self, block: LocatedBlock) -> tuple[str, ...]:
        """Return the ids of those datanodes that are on our host and have a block."""
        near = await self._links.local.look(block.replicas)
        return tuple(one.datanode_id for one in block.replicas if one.datanode_id in near)

    @property
    def was_reached(self) -> bool:
        """Whether the namenode ever answered this client."""
        return self._namenode.was_reached

    def keeps_inline(self, length_bytes: int) -> bool:
        """Whether the namenode, which has been reached, keeps files of this length itself."""
        limit_bytes = self.cluster.inline_limit_bytes if self.was_reached else 0
        return 0 < limit_bytes >= length_bytes

    def draw_name(self) -> str:
        """Return a name that nobody else has, for something temporary."""
        return self._machine.random.randbytes(8).hex()

    async def connect(self) -> None:
        """Reach the namenode now, within 5 s, or raise NamenodeUnreachable."""
        await self._namenode.connect()

    async def close(self) -> None:
        """Close the connections. Readers and writers still open fail; nothing is published."""
        await self._links.local.close()
        await self._checksums.close()
        await self._links.hints.close()
        await self._links.leases.close()
        await self._namenode.close()
        await self._machine.transport.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ------------------------------------------------------------ the namespace

    async def info(self, path: str) -> FileInfo:
        """Return what is known of a file or directory; NoSuchPath."""
        return await self._namenode.call(GetInfo(path), FileInfo)

    async def infos(self, paths: Sequence[str]) -> list[FileInfo | None]:
        """Return what is known of each path, None where there is nothing: a hundred with each
        call. They are not those of one moment."""
        found: list[FileInfo | None] = []
        while len(found) < len(paths):
            asked = GetInfos(tuple(paths[len(found) : len(found) + INFOS_LIMIT]))
            found += (await self._namenode.call(asked, Infos)).entries
        return found

    async def list_directory(self, path: str, after: str = "") -> list[FileInfo]:
        """Return the entries of a directory in byte order, those behind the name `after`."""
        found: list[FileInfo] = []
        async for page in directory_pages(self._namenode, path, after):
            found += page
        return found

    async def list_page(self, path: str) -> Listing:
        """Return the first entries of a directory, and whether there are more."""
        return await self._namenode.call(ListDirectory(path), Listing)

    async def iterate_directory(self, path: str) -> AsyncIterator[FileInfo]:
        """Yield the entries of a directory in byte order, fetched page by page."""
        async for page in directory_pages(self._namenode, path):
            for entry in page:
                yield entry

    async def walk_tree(self, path: str, max_depth: int = 0) -> AsyncIterator[FileInfo]:
        """Yield everything below `path`, parents first; `max_depth` 1 is children only, 0 all."""
        async for page in tree_pages(self._namenode, path, max_depth):
            for entry in page:
                yield entry

    async def make_directory(
        self, path: str, *, mode: int = 0o755, parents: bool = False, exist_ok: bool = False
    ) -> FileInfo:
        """Make a directory; PathExists, NoSuchPath (its parent), NotADirectory."""
        return await self._namenode.call(MakeDirectory(path, mode, parents, exist_ok), FileInfo)

    async def rename(self, source: str, target: str, *, replace: bool = True) -> None:
        """Rename as POSIX does, in one step; with `replace=False` any target is PathExists."""
        await self._namenode.call(Rename(source, target, replace), Done)

    async def delete(
        self, path: str, *, recursive: bool = False, kind: EntryKind | None = None
    ) -> None:
        """Delete a file or directory, or only one of `kind`, as IsADirectory and NotADirectory
        say; DirectoryNotEmpty unless `recursive`."""
        await self._namenode.call(Delete(path, recursive, kind), Done)

    async def locate_blocks(self, path: str) -> AsyncIterator[LocatedBlock]:
        """Yield the blocks of a file as it is now, each with its replicas, nearest first."""
        opened = await self._namenode.call(OpenFile(path, self._links.host), OpenedFile)
        if opened.info.kind is not EntryKind.FILE:
            raise IsADirectory(f"{path} is a directory, and only files have blocks", path)
        blocks, more, index = opened.blocks, opened.more, 0
        while True:
            for block in blocks:
                yield block
            index += len(blocks)
            if not more or not blocks:
                return
            request = LocateBlocks(opened.info.inode_id, index, self._links.host)
            page = await self._namenode.call(request, LocatedBlocks)
            blocks, more = page.blocks, page.more

    async def set_attributes(self, path: str, **changes: Unpack[AttributeChanges]) -> FileInfo:
        """Change what is given, and leave what is None: replication, mode, owner, group, time."""
        return await self._namenode.call(SetAttributes(path, **changes), FileInfo)

    async def report(self) -> ClusterReport:
        """Return the state of the cluster; answered in safe mode too."""
        return await self._namenode.call(GetReport(), ClusterReport)

    # ------------------------------------------------------------ files

    async def open_reader(self, path: str) -> Reader:
        """Open a file as it is now: the reader keeps to this version. IsADirectory, NoSuchPath."""
        return await open_reader(self._links, self._checksums, path)

    @overload
    async def open_writer(
        self,
        path: str,
        *,
        exclusive: bool = False,
        visible: Literal[False] = False,
        coming_bytes: int | None = None,
        **shape: Unpack[FileShape],
    ) -> Writer: ...

    @overload
    async def open_writer(
        self,
        path: str,
        *,
        exclusive: bool = False,
        visible: Literal[True],
        **shape: Unpack[FileShape],
    ) -> AppendWriter: ...

    async def open_writer(
        self,
        path: str,
        *,
        exclusive: bool = False,
        visible: bool = False,
        coming_bytes: int | None = None,
        **shape: Unpack[FileShape],
    ) -> Writer | AppendWriter:
        """Start a file that appears at `path`, whole, when the writer is closed.

        With `exclusive` an existing path is PathExists, now and at close. A path that could not be
        published now is refused now; at close only, which saves a call, if `coming_bytes` says that
        the file will be short. A `visible` file stands there at once, empty, and has the bytes that
        were flushed, also if its writer dies.
        """
        request = CreateFile(path, **shape, exclusive=exclusive)
        writer = await open_writer(self._links, request, 0 if visible else coming_bytes)
        if not visible:
            return writer
        info = await writer.close()
        return await open_appender(self._links, self._checksums, info.path, info.inode_id)

    async def open_appender(
        self, path: str, *, create: bool = False, **shape: Unpack[FileShape]
    ) -> AppendWriter:
        """Become the one writer of an existing file, to write behind its end.

        NoSuchPath, unless `create`: then the file, of this `shape`, is made first. LeaseConflict
        while somebody else writes it; `recover_lease` ends that.
        """
        while True:
            try:
                return await open_appender(self._links, self._checksums, path)
            except NoSuchPath:
                if not create:
                    raise
            with contextlib.suppress(PathExists):  # somebody else made it meanwhile
                return await self.open_writer(path, exclusive=True, visible=True, **shape)

    async def truncate(self, path: str, length_bytes: int) -> FileInfo:
        """Take away a file's bytes from `length_bytes` on. InvalidRequest if it has not so many;
        LeaseConflict while somebody writes it."""
        return await truncate(self._links, self._checksums, path, length_bytes)

    async def concat(self, target: str, sources: Sequence[str]) -> FileInfo:
        """Put the bytes of `sources` behind those of `target`, in this order and in one step, in
        which the sources vanish. No byte is moved, but for those of inline files."""
        return await concat(self._links, self._checksums, target, sources)

    async def recover_lease(self, path: str) -> FileInfo:
        """Take the right to write a file from whoever has it; what was flushed stays."""
        return await self._namenode.call(RecoverLease(path), FileInfo)

    def follow(self, path: str, offset: int | Start = 0) -> AsyncGenerator[bytes, None]:
        """Yield a file's bytes from `offset` on (negative: from its end), and then, without an end,
        those that are flushed later: each once, in order, wherever the file is moved to. `offset`
        may be a coroutine function that finds it by a reader of the file.

        StaleHandle: it was deleted or replaced. InvalidRequest: bytes were taken away that were
        given already. Close the iterator (`contextlib.aclosing`) when leaving it.
        """
        return follow(self._links, self._checksums, path, offset)

    async def read_file(self, path: str) -> bytes:
        """Return all bytes of a file that fits in memory."""
        reader = await self.open_reader(path)
        try:
            return bytes(await reader.read_at(0, reader.length_bytes))
        finally:
            await reader.close()

    async def write_file(
        self, path: str, data: Buffer, *, exclusive: bool = False, **shape: Unpack[FileShape]
    ) -> FileInfo:
        """Write a whole file in one step."""
        request = CreateFile(path, **shape, exclusive=exclusive)
        if (info := await store_at_once(self._links, request, data)) is not None:
            return info
        length_bytes = memoryview(data).nbytes
        writer = await open_writer(self._links, request, length_bytes)
        async with writer:
            await writer.write(data)
        return writer.info
