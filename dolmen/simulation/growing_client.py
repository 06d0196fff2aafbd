"""What one task does with files that grow, each step with its beginning and its answer.

LeaseConflict and StaleHandle are answers here: somebody else writes the file, or it is another one
by now. Who is told so has changed nothing, which every later read must show. What two tasks of one
client do to a file they do as two writers.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import xxhash

from dolmen.client.append_writer import AppendWriter
from dolmen.protocol.client_messages import FileInfo
from dolmen.protocol.errors import DolmenError, LeaseConflict, NoSuchPath, StaleHandle
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.growing_model import Content, Cut, Extend, Join, Measure, Start
from dolmen.simulation.history import now_s
from dolmen.simulation.namespace_history import Call
from dolmen.simulation.namespace_model import DONE, Answer, Look, Node, Operation
from dolmen.simulation.recorded_client import LIMIT_S, READABLE_S, RecordedClient

ANSWERS = (LeaseConflict, StaleHandle)

FOLLOWED_S = 20.0

Errors = tuple[type[DolmenError], ...]

Changes = Coroutine[None, None, list[bytes] | None]
"""Changes a file, and returns all that it has contained meanwhile, if that is certain."""


@dataclass(frozen=True)
class Growth:
    """What a writer puts behind the end of a file: pieces, each flushed, with pauses between."""

    path: str
    lengths: Sequence[int]
    pause_s: float = 0.0


class GrowingClient(RecordedClient):
    """Appends, cuts, joins and follows."""

    async def start(self, growth: Growth, replication: int) -> bool:
        """Make a file that others see while it is written; return whether all was acknowledged."""
        path = growth.path

        async def open_visible() -> AppendWriter:
            try:
                return await self.client.open_writer(path, visible=True, replication=replication)
            except NoSuchPath as error:  # it was made, and removed before it was opened
                raise StaleHandle(str(error), path) from error

        writer = await self._ask(Start(path, replication), open_visible(), _done)
        return writer is not None and await self._extend(writer, growth)

    async def store(self, path: str, length_bytes: int, replication: int) -> bool:
        """Make a file that appears whole; return whether that was acknowledged as done."""
        content = self._draw(length_bytes)

        async def store() -> None:
            writer = await self.client.open_writer(path, replication=replication)
            async with writer:
                await writer.write(content.data)
            self._history.published(writer.info)

        return await self._do(Start(path, replication, content), store())

    async def append(self, growth: Growth) -> bool:
        """Write behind the end of a file; return whether all was acknowledged."""
        writer = await self._open(growth.path)
        return writer is not None and await self._extend(writer, growth)

    async def truncate(self, path: str, length_bytes: int) -> bool:
        """Cut a file; return whether that was acknowledged as done."""
        cutting = self.client.truncate(path, length_bytes)
        return await self._do(Cut(path, length_bytes), cutting)

    async def concat(self, target: str, sources: tuple[str, ...]) -> bool:
        """Join files; return whether that was acknowledged as done."""
        return await self._do(Join(target, sources), self.client.concat(target, sources))

    async def read_content(self, path: str, pause_s: float = 0.0) -> Content | None:
        """Read a file whole, so long after it was opened; None if nothing could be read."""

        async def read() -> Node:
            async with await self.client.open_reader(path) as reader:
                await asyncio.sleep(pause_s)
                data = await reader.read_at(0, reader.length_bytes)
                check_hash(reader.info, data)
                return Node(Content.of(bytes(data)), reader.info.replication)

        node = await self._ask(Look(path), read(), lambda node: node)
        content = None if node is None else node.version
        return content if isinstance(content, Content) else None

    async def follow(self, path: str, offset: int, for_s: float) -> None:
        """Follow a file that nobody cuts or replaces: every byte comes in order, once."""
        got = await self.stream(path, offset, for_s)
        content = await self.read_content(path)
        if content is not None and got:
            self._history.true_reads.check_followed(path, offset, got, [content.data])

    async def stream(
        self, path: str, offset: int, for_s: float, ends: Errors = (NoSuchPath,)
    ) -> bytearray:
        """Follow a file and return the bytes that came; errors among `ends` are an answer."""
        got, started_s = bytearray(), now_s()
        try:
            async with (
                asyncio.timeout(for_s),
                aclosing(self.client.follow(path, offset)) as pieces,
            ):
                async for piece in pieces:
                    got += piece
        except TimeoutError:
            self._history.acknowledged["Follow"] += 1
        except ends:
            self._history.acknowledged["Follow"] += bool(got)
        except DolmenError as error:
            self._history.forgive("Follow", path, error, started_s)
        return got

    async def follow_changes(self, path: str, offset: int, changes: Changes) -> None:
        """Follow a file while it is changed in all ways: what comes is what it was at one moment;
        what it was before a cut and what came behind it after that never come together."""
        async with asyncio.TaskGroup() as group:
            stream = self.stream(path, offset, FOLLOWED_S, (NoSuchPath, StaleHandle))
            following, changing = group.create_task(stream), group.create_task(changes)
        got, contents = following.result(), changing.result()
        if contents is not None and got:
            self._history.true_reads.check_followed(path, offset, got, contents)

    async def be_fenced(self, growth: Growth, between: Growth) -> None:
        """Write, have the lease taken away, let another writer write, and come back."""
        writer = await self._open(growth.path)
        if writer is None:
            return
        path, piece = growth.path, self._draw(growth.lengths[0])
        try:
            await writer.write(piece.data)
            fencing = self.client.recover_lease(path)
            taken = await self._ask(Measure(path), fencing, lambda info: info.length_bytes)
            if taken is None:
                return
            await self.append(between)
            async with asyncio.timeout(LIMIT_S):
                await writer.flush()
        except DolmenError as error:
            self._history.tell(self.name, f"{path}: {type(error).__name__}: {error}", (path,))
        else:
            raise CheckFailed(f"{path}: a writer whose lease was taken away could write", (path,))
        finally:
            await writer.abandon()

    async def be_protected(self, path: str) -> None:
        """Open a file to append, and try so with another handle; nobody ends that otherwise."""
        started_s = now_s()
        writer = await self._open(path)
        if writer is None:
            return
        try:
            async with asyncio.timeout(LIMIT_S):
                rival = await self.client.open_appender(path)
            await rival.abandon()
            self._history.one_writer.check_taken_over(path, now_s() - started_s)
        except DolmenError as error:
            self._history.tell(self.name, f"{path}: {type(error).__name__}: {error}", (path,))
        finally:
            await writer.abandon()

    # ------------------------------------------------------------ inside

    async def _open(self, path: str) -> AppendWriter | None:
        opening = self.client.open_appender(path)
        return await self._ask(Measure(path), opening, lambda writer: writer.flushed_bytes)

    async def _extend(self, writer: AppendWriter, growth: Growth) -> bool:
        """Write the pieces; return whether all were acknowledged."""
        for number, length in enumerate(growth.lengths, 1):
            if number > 1:
                await asyncio.sleep(self._random.uniform(0, growth.pause_s))
            piece, is_last = self._draw(length), number == len(growth.lengths)
            operation = Extend(growth.path, writer.flushed_bytes, piece)
            if not await self._do(operation, _write(writer, piece, is_last=is_last)):
                await writer.abandon()
                return False
            self._history.published(writer)
        return True

    def _draw(self, length_bytes: int) -> Content:
        return Content.of(self._history.versions.draw(length_bytes)[1])

    def _failed(
        self, operation: Operation, call: Call, error: DolmenError, started_s: float
    ) -> None:
        early = isinstance(operation, Look) and now_s() < started_s + READABLE_S
        if not isinstance(error, ANSWERS) or early:
            super()._failed(operation, call, error, started_s)
        elif isinstance(operation, Start):
            call.lost()  # it may have been made, and then taken by somebody else
        else:
            call.not_done()


def check_hash(info: FileInfo, data: bytes | bytearray) -> None:
    """Raise if a file has a hash, and it is not that of its bytes."""
    if info.content_hash and info.content_hash != xxhash.xxh3_128_digest(data):
        raise CheckFailed(
            f"{info.path}, inode {info.inode_id}: the hash is not that of its"
            f" {info.length_bytes} bytes",
            (info.path,),
        )


async def _write(writer: AppendWriter, piece: Content, *, is_last: bool) -> None:
    await writer.write(piece.data)
    if is_last:
        await writer.close()
    else:
        await writer.flush()


def _done(_: object) -> Answer:
    return DONE
