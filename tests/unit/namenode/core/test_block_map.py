"""What a reported replica is worth, what becomes of it, and how a full report replaces beliefs."""

from itertools import product

import pytest

from dolmen.protocol.datanode_messages import ChangeKind, ReplicaState, ReportBlocks
from dolmen.protocol.errors import AccessDenied, InvalidRequest
from dolmen.protocol.identifiers import make_block_id
from namenode.core.block_map import Known, Standing, Worth, row_of, worth_of
from namenode.core.records import Block, BlockState
from namenode.core.replica_reports import SLICE, VERDICTS, Verdict, verdict_on
from tests.unit.namenode.core.replica_world import (
    DIGEST,
    LENGTH_BYTES,
    NAMESPACE,
    STAMP,
    ReplicaWorld,
    block_number,
    replica,
    storage_id,
)

COMMITTED = Block(1, 1, 0, STAMP, LENGTH_BYTES, DIGEST, BlockState.COMMITTED)
OPEN = Block(1, 1, 0, STAMP, 0, b"", BlockState.UNDER_CONSTRUCTION)
NEVER_UNFINISHED = (ReplicaState.FINALIZED, ReplicaState.DAMAGED)
UNFINISHED = [state for state in ReplicaState if state not in NEVER_UNFINISHED]


@pytest.mark.parametrize(
    ("block", "stamp", "state", "digest", "worth"),
    [
        (COMMITTED, STAMP, ReplicaState.FINALIZED, DIGEST, Worth.GOOD),
        (COMMITTED, STAMP, ReplicaState.FINALIZED, b"x" * 16, Worth.WRONG),
        (COMMITTED, STAMP, ReplicaState.DAMAGED, DIGEST, Worth.DAMAGED),
        (COMMITTED, STAMP - 1, ReplicaState.DAMAGED, DIGEST, Worth.OLD),
        (OPEN, STAMP, ReplicaState.DAMAGED, DIGEST, Worth.UNFINISHED),
        (COMMITTED, STAMP - 1, ReplicaState.FINALIZED, DIGEST, Worth.OLD),
        (COMMITTED, STAMP + 1, ReplicaState.FINALIZED, DIGEST, Worth.OLD),
        (COMMITTED, STAMP - 1, ReplicaState.BEING_WRITTEN, b"", Worth.OLD),
        (OPEN, STAMP, ReplicaState.FINALIZED, DIGEST, Worth.UNFINISHED),
        (OPEN, STAMP + 1, ReplicaState.BEING_WRITTEN, b"", Worth.UNFINISHED),
        (OPEN, STAMP - 1, ReplicaState.BEING_WRITTEN, b"", Worth.OLD),
        *((COMMITTED, STAMP, state, b"", Worth.UNFINISHED) for state in UNFINISHED),
    ],
)
def test_a_replica_is_worth(
    block: Block, stamp: int, state: ReplicaState, digest: bytes, worth: Worth
) -> None:
    assert worth_of(block, row_of(replica(1, stamp, state, digest))) is worth


def test_a_replica_of_another_length_is_wrong() -> None:
    longer = Block(1, 1, 0, STAMP, LENGTH_BYTES + 1, DIGEST, BlockState.COMMITTED)
    assert worth_of(longer, row_of(replica(1))) is Worth.WRONG


def test_the_table_has_a_verdict_for_everything_that_can_be_reported() -> None:
    known = [Standing.COMPLETE, Standing.OPEN, Standing.SETTLED, Standing.DOOMED]
    unknown = [Standing.UNKNOWN, Standing.FROM_FUTURE, Standing.FOREIGN, Standing.GIVEN_UP]
    assert set(VERDICTS) == {*product(known, Worth), *product(unknown, [None])}


def test_only_what_is_worthless_to_a_complete_block_or_has_no_block_may_go() -> None:
    may_go = {Verdict.GOES, Verdict.GOES_WITH_PROOF}
    assert {case for case, verdict in VERDICTS.items() if verdict in may_go} == {
        (Standing.COMPLETE, Worth.DAMAGED),
        (Standing.COMPLETE, Worth.WRONG),
        (Standing.COMPLETE, Worth.OLD),
        (Standing.COMPLETE, Worth.UNFINISHED),
        (Standing.UNKNOWN, None),
    }


def test_a_temporary_replica_is_its_datanodes_own() -> None:
    known = Known(Standing.COMPLETE, COMMITTED, 3)
    temporary = replica(1, state=ReplicaState.TEMPORARY)
    assert verdict_on(known, temporary) is Verdict.KEPT


# ---------------------------------------------------------------- reports


def figures(under: int, over: int, missing: int, corrupt: int, held: int) -> dict[str, int]:
    """Return what `counts` should."""
    return {"under": under, "over": over, "missing": missing, "corrupt": corrupt, "held": held}


def counts(world: ReplicaWorld) -> dict[str, int]:
    with world.durable.snapshot() as view:
        report = world.cluster.report(view)
    return {
        "under": report.under_replicated_blocks,
        "over": report.over_replicated_blocks,
        "missing": report.missing_blocks,
        "corrupt": report.corrupt_replicas,
        "held": sum(datanode.blocks for datanode in report.datanodes),
    }


def test_what_a_full_report_does_not_name_is_gone() -> None:
    world = ReplicaWorld()
    world.add_datanodes(1, 2, 3)
    numbers = range(1, 4 * SLICE)
    world.add_file(50, numbers)
    for index in (1, 2, 3):
        world.store(index, *(replica(block_number(number)) for number in numbers))
    assert counts(world) == figures(0, over=0, missing=0, corrupt=0, held=3 * len(numbers))
    for number in numbers[1:]:
        del world.held[1][block_number(number)]
    world.report(1)
    gone = len(numbers) - 1
    assert counts(world) == figures(gone, over=0, missing=0, corrupt=0, held=2 * gone + 3)
    world.held[1].clear()
    world.report(1)
    assert counts(world)["under"] == len(numbers)
    world.check_invariants()


def test_a_report_in_pages_is_as_good_as_one() -> None:
    world = ReplicaWorld()
    world.add_datanodes(1)
    world.add_file(50, range(1, 10), replication=1)
    world.store(1, replica(block_number(2)), replica(block_number(5)), replica(block_number(8)))
    pages = [(1, 2), (3, 4), (), (7, 8)]
    for place, page in enumerate(pages):
        replicas = tuple(replica(block_number(number)) for number in page)
        last = place == len(pages) - 1
        world.take_page(1, ReportBlocks(storage_id(1), 9, replicas, place == 0, last, last))
    known = [number for number in range(1, 10) if world.cluster.good_replicas(world.block(number))]
    assert known == [1, 2, 3, 4, 7, 8]
    world.check_invariants()


def test_changes_reported_while_a_full_report_is_under_way_are_newer_than_it() -> None:
    world = ReplicaWorld()
    world.join(1)
    world.add_file(50, [1, 2, 3, 4], replication=1)
    one, two, three, four = (replica(block_number(number)) for number in (1, 2, 3, 4))
    world.take_page(1, ReportBlocks(storage_id(1), 9, (one,), True, False, False))
    world.change(1, ChangeKind.STORED, two)
    world.change(1, ChangeKind.STORED, three)
    world.change(1, ChangeKind.DELETED, three)
    world.take_page(1, ReportBlocks(storage_id(1), 9, (three, four), False, True, True))
    good = [number for number in (1, 2, 3, 4) if world.cluster.good_replicas(world.block(number))]
    assert good == [1, 2, 4]


@pytest.mark.parametrize(
    ("numbers", "report_id", "first"),
    [((3, 3), 9, True), ((4, 3), 9, True), ((1,), 9, False), ((7,), 8, False)],
)
def test_a_page_out_of_order_is_refused(
    numbers: tuple[int, ...], report_id: int, first: bool
) -> None:
    world = ReplicaWorld()
    world.join(1)
    begun = ReportBlocks(storage_id(1), 9, (replica(block_number(5)),), True, False, False)
    world.take_page(1, begun)
    replicas = tuple(replica(block_number(number)) for number in numbers)
    with pytest.raises(InvalidRequest):
        world.take_page(1, ReportBlocks(storage_id(1), report_id, replicas, first, True, True))


def test_a_report_of_a_volume_that_was_not_registered_is_refused() -> None:
    world = ReplicaWorld()
    world.join(1)
    with pytest.raises(InvalidRequest, match="volume"):
        world.take_page(1, ReportBlocks("another", 9, (), True, True, True))


def test_the_deletion_of_an_older_replica_does_not_hide_the_newer_one() -> None:
    world = ReplicaWorld()
    world.add_datanodes(1)
    world.add_file(50, [1], replication=1)
    world.store(1, replica(block_number(1)))
    world.change(1, ChangeKind.DELETED, replica(block_number(1), stamp=STAMP - 1))
    assert world.cluster.good_replicas(world.block(1)) == 1


def test_replicas_of_another_namespace_are_left_alone() -> None:
    world = ReplicaWorld()
    world.add_datanodes(1)
    foreign = make_block_id(NAMESPACE + 1, 5)
    world.store(1, replica(foreign))
    world.lose(1, foreign)
    for strange in (-1, 1 << 63):
        world.change(1, ChangeKind.STORED, replica(strange))
        world.change(1, ChangeKind.DELETED, replica(strange))
    assert world.pass_time(2000, [1]) == []
    assert counts(world)["held"] == 0
    world.report(1)
    assert any("another namespace" in line for line in world.cluster.take_news())


def test_a_replica_found_corrupt_counts_until_it_is_replaced() -> None:
    world = ReplicaWorld()
    world.add_datanodes(1, 2)
    world.add_file(50, [1], replication=2)
    for index in (1, 2):
        world.store(index, replica(block_number(1)))
    world.lose(1, block_number(1), ChangeKind.CORRUPT)
    assert counts(world) == figures(1, over=0, missing=0, corrupt=1, held=1)
    world.store(1, replica(block_number(1)))
    assert counts(world) == figures(0, over=0, missing=0, corrupt=0, held=2)


def test_replicas_of_open_and_doomed_files_are_no_problem_of_anybody() -> None:
    world = ReplicaWorld()
    world.add_datanodes(1)
    world.put_file(50, [block_number(1)], 3, published=False)
    world.store(1, replica(block_number(1)))
    assert counts(world)["under"] == 0
    world.change_file(50, published=True)
    world.store(1, replica(block_number(1)))
    assert counts(world)["under"] == 1
    world.doom_file(50)
    assert counts(world) == figures(0, over=0, missing=0, corrupt=0, held=1)
    assert world.pass_time(2000, [1]) == []


def test_a_copy_of_a_connected_datanode_is_refused() -> None:
    world = ReplicaWorld()
    world.add_datanodes(1)
    world.join(1)  # the same address: the same process comes back
    with pytest.raises(AccessDenied, match="connected already, from host1:9001"):
        world.join(1, host="elsewhere")
    world.leave(1)
    world.join(1, host="elsewhere")


def test_a_good_replica_is_listed_nearest_first_and_stale_last() -> None:
    world = ReplicaWorld()
    for index, rack in enumerate(("r1", "r1", "r2", "r2")):
        world.join(index, rack=rack)
        world.report(index)
    world.add_file(50, [1], replication=4)
    for index in range(4):
        world.store(index, replica(block_number(1)))
    world.leave(0)
    found = world.cluster.locations(world.block(1), "host 3")
    assert [where.host for where in found][:2] == ["host 3", "host 2"]
    assert [(where.host, where.stale) for where in found][2:] == [
        ("host 1", False),
        ("host 0", True),
    ]
    world.pass_time(12_000, [1, 2, 3])
    assert len(world.cluster.locations(world.block(1), "")) == 3
