"""What daemons hold in memory is measured whole, and what piles up there is found."""

from collections import deque
from collections.abc import Callable

import pytest

from datanode.node import Datanode
from dolmen.simulation import virtual_time
from dolmen.simulation.checkers.idle_level import WORDS, IdleLevel
from dolmen.simulation.checkers.memory import measure
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.plan import Plan
from dolmen.simulation.trace import Trace


class Holder:
    def __init__(self) -> None:
        self.waiting = deque([1, 2, 3])
        self.known = {1: [1, 2], 2: [1, 2, 3, 4]}
        self.itself = self
        self.told = self._closure()

    def _closure(self) -> Callable[[], int]:
        hidden = {5, 6}
        return lambda: len(hidden)


class Slotted:
    __slots__ = ("filled", "never_filled")

    def __init__(self) -> None:
        self.filled = [1]


def test_containers_are_found_wherever_they_are_held() -> None:
    held = measure(Holder())
    assert held[".waiting"] == 3
    assert held[".known"] == 2
    assert held[".known[]"] == 4
    assert held["Holder._closure.<locals>.<lambda>.hidden"] == 2
    assert measure(Slotted()) == {".filled": 1}


def test_a_container_that_grows_for_ever_is_found() -> None:
    async def main() -> None:
        cluster = SimCluster(Plan(seed=1), Trace(lambda: 0.0))
        await cluster.start()
        idle_level = IdleLevel(cluster)
        await idle_level.learn()
        datanode = cluster.datanodes[1].process
        assert isinstance(datanode, Datanode)
        datanode.leak = list(range(WORDS))  # type: ignore[attr-defined]
        await idle_level.check()
        datanode.leak += range(WORDS)  # type: ignore[attr-defined]
        with pytest.raises(CheckFailed, match=r"datanode-1 Datanode\.leak': 100"):
            await idle_level.check()
        await cluster.stop()

    virtual_time.run(main())
