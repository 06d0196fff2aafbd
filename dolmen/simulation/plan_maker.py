"""The plan of a seed: which faults, when, for how long.

Faults come in rows, each a sequence with pauses between; the rows of different families run beside
each other. What keeps a datanode, its disk or its link from serving comes one at a time, because
with two replicas out of three gone at once nothing is promised but that nothing is forged: the
disasters that take several at once (a loss of power everywhere) have the cluster to themselves.
"""

import enum
from collections.abc import Callable, Iterator
from random import Random

import msgspec

from dolmen.simulation import faults
from dolmen.simulation.faults import AnyFault
from dolmen.simulation.plan import NAMENODE, Pace, Plan, client_name, datanode_name
from dolmen.simulation.sim_inode import Keeps
from dolmen.simulation.work_plan import Work

SHORT_MS = (1, 2_000)
"""A restart that others notice as a broken connection and nothing more."""

LONG_MS = (2_000, 40_000)
"""STALE, and often DEAD: repair begins, and finds its work undone when the datanode returns."""

NAMENODE_DOWN_MS = (1, 8_000)
"""Together with safe mode, shorter than a client is patient: a pause and not an error."""

PAUSES_MS = ((200, 20_000), (200, 20_000), (100, 4_000))
"""Between the return of one datanode and the death of the next; each plan has one of these."""

NAMENODE_PAUSE_MS = (25_000, 100_000)
"""Between two deaths of the namenode: safe mode is over, and clients have gone on."""

TURNS_MAX = 200
"""A death at once is one between requests; so many turns later it is in the middle of something."""


class Family(enum.Enum):
    """The kinds of faults that a run may be asked for."""

    CRASH = "crash"
    PAUSE = "pause"
    NETWORK = "network"
    DISK = "disk"
    CLOCK = "clock"


ALL_FAMILIES = frozenset(Family)

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

Draw = Callable[[int], AnyFault]
"""Makes a fault that begins at a time."""


def make_plan(
    seed: int, seconds: int = 1000, datanodes: int = 5, families: frozenset[Family] = ALL_FAMILIES
) -> Plan:
    """Return the plan of a seed."""
    return _Maker(seed, seconds, datanodes, families).make()


class _Maker:
    def __init__(
        self, seed: int, seconds: int, datanodes: int, families: frozenset[Family]
    ) -> None:
        random = self._random = Random(f"plan {seed}")
        racks, pace = random.choice((1, 1, 2)), random.choice(PACES)
        work = Work(may_fail=families != {Family.CRASH})
        self._plan = Plan(seed, seconds, datanodes, racks=racks, pace=pace, work=work)
        self._families = families

    def make(self) -> Plan:
        drawn = [
            *self._row(self._on_datanodes(), self._random.choice(PAUSES_MS)),
            *self._row(self._on_namenode(), NAMENODE_PAUSE_MS),
            *self._row(self._on_clients(), NAMENODE_PAUSE_MS),
            *self._row(self._harmless(), NAMENODE_PAUSE_MS),
        ]
        ordered = sorted(drawn, key=lambda fault: (fault.at_ms, msgspec.json.encode(fault)))
        return msgspec.structs.replace(self._plan, faults=tuple(ordered))

    def _row(self, draws: list[Draw], pause_ms: tuple[int, int]) -> Iterator[AnyFault]:
        """One fault after the other; the next begins a pause after the last is over."""
        at_ms = self._random.randint(*pause_ms)
        while draws and at_ms < self._plan.seconds * 1000:
            fault = self._random.choice(draws)(at_ms)
            yield fault
            at_ms = fault.until_ms + self._random.randint(*pause_ms)

    # ------------------------------------------------------------ rows

    def _on_datanodes(self) -> list[Draw]:
        """What keeps a datanode from serving, or a part of it."""
        draws: list[Draw] = []
        if Family.CRASH in self._families:
            draws += [self._kill, self._power_loss]
        if Family.PAUSE in self._families:
            draws += [self._pause]
        return draws

    def _on_namenode(self) -> list[Draw]:
        draws: list[Draw] = []
        if Family.CRASH in self._families:
            draws += [self._kill_namenode, self._power_loss_of_namenode]
        if Family.PAUSE in self._families:
            draws += [self._pause_namenode]
        return draws

    def _on_clients(self) -> list[Draw]:
        draws: list[Draw] = []
        if Family.CRASH in self._families:
            draws += [self._kill_client]
        if Family.PAUSE in self._families:
            draws += [self._pause_client]
        return draws

    def _harmless(self) -> list[Draw]:
        """What nobody may notice but by the time that things take."""
        return []

    # ------------------------------------------------------------ processes

    def _kill(self, at_ms: int) -> AnyFault:
        down_ms, turn = self._down_ms(), self._turn()
        return faults.Kill(at_ms=at_ms, process=self._datanode(), down_ms=down_ms, turn=turn)

    def _power_loss(self, at_ms: int) -> AnyFault:
        return faults.PowerLoss(
            at_ms=at_ms,
            process=self._datanode(),
            down_ms=self._down_ms(),
            keeps=self._keeps(),
            turn=self._turn(),
        )

    def _pause(self, at_ms: int) -> AnyFault:
        return faults.Pause(at_ms=at_ms, process=self._datanode(), for_ms=self._down_ms())

    def _kill_namenode(self, at_ms: int) -> AnyFault:
        down_ms, turn = self._random.randint(*NAMENODE_DOWN_MS), self._turn()
        return faults.Kill(at_ms=at_ms, process=NAMENODE, down_ms=down_ms, turn=turn)

    def _power_loss_of_namenode(self, at_ms: int) -> AnyFault:
        return faults.PowerLoss(
            at_ms=at_ms,
            process=NAMENODE,
            down_ms=self._random.randint(*NAMENODE_DOWN_MS),
            keeps=self._keeps(),
            turn=self._turn(),
        )

    def _pause_namenode(self, at_ms: int) -> AnyFault:
        for_ms = self._random.randint(*NAMENODE_DOWN_MS)
        return faults.Pause(at_ms=at_ms, process=NAMENODE, for_ms=for_ms)

    def _kill_client(self, at_ms: int) -> AnyFault:
        down_ms = self._random.randint(*SHORT_MS)
        return faults.Kill(at_ms=at_ms, process=self._client(), down_ms=down_ms, turn=self._turn())

    def _pause_client(self, at_ms: int) -> AnyFault:
        return faults.Pause(at_ms=at_ms, process=self._client(), for_ms=self._down_ms())

    # ------------------------------------------------------------ details

    def _datanode(self) -> str:
        return datanode_name(self._random.randrange(self._plan.datanodes))

    def _client(self) -> str:
        return client_name(self._random.randrange(self._plan.clients))

    def _down_ms(self) -> int:
        return self._random.randint(*self._random.choice((SHORT_MS, LONG_MS)))

    def _turn(self) -> int:
        return self._random.choice((0, self._random.randint(0, TURNS_MAX)))

    def _keeps(self) -> Keeps:
        return self._random.choice((Keeps.SOME, Keeps.SOME, Keeps.NOTHING, Keeps.EVERYTHING))
