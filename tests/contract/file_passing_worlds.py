"""The worlds in which the FilePassing port's contract is tested."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, Protocol

from dolmen.protocol.errors import PeerLost
from dolmen.runtime.disk import Disk
from dolmen.runtime.file_passing import Channel, FilePassing, PassedFile, Receiver
from dolmen.runtime.thread_disk import ThreadDisk
from dolmen.runtime.unix_file_passing import UnixFilePassing
from dolmen.simulation import virtual_time
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_file_passing import SimFilePassing
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_storage import SimStorage

WITHIN_S = 30.0
"""Longer than anything here takes on a busy machine; it ends what hangs."""


class World(Protocol):
    """A host with a process that has a disk, and another process."""

    name: str
    """Under which nobody listens yet."""
    root: str
    """A directory of the disk."""

    @property
    def disk(self) -> Disk: ...

    @property
    def owner(self) -> FilePassing: ...

    @property
    def other(self) -> FilePassing: ...

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a scenario on this world's event loop."""


class RealWorld:
    """Unix sockets of this machine."""

    def __init__(self) -> None:
        self.name = f"contract-{Random().getrandbits(64):x}"
        self.owner = UnixFilePassing()
        self.other = UnixFilePassing()
        self.disk = ThreadDisk()
        self._directory = tempfile.TemporaryDirectory()
        self.root = self._directory.name

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with self._directory:
            try:
                asyncio.run(scenario())
            finally:
                self.disk.close()


class SimWorld:
    """Two processes of one host in virtual time."""

    name = "contract"
    root = "/data"

    def __init__(self) -> None:
        network, storage = SimNetwork(Random(1)), SimStorage()
        storage.make_directory(self.root)
        self.disk = SimDisk(storage, "owner")
        self.owner = SimFilePassing(network, "owner", "owner", Random(2))
        self.other = SimFilePassing(network, "owner", "other", Random(3))

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        virtual_time.run(scenario())


class Mailbox:
    """A receiver that keeps what arrives, and lets one wait for it."""

    def __init__(self, channel: Channel | None = None) -> None:
        self.channel = channel
        self.lost_times = 0
        self._messages: asyncio.Queue[tuple[bytes, Sequence[PassedFile]]] = asyncio.Queue()
        self._gone = asyncio.Event()

    def received(self, payload: bytes, files: Sequence[PassedFile]) -> None:
        self._messages.put_nowait((payload, files))

    def lost(self) -> None:
        self.lost_times += 1
        self._gone.set()

    async def next(self) -> tuple[bytes, Sequence[PassedFile]]:
        async with asyncio.timeout(WITHIN_S):
            return await self._messages.get()

    async def gone(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            await self._gone.wait()


class Front:
    """A service that keeps the connections that come."""

    def __init__(self) -> None:
        self._opened: asyncio.Queue[Mailbox] = asyncio.Queue()

    def open_session(self, channel: Channel) -> Receiver:
        mailbox = Mailbox(channel)
        self._opened.put_nowait(mailbox)
        return mailbox

    async def next(self) -> Mailbox:
        async with asyncio.timeout(WITHIN_S):
            return await self._opened.get()


async def read(file: PassedFile, offset: int, length: int) -> bytes:
    """Return what a reader gets that wants all of a range."""
    buffer = memoryview(bytearray(length))
    count = file.read_at_once(offset, buffer)
    if count < length:
        count += await file.read_into(offset + count, buffer[count:])
    return bytes(buffer[:count])


async def is_refused(passing: FilePassing, name: str) -> bool:
    """Whether nobody lets us in under a name."""
    try:
        (await passing.connect(name, Mailbox())).close()
    except PeerLost:
        return True
    return False
