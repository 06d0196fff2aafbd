"""The plan of a seed: what cluster, what its clients do, and which faults, when, for how long.

Faults come in rows, each a sequence with pauses between; the rows of different families run beside
each other. What keeps a datanode, its disk or its link from serving comes one at a time, because
with two replicas out of three gone at once nothing is promised but that nothing is forged: the
disasters that take several at once (a loss of power everywhere) have the cluster to themselves.
"""

from collections.abc import Iterator
from random import Random

import msgspec

from dolmen.simulation.fault_draws import Draws, Family, Row
from dolmen.simulation.faults import AnyFault, Blackout
from dolmen.simulation.plan import Plan
from dolmen.simulation.plan_shapes import Shapes
from dolmen.simulation.rhythm import RHYTHMS, Pause

__all__ = ["ALL_FAMILIES", "Family", "make_plan"]

BLACKOUT_PAUSE_MS = (60_000, 400_000)

RECOVERING_MS = 30_000
"""After a blackout and before anything else: safe mode is over, and replicas have been copied."""

BLACKOUT_CHANCE = 0.3
"""For a plan that has deaths."""

ALL_FAMILIES = frozenset(Family)

BURST_BEGINS_S = 30.0
"""Within which the first fault of a row hits a burst."""


def make_plan(
    seed: int,
    seconds: int = 1000,
    datanodes: int | None = None,
    families: frozenset[Family] = ALL_FAMILIES,
) -> Plan:
    """Return the plan of a seed; it says how many datanodes there are, if the caller does not."""
    random = Random(f"plan {seed}")
    shape = Shapes(random, families).draw(seed, seconds, datanodes)
    return _Maker(random, shape, families).make()


class _Maker:
    def __init__(self, random: Random, shape: Plan, families: frozenset[Family]) -> None:
        self._random = random
        self._plan = shape
        self._families = families
        self._draws = Draws(random, shape)
        self._blackouts = list(self._draw_blackouts())

    def make(self) -> Plan:
        draws, rhythm = self._draws, self._random.choice(RHYTHMS)
        drawn: list[AnyFault] = [
            *self._blackouts,
            *self._row(draws.on_datanodes, rhythm.datanodes_ms),
            *self._row(draws.on_namenode, rhythm.namenode_ms),
            *self._rows(rhythm.client_rows, draws.on_clients, rhythm.clients_ms),
            *self._rows(rhythm.anywhere_rows, draws.anywhere, rhythm.anywhere_ms),
        ]
        ordered = sorted(drawn, key=lambda fault: (fault.at_ms, msgspec.json.encode(fault)))
        work = self._plan.work
        may_fail = work.may_fail or bool(self._blackouts)
        return msgspec.structs.replace(
            self._plan,
            faults=tuple(ordered),
            work=msgspec.structs.replace(work, may_fail=may_fail),
        )

    def _rows(self, rows: int, row: Row, pause_ms: Pause) -> Iterator[AnyFault]:
        """So many rows beside each other."""
        for _ in range(rows):
            yield from self._row(row, pause_ms)

    def _row(self, row: Row, pause_ms: Pause) -> Iterator[AnyFault]:
        """One fault after the other; the next begins a pause after the last is over."""
        draws = [draw for family in Family if family in self._families for draw in row[family]]
        at_ms = self._at_work(self._random.randint(*pause_ms))
        while draws and at_ms < self._plan.seconds * 1000:
            fault = self._random.choice(draws)(at_ms)
            disaster = self._meets(fault)
            if disaster is None:
                yield fault
                over_ms = fault.until_ms
            else:
                over_ms = self._over_ms(disaster)
            at_ms = self._at_work(over_ms + self._random.randint(*pause_ms))

    def _at_work(self, at_ms: int) -> int:
        """Return a time at which clients work: then, or early in the next burst."""
        rest_s = self._plan.work.rest_s(at_ms / 1000)
        if not rest_s:
            return at_ms
        return at_ms + int(1000 * (rest_s + self._random.uniform(1, BURST_BEGINS_S)))

    # ------------------------------------------------------------ disasters

    def _draw_blackouts(self) -> Iterator[Blackout]:
        if Family.CRASH not in self._families or self._random.random() > BLACKOUT_CHANCE:
            return
        at_ms = self._at_work(self._random.randint(*BLACKOUT_PAUSE_MS))
        while at_ms < self._plan.seconds * 1000:
            fault = self._draws.blackout(at_ms)
            yield fault
            over_ms = self._over_ms(fault)
            at_ms = self._at_work(over_ms + self._random.randint(*BLACKOUT_PAUSE_MS))

    def _meets(self, fault: AnyFault) -> Blackout | None:
        """Return the blackout during which a fault would last."""
        for one in self._blackouts:
            if fault.at_ms <= self._over_ms(one) and one.at_ms <= fault.until_ms:
                return one
        return None

    def _over_ms(self, blackout: Blackout) -> int:
        machines = self._plan.datanodes + 1
        return blackout.at_ms + blackout.down_ms * machines + RECOVERING_MS
