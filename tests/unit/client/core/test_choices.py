"""Small policies: pauses, rankings, memory of failures, survivors."""

from itertools import islice
from random import Random

import pytest

from dolmen.client.core.pipelines import Pipeline, enough_replicas
from dolmen.client.core.recent_failures import FAILURES_LIMIT, RecentFailures
from dolmen.client.core.replica_ranking import (
    Standing,
    rank_replicas,
    rival_among,
    rotate_replicas,
    shuffle_replicas,
)
from dolmen.client.core.retry_schedule import FIRST_PAUSE_S, LONGEST_PAUSE_S, pauses
from dolmen.protocol.client_messages import AllocatedBlock, ReplicaLocation
from dolmen.protocol.tokens import Target


def location(name: str, *, stale: bool = False) -> ReplicaLocation:
    return ReplicaLocation(name, f"{name}:1", f"host-{name}", "/r", stale)


def test_pauses_have_full_jitter_and_a_cap_that_grows_to_its_limit() -> None:
    drawn = [list(islice(pauses(Random(seed)), 12)) for seed in range(200)]
    assert all(0 <= each[0] <= FIRST_PAUSE_S for each in drawn)
    assert all(0 <= pause <= LONGEST_PAUSE_S for each in drawn for pause in each)
    assert max(each[-1] for each in drawn) > 0.9 * LONGEST_PAUSE_S
    assert min(each[-1] for each in drawn) < 0.1 * LONGEST_PAUSE_S


def test_our_own_host_comes_first_then_the_fresh_then_the_stale_then_the_slow_then_the_failed() -> (
    None
):
    names = ("failed", "slow", "far", "own")
    replicas = [*map(location, names), location("stale", stale=True)]
    ranked = rank_replicas(replicas, Standing("host-own", {"failed"}, {"slow"}))
    assert [each.datanode_id for each in ranked] == ["own", "far", "stale", "slow", "failed"]


def test_our_own_host_does_not_beat_a_failure() -> None:
    ranked = rank_replicas([location("own"), location("far")], Standing("host-own", {"own"}))
    assert [each.datanode_id for each in ranked] == ["far", "own"]


def test_chance_spreads_readers_over_equal_replicas() -> None:
    replicas = [location(name) for name in "abc"]
    firsts = {shuffle_replicas(replicas, Random(seed))[0].datanode_id for seed in range(20)}
    assert firsts == {"a", "b", "c"}
    assert sorted(shuffle_replicas(replicas, Random(1)), key=str) == sorted(replicas, key=str)


def test_the_pieces_of_a_block_take_turns_at_its_replicas() -> None:
    replicas = [location(name) for name in "abc"]
    firsts = [rotate_replicas(replicas, turn)[0].datanode_id for turn in range(4)]
    assert firsts == ["a", "b", "c", "a"]
    assert rotate_replicas([], 5) == []


def test_who_is_late_is_raced_against_the_next_one_that_did_not_fail() -> None:
    replicas = [location("slow"), location("far"), location("failed")]
    standing = Standing("host", {"failed"}, {"slow"})
    assert rival_among(replicas, standing) == replicas[1]
    assert rival_among(replicas[:1], standing) == replicas[0]
    assert rival_among(replicas[2:], standing) is None
    assert rival_among([], standing) is None


def test_a_failure_is_forgotten_after_a_while_or_when_the_datanode_serves_again() -> None:
    failures = RecentFailures(10)
    failures.add("a", 0)
    failures.add("b", 5)
    assert failures.current(9) == ("a", "b")
    assert failures.current(10) == ("b",)
    failures.add("b", 14)
    assert failures.current(20) == ("b",)
    failures.clear("b")
    assert failures.current(20) == ()


def test_no_more_failures_are_remembered_than_the_limit() -> None:
    failures = RecentFailures(10)
    for number in range(FAILURES_LIMIT + 5):
        failures.add(str(number), 0)
    assert len(failures.current(1)) == FAILURES_LIMIT


def test_survivors_keep_their_order_and_an_invented_position_is_the_heads() -> None:
    targets = tuple(Target(name, f"{name}:1") for name in "abc")
    pipeline = Pipeline.of(AllocatedBlock(1, 2, targets, b""), ())
    assert pipeline.survivors({"b"}) == ("a", "c")
    assert pipeline.at(2).datanode_id == "c"
    assert pipeline.at(7).datanode_id == "a"


@pytest.mark.parametrize(
    ("near", "chains"),
    [
        ("", (range(3),)),
        ("ab", (range(3),)),
        ("abcd", (range(1), range(1, 2), range(2, 3))),
    ],
)
def test_only_if_all_datanodes_are_near_is_each_a_chain(
    near: str, chains: tuple[range, ...]
) -> None:
    targets = tuple(Target(name, f"{name}:1") for name in "abc")
    assert Pipeline.of(AllocatedBlock(1, 2, targets, b""), near).chains == chains


def test_a_writer_waits_for_as_many_replicas_as_a_close_needs() -> None:
    assert enough_replicas(2, 3, 3) == 2
    assert enough_replicas(2, 1, 1) == 1
    assert enough_replicas(2, 3, 1) == 1
    assert enough_replicas(3, 5, 4) == 3
