"""A plan: all that a run depends on, as one JSON document."""

import msgspec

from dolmen.simulation.faults import AnyFault
from dolmen.simulation.work_plan import Work

NAMENODE = "namenode"

VERSION = 1
"""Of plans; one of another version is refused, because it would mean something else."""


class Pace(msgspec.Struct, frozen=True):
    """How fast the network and the disks are, and how often a connection breaks by itself.

    The slower they are, the more is under way at any moment, for a death to interrupt.
    """

    delay_max_ms: float = 0.5
    network_bytes_per_s: float = 1e9
    reset_chance: float = 0.0
    """For each message."""
    operation_ms: float = 0.02
    sync_ms: float = 0.2
    disk_bytes_per_s: float = 1e9


class Plan(msgspec.Struct, frozen=True):
    """All that a run depends on."""

    seed: int
    seconds: int = 1000
    datanodes: int = 5
    clients: int = 3
    racks: int = 1
    volumes: int = 1
    """Of each datanode."""
    block_size_bytes: int = 256 * 1024
    """A file of several blocks is to cost little."""
    checkpoint_every: int = 500
    """Edits."""
    pace: Pace = Pace()
    faults: tuple[AnyFault, ...] = ()
    work: Work = Work()
    """What its clients do."""
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"this is a plan of version {self.version}, not {VERSION}")

    def encode(self) -> str:
        """Return the plan as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str | bytes) -> "Plan":
        """Return the plan that `encode` gave."""
        return msgspec.json.decode(text, type=cls)


def datanode_name(index: int) -> str:
    """Return the name of a datanode's process."""
    return f"datanode-{index}"


def client_name(index: int) -> str:
    """Return the name of a client's process."""
    return f"client-{index}"
