"""The plan of a seed: which faults, when, for how long.

Faults come in rows, each a sequence with pauses between; the rows of different families run beside
each other. What keeps a datanode, its disk or its link from serving comes one at a time, because
with two replicas out of three gone at once nothing is promised but that nothing is forged: the
disasters that take several at once (a loss of power everywhere) have the cluster to themselves.
"""

from collections.abc import Iterator
from random import Random

import msgspec

from dolmen.simulation.fault_draws import Draws, Family, Row
from dolmen.simulation.faults import AnyFault
from dolmen.simulation.plan import Pace, Plan
from dolmen.simulation.work_plan import Work

__all__ = ["ALL_FAMILIES", "Family", "make_plan"]

PAUSES_MS = ((200, 20_000), (200, 20_000), (100, 4_000))
"""Between the return of one datanode and the death of the next; each plan has one of these."""

NAMENODE_PAUSE_MS = (25_000, 100_000)
"""Between two deaths of the namenode: safe mode is over, and clients have gone on."""

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

LONG_RUN_S = 7200
LONG_RUN_BURSTS_S = (150, 2250)
"""A long run works for 150 s in every 40 minutes: idle hours pass quickly, leases, tokens, scrubs
and checkpoints grow old in them, and what goes wrong hits those who work."""

BURST_BEGINS_S = 30.0
"""Within which the first fault of a row hits a burst."""


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
        burst_s, idle_s = LONG_RUN_BURSTS_S if seconds >= LONG_RUN_S else (0, 0)
        work = Work(may_fail=families != {Family.CRASH}, burst_s=burst_s, idle_s=idle_s)
        self._plan = Plan(seed, seconds, datanodes, racks=racks, pace=pace, work=work)
        self._families = families

    def make(self) -> Plan:
        draws = Draws(self._random, self._plan)
        drawn = [
            *self._row(draws.on_datanodes, self._random.choice(PAUSES_MS)),
            *self._row(draws.on_namenode, NAMENODE_PAUSE_MS),
            *self._row(draws.on_clients, NAMENODE_PAUSE_MS),
            *self._row(draws.anywhere, self._random.choice(PAUSES_MS)),
        ]
        ordered = sorted(drawn, key=lambda fault: (fault.at_ms, msgspec.json.encode(fault)))
        return msgspec.structs.replace(self._plan, faults=tuple(ordered))

    def _row(self, row: Row, pause_ms: tuple[int, int]) -> Iterator[AnyFault]:
        """One fault after the other; the next begins a pause after the last is over."""
        draws = [draw for family in Family if family in self._families for draw in row[family]]
        at_ms = self._at_work(self._random.randint(*pause_ms))
        while draws and at_ms < self._plan.seconds * 1000:
            fault = self._random.choice(draws)(at_ms)
            yield fault
            at_ms = self._at_work(fault.until_ms + self._random.randint(*pause_ms))

    def _at_work(self, at_ms: int) -> int:
        """Return a time at which clients work: then, or early in the next burst."""
        rest_s = self._plan.work.rest_s(at_ms / 1000)
        if not rest_s:
            return at_ms
        return at_ms + int(1000 * (rest_s + self._random.uniform(1, BURST_BEGINS_S)))
