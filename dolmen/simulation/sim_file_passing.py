"""Files passed between simulated processes of one host: connections of the simulated network, and
the inodes themselves.

Whoever has an inode reads what is there now, also when its name is gone, its bytes rotted or the
process that passed it died. A machine without power answers no read. How much of a file is in
memory is drawn: the rest is read as from a disk, which may hang or fail.
"""

import asyncio
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from dolmen.protocol.errors import PeerLost, StartRefused
from dolmen.runtime.disk import DiskFile
from dolmen.runtime.file_passing import (
    Channel,
    FileListener,
    FileService,
    Receiver,
)
from dolmen.simulation.sim_disk import SimFile
from dolmen.simulation.sim_inode import SimInode
from dolmen.simulation.sim_network import End, SimNetwork
from dolmen.simulation.sim_operations import DiskTimes, SimThreads, Steps

IN_MEMORY_CHANCE = 0.7


@dataclass(frozen=True)
class Passed:
    """A message, and the inodes of the files that go with it."""

    payload: bytes
    inodes: tuple[SimInode, ...]


class SimFilePassing:
    """Passes files between the processes of `host`, of which `process` is one, and of `others`,
    machines that are to look like the same host."""

    def __init__(
        self,
        network: SimNetwork,
        host: str,
        process: str,
        random: Random,
        others: Sequence[str] = (),
    ) -> None:
        self.network = network
        self.host = host
        self._others = others
        self.random = random
        self.threads = SimThreads(_nobody_asks)
        self._process = process

    async def listen(self, name: str, service: FileService) -> FileListener:
        address = f"{self.host}:{name}"
        if address in self.network.listeners:
            raise StartRefused(f"{address} is taken")
        return SimFileListener(self, address, service)

    async def connect(self, name: str, receiver: Receiver) -> Channel:
        for host in (self.host, *self._others):
            address = f"{host}:{name}"
            listens = address in self.network.listeners
            end = await self.network.connect(self._process, address) if listens else None
            if end is not None:
                channel = SimChannel(self, host, end)
                channel.begin(receiver)
                return channel
        raise PeerLost(f"nobody listens as {name} on {self.host}")


class SimFileListener:
    """A name under which a service listens, and the connections that came there."""

    def __init__(self, passing: SimFilePassing, address: str, service: FileService) -> None:
        self._passing = passing
        self._address = address
        self._service = service
        self._channels: list[SimChannel] = []
        passing.network.listeners[address] = self._accept

    def close(self) -> None:
        self._passing.network.listeners.pop(self._address, None)
        for channel in self._channels:
            channel.close()

    def _accept(self, end: End) -> None:
        channel = SimChannel(self._passing, self._passing.host, end)
        self._channels = [*(one for one in self._channels if one.is_open), channel]
        channel.begin(self._service.open_session(channel))


class SimChannel:
    """One end of a connection with a process on the machine `host`."""

    def __init__(self, passing: SimFilePassing, host: str, end: End) -> None:
        self._passing = passing
        self._host = host
        self._end = end
        self._receiver: Receiver | None = None

    @property
    def is_open(self) -> bool:
        """Whether the connection stands."""
        return self._end.open

    def begin(self, receiver: Receiver) -> None:
        """Take messages from now on."""
        self._receiver = receiver
        self._end.on_message = self._receive
        self._end.on_lost = receiver.lost
        if not self._end.open:
            asyncio.get_running_loop().call_soon(receiver.lost)

    def send(self, payload: bytes, files: Sequence[DiskFile] = ()) -> None:
        inodes = tuple(file.inode for file in files if isinstance(file, SimFile))
        self._end.send(Passed(payload, inodes), len(payload))

    def close(self) -> None:
        self._receiver = None
        self._end.close()

    def _receive(self, message: object) -> None:
        assert isinstance(message, Passed)
        if self._receiver is not None:
            files = [SimPassedFile(self._passing, self._host, inode) for inode in message.inodes]
            self._receiver.received(message.payload, files)


class SimPassedFile:
    """An inode in the hands of a process that did not open it."""

    def __init__(self, passing: SimFilePassing, host: str, inode: SimInode) -> None:
        self._passing = passing
        self._host = host
        self._inode = inode

    def read_at_once(self, offset: int, buffer: memoryview) -> int:
        if self._inode.device.hangs or self._passing.random.random() > IN_MEMORY_CHANCE:
            return 0
        return self._copy(offset, buffer)

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        memory = memoryview(bytearray(len(buffer)))
        count = await self._passing.threads.run(self._inode.device, self._read(offset, memory))
        buffer[:count] = memory[:count]
        return count

    def _read(self, offset: int, buffer: memoryview) -> Steps[int]:
        yield DiskTimes().transfer_s(len(buffer))
        return self._copy(offset, buffer)

    def _copy(self, offset: int, buffer: memoryview) -> int:
        if not self._passing.network.has_power(self._host):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        data = self._inode.readable_data(offset, offset + len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _nobody_asks(error: Exception | None) -> None:
    """What the disk says is told to whoever reads."""
