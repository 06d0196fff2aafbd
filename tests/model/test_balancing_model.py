"""Balancing any cluster comes to an end, makes nothing less even, and never risks a block."""

from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmen.protocol.datanode_messages import AnyCommand, InvalidateReplica
from tests.unit.namenode.core.balance_world import BalanceWorld
from tests.unit.namenode.core.replica_world import block_number

CAPACITIES = (3000, 10_000, 20_000)
TURNS_LIMIT = 4000


class Shape(msgspec.Struct, frozen=True):
    """A cluster, and what is on it: blocks are (length, replicas, seed of their places)."""

    nodes: list[tuple[int, int, int]]  # capacity, rack, host
    blocks: list[tuple[int, int, int]]
    threshold_percent: float
    failing: float
    beat_every: int
    prompt: bool
    seed: int


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    count = draw(st.integers(2, 6))
    racks = draw(st.integers(1, 3))
    node = st.tuples(st.sampled_from(CAPACITIES), st.integers(0, racks - 1), st.integers(0, 4))
    block = st.tuples(
        st.sampled_from([1, 10, 50, 100, 100, 400, 900]), st.integers(1, 3), st.integers(0, 9999)
    )
    return Shape(
        draw(st.lists(node, min_size=count, max_size=count)),
        draw(st.lists(block, min_size=0, max_size=40)),
        draw(st.sampled_from([0.01, 2.0, 10.0])),
        draw(st.sampled_from([0.0, 0.0, 0.3])),
        draw(st.sampled_from([1, 2, 4, 8])),
        draw(st.booleans()),
        draw(st.integers(0, 9999)),
    )


class WatchedWorld(BalanceWorld):
    """A world that raises if a deletion would leave a block with less than is wanted."""

    def obey(self, index: int, command: AnyCommand, fails: bool = False) -> None:
        if isinstance(command, InvalidateReplica):
            left = [other for other in self.holders(command.block_id) if other != index]
            assert len(left) >= self.wanted[command.block_id], "a replica goes that is needed"
        super().obey(index, command, fails)

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.beat_every, self.prompt = shape.beat_every, shape.prompt
        self.wanted: dict[int, int] = {}
        for index, (capacity_bytes, rack, host) in enumerate(shape.nodes):
            self.capacity_bytes[index] = capacity_bytes
            self.add_node(index, f"rack {rack}", f"host {rack} {host}")
        for number, (length_bytes, replicas, seed) in enumerate(shape.blocks, start=1):
            self._place(number, length_bytes, replicas, Random(seed))
        self.begin()

    def _place(self, number: int, length_bytes: int, replicas: int, random: Random) -> None:
        """Put a block anywhere, as if placement had been of no use."""
        able = [i for i in self.held if self.capacity_bytes[i] - self.used_bytes(i) >= length_bytes]
        holders = sorted(random.sample(able, min(replicas, len(able))))
        if holders:
            self.add_block(number, length_bytes, holders)
            self.wanted[block_number(number)] = len(holders)

    def spread(self) -> dict[int, tuple[int, int]]:
        """Return of each block on how many hosts and racks it is."""
        return {
            block_id: (
                len({self.hosts[index] for index in self.holders(block_id)}),
                len({self.racks[index] for index in self.holders(block_id)}),
            )
            for block_id in self.wanted
        }

    def beyond(self, threshold_percent: float) -> dict[int, float]:
        """Return of each datanode how far it is out of the band around the mean."""
        used_bytes = sum(self.used_bytes(index) for index in self.held)
        mean = used_bytes / sum(self.capacity_bytes.values())
        return {
            index: max(0.0, abs(self.share(index) - mean) - threshold_percent / 100)
            for index in self.held
        }


def settled(shape: Shape) -> WatchedWorld:
    """Return a world in which repair has done what it could: only balancing moves anything."""
    world = WatchedWorld(shape)
    world.wind_down(Random(shape.seed))
    world.wind_down(Random(shape.seed))
    return world


@settings(max_examples=100, deadline=None)
@given(shapes())
def test_it_ends_and_leaves_every_block_and_every_datanode_no_worse_off(shape: Shape) -> None:
    world = settled(shape)
    spread, beyond = world.spread(), world.beyond(shape.threshold_percent)
    random = Random(shape.seed)
    for _ in range(TURNS_LIMIT):
        progress = world.ask(shape.threshold_percent)
        if progress.ended:
            break
        world.turn(random, shape.failing)
    assert progress.ended, progress
    assert progress.balanced or progress.reason
    assert progress.moved_replicas <= 2 * sum(world.wanted.values()), "it moves to and fro"
    world.wind_down(random)
    for block_id, wanted in world.wanted.items():
        assert len(world.holders(block_id)) == wanted
    after = world.spread()
    assert all(after[b][0] >= spread[b][0] and after[b][1] >= min(spread[b][1], 2) for b in spread)
    now = world.beyond(shape.threshold_percent)
    if after == spread:  # else repair took the room that balancing made, to spread a block
        assert all(now[index] <= beyond[index] + 1e-9 for index in beyond), (beyond, now)
    if progress.balanced:
        assert max(now.values()) < 1e-3
    world.check_invariants()


@settings(max_examples=40, deadline=None)
@given(shapes(), st.integers(0, 40))
def test_whoever_goes_away_leaves_nothing_half_done(shape: Shape, turns: int) -> None:
    world = settled(shape)
    random = Random(shape.seed)
    for _ in range(turns):
        world.ask(shape.threshold_percent)
        world.turn(random, shape.failing)
    world.wind_down(random)
    world.wind_down(random)
    for block_id, wanted in world.wanted.items():
        assert len(world.holders(block_id)) == wanted
    before = {index: set(held) for index, held in world.held.items()}
    world.wind_down(random)
    assert before == {index: set(held) for index, held in world.held.items()}
