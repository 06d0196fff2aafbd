"""The port between processes of one host: small messages, and open files that go with them.

A process listens under a name, and whoever is on the same host finds it there without knowing an
address. Messages arrive whole and in order. A file that is passed is the one that was open: it can
be read by whoever received it, and by nothing else than its own life ends that, whatever becomes of
its name. Sending never waits: who does not take what he is sent loses the connection.

The real implementation is `unix_file_passing`, the simulated one
`dolmen.simulation.sim_file_passing`; one contract suite runs against both.
"""

from collections.abc import Sequence
from typing import Protocol

from dolmen.protocol.errors import PeerLost, StartRefused
from dolmen.runtime.disk import DiskFile

MESSAGE_LIMIT_BYTES = 16 * 1024
FILES_LIMIT = 2
"""Files that go with one message."""


class PassedFile(Protocol):
    """A file that another process opened. It is closed when nobody has it any more."""

    def read_at_once(self, offset: int, buffer: memoryview) -> int:
        """Read what is in memory, as one run from `offset` on; 0 if that would have to be waited
        for. May be called from any thread."""

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        """Read at `offset` into `buffer`; return the number of bytes: short only at the end.

        Once this is cancelled nothing is written into `buffer` any more.
        """


class Channel(Protocol):
    """One end of a connection between two processes of one host."""

    def send(self, payload: bytes, files: Sequence[DiskFile] = ()) -> None:
        """Send a message, and files of this process's disks with it, which may be closed then."""

    def close(self) -> None:
        """End the connection. Its receiver hears of nothing any more."""


class Receiver(Protocol):
    """Who uses one end of a connection. Called by the event loop, and never waits."""

    def received(self, payload: bytes, files: Sequence[PassedFile]) -> None:
        """A message has arrived."""

    def lost(self) -> None:
        """The connection is gone. Called once, last, and not after `Channel.close`."""


class FileService(Protocol):
    """What listens under a name."""

    def open_session(self, channel: Channel) -> Receiver:
        """Somebody has connected."""


class FileListener(Protocol):
    """A service that listens."""

    def close(self) -> None:
        """Stop at once, and end all its connections."""


class FilePassing(Protocol):
    """How a process meets the others of its host."""

    async def listen(self, name: str, service: FileService) -> FileListener:
        """Listen under a name. StartRefused: that is taken, or there is no such thing here."""

    async def connect(self, name: str, receiver: Receiver) -> Channel:
        """Return a connection to who listens under a name on this host; PeerLost if nobody does.

        Does not wait for a process that stands still.
        """


class Alone:
    """Passes nothing: for a machine that has no way to."""

    async def listen(self, name: str, service: FileService) -> FileListener:
        raise StartRefused("files cannot be passed between processes here")

    async def connect(self, name: str, receiver: Receiver) -> Channel:
        raise PeerLost(f"nobody listens as {name} on this host")


ALONE = Alone()
