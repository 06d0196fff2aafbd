"""Passing replicas, as open files, to readers on the same host: they read them without us.

What is passed is a FINALIZED replica, to who shows a READ token for it; that it still is one is
looked at again when its files are open, and from then on, in the same turn, whatever ends that is
told to whoever has it. It cannot be taken back: a reader that does not listen reads bytes that it
verifies, and no longer than its token lives, if it is one of ours. Who does not take what he is
told loses the connection, and with it all that he was passed.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from datanode.access import TokenCheck
from datanode.block_store import BlockStore
from datanode.core.checksum_file import HEAD_BYTES, find_checksums
from datanode.core.layout import Place
from datanode.core.replicas import Replica, no_such_replica
from dolmen.protocol.datanode_messages import ReplicaState
from dolmen.protocol.errors import DataDamaged, DolmenError, Overloaded, StartRefused, to_refusal
from dolmen.protocol.passing_messages import (
    OpenReplica,
    ReplicaPassed,
    ReplicaRefused,
    ReplicaRevoked,
    decode_open,
    encode_message,
    name_of,
)
from dolmen.runtime.disk import DiskFile
from dolmen.runtime.file_passing import Channel, FileListener, FilePassing, PassedFile, Receiver

PASSED_MAX = 4096
"""Replicas that one reader may have; what it was passed first is then revoked. Ours keep 256."""

REQUESTS_MAX = 32
"""Of one reader at a time; each holds two files open."""

LOG = logging.getLogger("datanode")


@dataclass
class PassingFigures:
    """What was passed to readers on this host; they only grow."""

    passed: int = 0
    refused: int = 0
    revoked: int = 0


class ShortCircuit:
    """The readers on this host, and what they were passed."""

    def __init__(
        self, store: BlockStore, tokens: TokenCheck, wall_clock_ms: Callable[[], int]
    ) -> None:
        self.figures = PassingFigures()
        self._store = store
        self._tokens = tokens
        self._wall_clock_ms = wall_clock_ms
        self._readers: dict[_LocalReader, None] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._listener: FileListener | None = None
        store.withdrawn = self._revoke

    @property
    def readers(self) -> int:
        """How many have a connection."""
        return len(self._readers)

    async def listen(self, passing: FilePassing, datanode_id: str) -> None:
        """Let readers in; without that they read over the network."""
        try:
            self._listener = await passing.listen(name_of(datanode_id), self)
        except StartRefused as error:
            LOG.warning("readers on this host read over the network: %s", error)

    def close(self) -> None:
        """End all connections."""
        if self._listener is not None:
            self._listener.close()
        for reader in list(self._readers):
            reader.lost()

    async def finish(self) -> None:
        """Wait until no file is open for a reader any more, after `close`."""
        if self._answering:
            await asyncio.wait(self._answering)

    def open_session(self, channel: Channel) -> Receiver:
        """A reader has connected."""
        reader = _LocalReader(self, channel)
        self._readers[reader] = None
        return reader

    def forget(self, reader: "_LocalReader") -> None:
        """A reader is gone."""
        self._readers.pop(reader, None)

    def begin(self, request: OpenReplica, reader: "_LocalReader") -> "asyncio.Task[None]":
        """Begin to answer a reader."""
        answering = asyncio.create_task(self._answer(request, reader))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)
        return answering

    async def _answer(self, request: OpenReplica, reader: "_LocalReader") -> None:
        """Pass what a reader asks for, or say why not."""
        try:
            await self._pass(request, reader)
        except (DolmenError, OSError) as error:
            told = error if isinstance(error, DolmenError) else DataDamaged(str(error))
            self.figures.refused += 1
            reader.tell(ReplicaRefused(request.number, to_refusal(told)))

    async def _pass(self, request: OpenReplica, reader: "_LocalReader") -> None:
        block = (request.block_id, request.stamp)
        token = self._tokens.open_proof(request.proof, block)
        replica = self._store.find(*block)
        volume = self._store.volume_of(replica)
        data = await volume.disk.open(
            volume.data_path(Place.FINALIZED, request.block_id), writable=False
        )
        try:
            checksums = await volume.disk.open(
                volume.checksums_path(Place.FINALIZED, *block), writable=False
            )
            try:
                offset = await _find_checksums(checksums)
                self._check(replica, request.stamp)
                life_ms = token.expires_ms - self._wall_clock_ms()
                passed = ReplicaPassed(request.number, replica.length_bytes, offset, life_ms)
                reader.give(passed, (data, checksums), block)
                self.figures.passed += 1
            finally:
                await checksums.close()
        finally:
            await data.close()

    def _check(self, replica: Replica, stamp: int) -> None:
        """Raise unless the replica is here, and whole, as its reader believes."""
        if self._store.get(replica.block_id) is not replica:
            raise no_such_replica(replica.block_id)
        replica.check_stamp(stamp)
        if replica.state is not ReplicaState.FINALIZED:
            raise no_such_replica(replica.block_id)

    def _revoke(self, replica: Replica) -> None:
        for reader in list(self._readers):
            if reader.revoke(replica.block_id):
                self.figures.revoked += 1


class _LocalReader:
    """One connection of a reader, and the stamps of the blocks that it was passed."""

    def __init__(self, short_circuit: ShortCircuit, channel: Channel) -> None:
        self._short_circuit = short_circuit
        self._channel = channel
        self._passed: dict[int, int] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def received(self, payload: bytes, files: Sequence[PassedFile]) -> None:
        """See Receiver."""
        try:
            request = decode_open(payload)
            if len(self._answering) >= REQUESTS_MAX:
                raise Overloaded(f"{REQUESTS_MAX} replicas are being opened for this reader")
        except Overloaded as error:
            self.tell(ReplicaRefused(request.number, to_refusal(error)))
        except DolmenError as error:
            LOG.info("a reader on this host is let go: %s", error)
            self._channel.close()
            self.lost()
        else:
            answering = self._short_circuit.begin(request, self)
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)

    def lost(self) -> None:
        """See Receiver."""
        self._short_circuit.forget(self)
        for answering in self._answering:
            answering.cancel()

    def tell(self, message: ReplicaRefused | ReplicaRevoked) -> None:
        """Send a message without files."""
        self._channel.send(encode_message(message))

    def give(
        self, passed: ReplicaPassed, files: Sequence[DiskFile], block: tuple[int, int]
    ) -> None:
        """Pass a replica, which is remembered until it is revoked."""
        block_id, stamp = block
        self._passed.pop(block_id, None)
        if len(self._passed) >= PASSED_MAX:
            self.revoke(next(iter(self._passed)))
        self._passed[block_id] = stamp
        self._channel.send(encode_message(passed), files)

    def revoke(self, block_id: int) -> bool:
        """Tell the reader to give a replica up, if it was passed it; return whether it was."""
        stamp = self._passed.pop(block_id, None)
        if stamp is None:
            return False
        self.tell(ReplicaRevoked(block_id, stamp))
        return True


async def _find_checksums(file: DiskFile) -> int:
    """Return where the list of checksums begins in the checksum file of a finalized replica."""
    head = memoryview(bytearray(HEAD_BYTES))
    count = await file.read_into(0, head)
    return find_checksums(bytes(head[:count]))
