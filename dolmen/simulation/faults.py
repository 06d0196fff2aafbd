"""What goes wrong in a run, as data: which process dies, how, when, and for how long.

A plan is drawn from a seed before the run, and the run does what it says: a plan that was found to
break something can be kept, cut down and run again, whatever the generator has become meanwhile.
"""

import enum
from collections.abc import Iterator
from random import Random

import msgspec

from dolmen.simulation.work_plan import Work

NAMENODE = "namenode"

SHORT_DOWN_MS = (1, 2_000)
"""A restart that others notice as a broken connection and nothing more."""

LONG_DOWN_MS = (2_000, 40_000)
"""STALE, and often DEAD: repair begins, and finds its work undone when the datanode returns."""

NAMENODE_DOWN_MS = (1, 8_000)
"""Together with safe mode, shorter than a client is patient: a pause and not an error."""

PAUSES_MS = ((200, 20_000), (200, 20_000), (100, 4_000))
"""Between the return of one datanode and the death of the next; each plan has one of these."""

NAMENODE_PAUSE_MS = (25_000, 100_000)
"""Between two deaths of the namenode: safe mode is over, and clients have gone on."""


class FaultKind(enum.Enum):
    """How a process dies."""

    KILL = "kill"
    """Its connections are reset; what it had written is there."""
    POWER_LOSS = "power loss"
    """With its machine: what was not synced is torn or gone."""


class Fault(msgspec.Struct, frozen=True):
    """A process dies, and starts again `down_ms` later."""

    at_ms: int
    kind: FaultKind
    process: str
    down_ms: int


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


PACES = (
    Pace(),
    Pace(reset_chance=3e-4),
    Pace(delay_max_ms=5, network_bytes_per_s=2e7, sync_ms=5, disk_bytes_per_s=5e7),
    Pace(
        delay_max_ms=30, network_bytes_per_s=2e6, operation_ms=1, sync_ms=40, disk_bytes_per_s=5e6
    ),
    Pace(operation_ms=2, sync_ms=100, disk_bytes_per_s=2e6),
    Pace(delay_max_ms=60, network_bytes_per_s=1e6, reset_chance=3e-4),
)


class Plan(msgspec.Struct, frozen=True):
    """All that a run depends on."""

    seed: int
    seconds: int = 1000
    datanodes: int = 5
    clients: int = 3
    racks: int = 1
    pace: Pace = Pace()
    faults: tuple[Fault, ...] = ()
    work: Work = Work()

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


def make_plan(
    seed: int, seconds: int = 1000, datanodes: int = 5, *, namenode_dies: bool = True
) -> Plan:
    """Return the plan of a seed: one datanode down at a time, and clients and namenode beside."""
    random = Random(f"plan {seed}")
    racks, pace = random.choice((1, 1, 2)), random.choice(PACES)
    plan = Plan(seed, seconds, datanodes, racks=racks, pace=pace)
    faults = list(_datanode_faults(random, plan))
    faults += _client_faults(random, plan)
    if namenode_dies:
        faults += _namenode_faults(random, plan)
    ordered = sorted(faults, key=lambda fault: (fault.at_ms, fault.process))
    return msgspec.structs.replace(plan, faults=tuple(ordered))


def _datanode_faults(random: Random, plan: Plan) -> Iterator[Fault]:
    pause_ms = random.choice(PAUSES_MS)
    at_ms = random.randint(*pause_ms)
    while at_ms < plan.seconds * 1000:
        process = datanode_name(random.randrange(plan.datanodes))
        down_ms = random.randint(*random.choice((SHORT_DOWN_MS, LONG_DOWN_MS)))
        yield Fault(at_ms, random.choice(list(FaultKind)), process, down_ms)
        at_ms += down_ms + random.randint(*pause_ms)


def _namenode_faults(random: Random, plan: Plan) -> Iterator[Fault]:
    at_ms = random.randint(*NAMENODE_PAUSE_MS)
    while at_ms < plan.seconds * 1000:
        down_ms = random.randint(*NAMENODE_DOWN_MS)
        yield Fault(at_ms, random.choice(list(FaultKind)), NAMENODE, down_ms)
        at_ms += down_ms + random.randint(*NAMENODE_PAUSE_MS)


def _client_faults(random: Random, plan: Plan) -> Iterator[Fault]:
    at_ms = random.randint(*NAMENODE_PAUSE_MS)
    while at_ms < plan.seconds * 1000:
        process = client_name(random.randrange(plan.clients))
        down_ms = random.randint(*SHORT_DOWN_MS)
        yield Fault(at_ms, FaultKind.KILL, process, down_ms)
        at_ms += down_ms + random.randint(*NAMENODE_PAUSE_MS)
