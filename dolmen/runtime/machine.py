"""What a process gets from its machine: network, disks, tables, clock and chance.

Everything a daemon or a client does to the world goes through one `Machine`, so that the same code
runs on a real machine and on a simulated one. Waiting goes through asyncio (`asyncio.sleep`,
`loop.time()`), which the simulation's event loop provides in virtual time.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeVar

from dolmen.protocol.errors import PeerLost
from dolmen.runtime.disk import Disk
from dolmen.runtime.file_passing import ALONE, FilePassing
from dolmen.runtime.key_value import KeyValueStore
from dolmen.runtime.transport import BlockingConnection, Transport

T = TypeVar("T")


class Background(Protocol):
    """Runs synchronous work beside the event loop (a thread; at once in the simulation)."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]: ...


def nobody_waits(address: str, timeout_s: float) -> BlockingConnection:
    """Open no connection: where time is virtual no thread may wait."""
    raise PeerLost(f"no thread may wait for {address}")


@dataclass(frozen=True)
class Machine:
    """The ports of one process."""

    transport: Transport
    open_disk: Callable[[], Disk]
    """A new Disk with threads of its own; one for each volume."""
    tables: KeyValueStore
    wall_clock_ms: Callable[[], int]
    random: Random
    background: Background
    boot_id: str
    """Changes when the machine restarts: what was not synced before is gone."""
    host_name: str
    file_passing: FilePassing = ALONE
    """How it meets other processes of its host."""
    connect_blocking: Callable[[str, float], BlockingConnection] = nobody_waits
    """Opens a control connection for a thread that waits."""
