"""A client whose every operation goes into the history, with its beginning and its answer.

What an answer may be is the checkers' to say; here is only what is known when there is none. An
operation whose process dies, or whose answer is lost, may have happened; one that fails because
datanodes or the namenode are missing may do so only if the plan has such faults.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from dolmen.client.client import Client
from dolmen.client.reader import Reader
from dolmen.client.writer import Writer
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import (
    DirectoryNotEmpty,
    DolmenError,
    InvalidRequest,
    IsADirectory,
    NoSuchPath,
    NotADirectory,
    PathExists,
    StaleHandle,
    Unreachable,
)
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.history import History, Replicating, now_s
from dolmen.simulation.hurried_reads import HurriedReads, Hurry
from dolmen.simulation.namespace_history import Call
from dolmen.simulation.namespace_model import (
    DIRECTORY,
    DONE,
    Answer,
    ListTree,
    Look,
    Move,
    Node,
    Open,
    Operation,
    Publish,
    Remove,
    Replicate,
)

T = TypeVar("T")

LIMIT_S = 1_000.0
"""Longer than anything may take: each phase of an operation waits `retry_for` at most, and for each
block of a file there may be several."""

READABLE_S = 19.0
"""A file that is open can be read for so long after it was deleted, and at most for a day: the
`delete_after` of the simulated cluster."""

EXPLAINED = (
    DirectoryNotEmpty,
    InvalidRequest,
    IsADirectory,
    NoSuchPath,
    NotADirectory,
    PathExists,
)
"""Refusals that the model of the namespace knows."""


@dataclass(frozen=True)
class Draft:
    """A file to be written: at once, or in steps with pauses in which processes may die."""

    path: str
    length_bytes: int
    replication: int
    exclusive: bool = False
    step_bytes: int = 0
    pause_s: float = 1.0


@dataclass(frozen=True)
class Manner:
    """How a file is read: whole, or in random ranges of at most `range_bytes` with pauses."""

    range_bytes: int = 0
    pause_s: float = 1.0


class RecordedClient:
    """What one task does with a client."""

    def __init__(self, name: str, client: Client, history: History, random: Random) -> None:
        self.name = name
        self.client = client
        self._history = history
        self._random = random

    # ------------------------------------------------------------ the namespace

    async def delete(self, path: str) -> bool:
        """Delete a file or tree; return whether that was acknowledged as done."""
        removing = self._history.one_writer.removing(path, now_s())
        done = await self._do(Remove(path), self.client.delete(path, recursive=True))
        if done:
            removing[1] = now_s()
        return done

    async def rename(self, source: str, target: str) -> bool:
        """Rename; return whether that was acknowledged as done."""
        spans = [self._history.one_writer.removing(path, now_s()) for path in (source, target)]
        done = await self._do(Move(source, target), self.client.rename(source, target))
        for span in spans if done else ():
            span[1] = now_s()
        return done

    async def replicate(self, path: str, replication: int) -> bool:
        """Set a file's wanted replication; return whether that was acknowledged as done."""
        asked = Replicating(path, replication)
        self._history.replicating.append(asked)
        changing = self.client.set_attributes(path, replication=replication)
        done = await self._do(Replicate(path, replication), changing)
        if done:
            asked.ended_s = now_s()
        return done

    async def list_tree(self, path: str) -> list[FileInfo]:
        """Return everything below a directory; nothing if it is not there."""

        async def walk() -> list[FileInfo]:
            return [entry async for entry in self.client.walk_tree(path)]

        return await self._ask(ListTree(path), walk(), self._listed) or []

    # ------------------------------------------------------------ files

    async def write(self, draft: Draft) -> bool:
        """Write a file; return whether it was acknowledged."""
        started_s = now_s()
        version, contents = self._history.versions.draw(draft.length_bytes)
        opening = self.client.open_writer(
            draft.path, replication=draft.replication, exclusive=draft.exclusive
        )
        writer = await self._ask(Open(draft.path, draft.exclusive), opening, _done)
        if writer is None:
            return False
        operation = Publish(draft.path, version.number, draft.replication, draft.exclusive)
        try:
            async with asyncio.timeout(LIMIT_S), writer:
                await self._fill(writer, contents, draft)
                await self._close(writer, operation)
        except TimeoutError:
            raise self._hangs(operation) from None
        except EXPLAINED:
            return False  # of the publication, which has noted it
        except DolmenError as error:
            self._tell(operation, f"{type(error).__name__}: {error}")
            self._history.forgive("Publish", draft.path, error, started_s)
            return False
        return True

    async def _fill(self, writer: Writer, contents: bytes, draft: Draft) -> None:
        step_bytes = draft.step_bytes or len(contents) or 1
        for start in range(0, len(contents), step_bytes):
            if start:
                await asyncio.sleep(self._random.expovariate(1 / draft.pause_s))
            await writer.write(contents[start : start + step_bytes])

    async def _close(self, writer: Writer, operation: Publish) -> None:
        began_s = now_s()
        call = self._history.namespace.begin(operation)
        try:
            info = await writer.close()
        except EXPLAINED as refusal:
            self._tell(operation, type(refusal).__name__)
            call.answered(type(refusal).__name__)
            raise
        except Unreachable:
            call.lost()
            raise
        except DolmenError:
            call.not_done()  # so `close` says
            raise
        except BaseException:
            call.lost()
            raise
        self._tell(operation, f"done, inode {info.inode_id}")
        self._history.published(info)
        self._history.one_writer.published(info.inode_id, operation.path, self.name)
        if operation.exclusive:
            self._history.one_writer.created(operation.path, self.name, began_s, now_s())
        call.answered(DONE)
        self._history.acknowledged["Publish"] += 1

    async def read(self, path: str, manner: Manner | Hurry | None = None) -> Node | None:
        """Read a file; return what it was, None if nothing could be read."""
        opened = await self._ask(Look(path), self.client.open_reader(path), self._seen)
        if opened is None:
            return None
        started_s = now_s()
        try:
            async with asyncio.timeout(None if manner else LIMIT_S), opened:
                await self._read_all(opened, manner)
        except TimeoutError:
            raise self._hangs(Look(path)) from None
        except DolmenError as error:
            self._tell(Look(path), f"{type(error).__name__}: {error}")
            if not (isinstance(error, StaleHandle) and now_s() > started_s + READABLE_S):
                self._history.forgive("Read", path, error, started_s)
            return None
        self._history.acknowledged["Read"] += 1
        return self._seen(opened)

    async def _read_all(self, reader: Reader, manner: Manner | Hurry | None) -> None:
        true_reads = self._history.true_reads
        if manner is None:
            data = await reader.read_at(0, reader.length_bytes)
            true_reads.check(reader.info, 0, data)
            return
        if isinstance(manner, Hurry):
            await HurriedReads(reader, manner, self._random, true_reads).run()
            return
        for _ in range(-(-reader.length_bytes // manner.range_bytes)):
            offset = self._random.randrange(reader.length_bytes)
            length = min(manner.range_bytes, reader.length_bytes - offset)
            found = reader.read_at_hand(offset, length)
            if found is None:
                found = bytes(await reader.read_at(offset, length))
            true_reads.check_length(reader.info, offset, length, len(found))
            true_reads.check(reader.info, offset, found)
            await asyncio.sleep(self._random.expovariate(1 / manner.pause_s))

    # ------------------------------------------------------------ inside

    async def _do(self, operation: Operation, doing: Awaitable[object]) -> bool:
        """Do one thing that is answered when it is done."""

        async def do() -> bool:
            await doing
            return True

        return await self._ask(operation, do(), _done) is not None

    async def _ask(
        self, operation: Operation, doing: Awaitable[T], answer_of: Callable[[T], Answer]
    ) -> T | None:
        """Do one thing and note its answer; None if it was refused, or failed as it may."""
        started_s = now_s()
        call = self._history.namespace.begin(operation)
        try:
            async with asyncio.timeout(LIMIT_S):
                value = await doing
            self._tell(operation, "done")
            call.answered(answer_of(value))
        except EXPLAINED as refusal:
            self._tell(operation, type(refusal).__name__)
            call.answered(type(refusal).__name__)
            value = None
        except TimeoutError:
            raise self._hangs(operation) from None
        except DolmenError as error:
            self._tell(operation, f"{type(error).__name__}: {error}")
            self._failed(operation, call, error, started_s)
            return None
        except BaseException:
            call.lost()
            raise
        self._history.acknowledged[type(operation).__name__] += 1
        return value

    def _failed(
        self, operation: Operation, call: Call, error: DolmenError, started_s: float
    ) -> None:
        """It failed for a reason that the model does not know: raise unless it may."""
        call.lost()
        self._history.forgive(type(operation).__name__, operation.paths[0], error, started_s)

    def _tell(self, operation: Operation, event: str) -> None:
        self._history.tell(self.name, f"{operation}: {event}", operation.paths)

    def _hangs(self, operation: Operation) -> CheckFailed:
        return CheckFailed(f"{operation} hangs for more than {LIMIT_S:.0f} s", operation.paths)

    def _seen(self, reader: Reader) -> Node:
        return Node(self._history.true_reads.version_of(reader.info), reader.info.replication)

    def _listed(self, entries: list[FileInfo]) -> Answer:
        version_of = self._history.true_reads.version_of
        return frozenset(
            (one.path, DIRECTORY if one.kind is EntryKind.DIRECTORY else version_of(one))
            for one in entries
        )


def _done(_: object) -> Answer:
    return DONE
