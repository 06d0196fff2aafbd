"""A plan: all that a run depends on, as one JSON document.

What is decoded is checked: a plan may have been written by hand, or by another software.
"""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.client_messages import CONTENT_LIMIT_BYTES
from dolmen.simulation.faults import AnyFault
from dolmen.simulation.work_plan import KINDS, Work

NAMENODE = "namenode"

VERSION = 1
"""Of plans; one of another version is refused, because it would mean something else."""


SECONDS_MAX = 1000 * 3600
DATANODES_MAX = 100
CLIENTS_MAX = 100
RACKS_MAX = 100
VOLUMES_MAX = 16
"""Of a plan that is decoded: what one process can simulate."""

Duration = Annotated[float, msgspec.Meta(ge=0, le=60_000)]
Rate = Annotated[float, msgspec.Meta(ge=1)]
BlockSize = Annotated[int, msgspec.Meta(ge=CHUNK_BYTES, le=1 << 26, multiple_of=CHUNK_BYTES)]
Chance = Annotated[float, msgspec.Meta(ge=0, le=1)]


def _count(most: int) -> msgspec.Meta:
    return msgspec.Meta(ge=1, le=most)


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast the network and the disks are, and how often a connection breaks by itself.

    The slower they are, the more is under way at any moment, for a death to interrupt.
    """

    delay_max_ms: Duration = 0.5
    network_bytes_per_s: Rate = 1e9
    reset_chance: Chance = 0.0
    """For each message."""
    operation_ms: Duration = 0.02
    sync_ms: Duration = 0.2
    disk_bytes_per_s: Rate = 1e9


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a run depends on."""

    seed: int
    seconds: Annotated[int, _count(SECONDS_MAX)] = 1000
    datanodes: Annotated[int, _count(DATANODES_MAX)] = 5
    clients: Annotated[int, _count(CLIENTS_MAX)] = 3
    racks: Annotated[int, _count(RACKS_MAX)] = 1
    volumes: Annotated[int, _count(VOLUMES_MAX)] = 1
    """Of each datanode."""
    block_size_bytes: BlockSize = 256 * 1024
    """A file of several blocks is to cost little."""
    inline_limit_bytes: Annotated[int, msgspec.Meta(ge=0, le=CONTENT_LIMIT_BYTES)] = 0
    """Of the files that the namenode keeps; 0: none."""
    checkpoint_every: Annotated[int, msgspec.Meta(ge=1)] = 500
    """Edits."""
    local_clients: bool = False
    """Whether each client is on the host of a datanode, and reads what that has from its files."""
    one_host: bool = False
    """Whether each client is on the host of all datanodes, and so sends to each by itself."""
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
        """Return the plan that `encode` gave; ValueError says why something else is none."""
        plan = msgspec.json.decode(text, type=cls)
        for problem in _problems(plan):
            raise ValueError(problem)
        return plan


def _problems(plan: Plan) -> Iterator[str]:
    """Yield what each value allows, and all together do not."""
    known = {NAMENODE, *map(datanode_name, range(plan.datanodes))}
    known |= set(map(client_name, range(plan.clients)))
    for fault in plan.faults:
        kind = fault.__struct_config__.tag
        yield from (f"{kind}: there is no {name}" for name in fault.places if name not in known)
        if getattr(fault, "volume", 0) >= plan.volumes:
            yield f"{kind}: each datanode has {plan.volumes} volumes, counted from 0"
    yield from (f"there is no work {kind!r}" for kind in plan.work.kinds if kind not in KINDS)


def datanode_name(index: int) -> str:
    """Return the name of a datanode's process."""
    return f"datanode-{index}"


def client_name(index: int) -> str:
    """Return the name of a client's process."""
    return f"client-{index}"
