"""Balancing, case by case."""

from random import Random

import pytest

from dolmen.protocol.errors import AccessDenied, InvalidRequest
from dolmen.protocol.operator_messages import BALANCE_LIFE_S
from tests.unit.namenode.core.balance_world import CAPACITY_BYTES, BalanceWorld
from tests.unit.namenode.core.replica_world import block_number


def world_of(*racks: str) -> BalanceWorld:
    world = BalanceWorld()
    for index, rack in enumerate(racks):
        world.add_node(index, rack)
    return world


def full_and_empty(blocks: int = 60, length_bytes: int = 100) -> BalanceWorld:
    """Two datanodes that hold every block, and one that has just joined."""
    world = world_of("r", "r", "r")
    for number in range(1, blocks + 1):
        world.add_block(number, length_bytes, (0, 1))
    world.begin()
    return world


def test_an_empty_datanode_is_filled_until_all_are_near_the_mean() -> None:
    world = full_and_empty()
    progress = world.balance(Random(1))
    assert progress.balanced
    assert progress.left_bytes == 0
    assert progress.moved_replicas * 100 == progress.moved_bytes > 0
    assert all(0.3 <= world.share(index) <= 0.5 for index in range(3))
    for number in range(1, 61):
        assert len(world.holders(block_number(number))) == 2
    world.check_invariants()


def test_a_balanced_cluster_has_nothing_to_do() -> None:
    world = world_of("r", "r")
    world.add_block(1, 500, (0, 1))
    world.begin()
    progress = world.ask()
    assert (progress.balanced, progress.ended, progress.left_bytes) == (True, True, 0)
    assert world.tick() == []


def test_nothing_moves_before_somebody_asks_and_after_he_has_gone() -> None:
    world = full_and_empty()
    random = Random(1)
    world.wind_down(random)
    assert world.held[2] == {}
    world.ask()
    world.now_ms += int(BALANCE_LIFE_S * 1000)
    world.wind_down(random)
    assert world.held[2] == {}


def test_what_is_under_way_when_it_is_stopped_comes_to_its_end_and_leaves_no_excess() -> None:
    world = full_and_empty()
    random = Random(1)
    world.ask()
    world.turn(random)
    assert world.ask(stop=True).reason == "it was stopped"
    world.wind_down(random)
    moved = len(world.held[2])
    assert 0 < moved < 60
    assert all(len(world.holders(block_number(number))) == 2 for number in range(1, 61))
    world.wind_down(random)
    assert len(world.held[2]) == moved


def test_one_asks_at_a_time() -> None:
    world = full_and_empty()
    world.ask(asker="ann")
    with pytest.raises(AccessDenied, match="ann"):
        world.ask(asker="bob")
    with pytest.raises(AccessDenied, match="ann"):
        world.ask(asker="bob", stop=True)
    assert world.ask(asker="ann", stop=True).ended
    assert not world.ask(asker="bob").ended


@pytest.mark.parametrize("threshold_percent", [0.0, -1.0, 100.5, float("nan")])
def test_a_threshold_that_makes_no_sense_is_refused(threshold_percent: float) -> None:
    with pytest.raises(InvalidRequest, match="threshold"):
        full_and_empty().ask(threshold_percent)


def test_a_block_that_is_too_large_to_move_ends_it_with_a_reason() -> None:
    world = world_of("r", "r", "r")
    world.add_block(1, 6000, (0, 1))
    world.begin()
    progress = world.balance(Random(1))
    assert not progress.balanced
    assert progress.left_bytes > 0
    assert "1 are too large" in progress.reason or "2 are too large" in progress.reason
    assert world.held[2] == {}


def test_a_move_never_takes_a_block_out_of_its_second_rack() -> None:
    world = world_of("a", "b", "b")
    for number in range(1, 61):
        world.add_block(number, 100, (0, 1))
    world.begin()
    world.balance(Random(1))
    assert world.share(0) == pytest.approx(0.6)  # it is the only one of its rack
    for number in range(1, 61):
        assert {world.racks[index] for index in world.holders(block_number(number))} == {"a", "b"}


def test_two_replicas_never_come_to_one_host() -> None:
    world = BalanceWorld()
    for index, host in enumerate(("h0", "h1", "h1")):
        world.add_node(index, host=host)
    for number in range(1, 61):
        world.add_block(number, 100, (0, 1))
    world.begin()
    world.balance(Random(1))
    assert len(world.held[2]) > 0
    for number in range(1, 61):
        assert {world.hosts[index] for index in world.holders(block_number(number))} == {"h0", "h1"}


def test_repair_goes_first_and_one_that_gets_nowhere_ends_it() -> None:
    world = full_and_empty()
    world.add_block(61, 5, (0, 1, 2))
    world.set_replication(161, 4)
    world.begin()
    random = Random(1)
    progress = world.ask()
    world.turn(random)
    progress = world.ask()
    assert progress.reason == "repair goes first: 1 blocks are under-replicated"
    assert not progress.ended
    assert "has waited for a minute" in world.balance(random).reason
    assert list(world.held[2]) == [block_number(61)]


def test_a_larger_datanode_holds_more() -> None:
    world = world_of("r", "r")
    world.capacity_bytes[2] = 3 * CAPACITY_BYTES
    world.add_node(2)
    for number in range(1, 121):
        world.add_block(number, 50, (number % 2,))
    world.begin()
    assert world.balance(Random(1), 5.0).balanced
    assert world.used_bytes(2) > 1.5 * world.used_bytes(0)


def test_a_restarted_namenode_knows_of_no_balancing_and_trims_what_was_copied() -> None:
    world = full_and_empty()
    random = Random(1)
    world.ask()
    for index, command in world.tick():
        world.obey(index, command)
    world.restart()
    for index in range(3):
        world.join(index)
        world.report(index)
    world.wind_down(random)
    assert all(len(world.holders(block_number(number))) == 2 for number in range(1, 61))
