"""Repair keeps to its rate and starves nobody, whatever becomes of its transfers."""

from collections.abc import Iterable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmen.protocol.datanode_messages import AnyCommand, CommandFailed, TransferReplica
from dolmen.protocol.tokens import ClusterKeys
from namenode.core.redundancy import RepairOptions
from namenode.core.throttle import Throttle
from tests.unit.namenode.core.replica_world import (
    LENGTH_BYTES,
    OPTIONS,
    ReplicaWorld,
    block_number,
    datanode_id,
    replica,
)

DATANODES = range(5)
RATE_BYTES = 4 * LENGTH_BYTES
FATES = st.sampled_from(["stored", "stored", "failed", "lost"])


@given(
    lengths=st.lists(st.integers(1, 3000), min_size=1, max_size=60),
    gaps_ms=st.lists(st.integers(0, 700), min_size=1, max_size=60),
)
def test_no_window_lets_more_through_a_bucket_than_its_rate_and_its_size(
    lengths: list[int], gaps_ms: list[int]
) -> None:
    throttle = Throttle(1000)
    passed: list[tuple[int, int]] = []
    now_ms = 0
    for step, length_bytes in enumerate(lengths):
        now_ms += gaps_ms[step % len(gaps_ms)]
        throttle.refill({"source", "target"}, now_ms)
        if throttle.admit(length_bytes, "source", "target"):
            passed.append((now_ms, length_bytes))
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            through = sum(length_bytes for _, length_bytes in passed[first : last + 1])
            seconds = (passed[last][0] - passed[first][0]) / 1000
            longest = max(length_bytes for _, length_bytes in passed[first : last + 1])
            assert through <= 1000 * (1 + seconds) + max(0, longest - 1000) + 1


@settings(max_examples=25)
@given(
    holders=st.lists(st.sets(st.sampled_from(DATANODES), min_size=1), min_size=1, max_size=12),
    fates=st.lists(FATES, min_size=1, max_size=40),
)
def test_every_block_is_repaired_in_the_end_and_the_rate_is_kept(
    holders: list[set[int]], fates: list[str]
) -> None:
    world = _cluster(holders)
    planned: list[tuple[int, int]] = []  # (time, end)
    fate = iter([*fates, *["stored"] * 1000])
    for _ in range(1000):
        for index, command in world.pass_time(250, DATANODES):
            if isinstance(command, TransferReplica):
                planned += [(world.now_ms, end) for end in (index, _source(world, command))]
                _meet(world, index, command, next(fate))
    numbers = range(1, len(holders) + 1)
    assert all(world.cluster.good_replicas(world.block(number)) == 3 for number in numbers)
    _check_rate(planned)
    world.check_invariants()


def _cluster(holders: Iterable[set[int]]) -> ReplicaWorld:
    repair = RepairOptions(RATE_BYTES, publish_grace_ms=3000, min_replicas=2, shun_ms=10_000)
    world = ReplicaWorld(msgspec.structs.replace(OPTIONS, repair=repair))
    world.add_datanodes(*DATANODES)
    for number, indexes in enumerate(holders, start=1):
        world.add_file(100 + number, [number])
        for index in sorted(indexes)[:3]:
            world.store(index, replica(block_number(number)))
    return world


def _source(world: ReplicaWorld, command: AnyCommand) -> int:
    assert isinstance(command, TransferReplica)
    token = ClusterKeys(b"secret").open_token(command.token, world.now_ms)
    return world.index_of(token.targets[0].datanode_id)


def _meet(world: ReplicaWorld, index: int, command: TransferReplica, fate: str) -> None:
    if fate == "stored":
        world.store(index, replica(command.block_id))
    elif fate == "failed":
        failed = CommandFailed(command.block_id, "out of luck")
        world.cluster.take_failures(datanode_id(index), (failed,), world.now_ms)


def _check_rate(planned: list[tuple[int, int]]) -> None:
    for end in DATANODES:
        times = [time_ms for time_ms, other in planned if other == end]
        for first in range(len(times)):
            for last in range(first, len(times)):
                allowed = RATE_BYTES * (1 + (times[last] - times[first]) / 1000)
                assert (last - first + 1) * LENGTH_BYTES <= allowed
