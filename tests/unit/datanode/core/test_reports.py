"""What the namenode still has to hear: pages of everything, then every change until it is taken."""

import msgspec

from datanode.core.reports import (
    BATCH_CHANGES,
    FAILURES_LIMIT,
    PAGE_REPLICAS,
    QUEUE_LIMIT,
    ReportQueue,
    pages,
)
from dolmen.protocol.control_messages import MESSAGE_LIMIT_BYTES, DatanodeCall, encode_call
from dolmen.protocol.datanode_messages import (
    ChangeKind,
    ReplicaChange,
    ReplicaReport,
    ReplicaState,
)

STORAGE = "f" * 32


def report(block_id: int, state: ReplicaState = ReplicaState.FINALIZED) -> ReplicaReport:
    return ReplicaReport(block_id, 1 << 60, 1 << 40, state, b"d" * 16)


def change(
    block_id: int,
    kind: ChangeKind = ChangeKind.STORED,
    state: ReplicaState = ReplicaState.FINALIZED,
) -> ReplicaChange:
    return ReplicaChange(kind, STORAGE, report(block_id, state))


def test_a_full_report_names_every_replica_once_and_marks_its_ends() -> None:
    ids = [number << 40 for number in range(1, 2 * PAGE_REPLICAS + 2)]
    volumes = [("a", ids), ("b", []), ("c", [7])]
    made = list(pages(5, volumes, lambda block_id, _: report(block_id)))
    assert [(page.storage_id, page.first, page.last, page.all_done) for page in made] == [
        ("a", True, False, False),
        ("a", False, False, False),
        ("a", False, True, False),
        ("b", True, True, False),
        ("c", True, True, True),
    ]
    assert [replica.block_id for page in made for replica in page.replicas] == [*ids, 7]
    assert max(len(encode_call(DatanodeCall(page))) for page in made) < MESSAGE_LIMIT_BYTES


def test_a_replica_that_went_while_pages_were_made_is_left_out() -> None:
    made = list(pages(5, [("a", [1, 2])], lambda one, _: report(one) if one == 2 else None))
    assert [replica.block_id for replica in made[0].replicas] == [2]


def test_a_change_stays_queued_until_it_was_taken() -> None:
    queue = ReportQueue()
    queue.add(change(1))
    lost = queue.batch()
    assert queue.batch() == lost
    queue.taken(lost)
    assert len(queue) == 0


def test_the_last_of_several_changes_of_a_replica_counts() -> None:
    queue = ReportQueue()
    queue.add(change(1, state=ReplicaState.BEING_WRITTEN))
    sent = queue.batch()
    queue.add(change(1, ChangeKind.DELETED))
    queue.taken(sent)
    assert queue.batch().changes == (change(1, ChangeKind.DELETED),)


def test_a_replica_just_begun_is_not_urgent_and_everything_else_is() -> None:
    queue = ReportQueue()
    assert not queue.add(change(1, state=ReplicaState.BEING_WRITTEN))
    assert queue.add(change(1))
    assert queue.add(change(2, ChangeKind.DELETED, ReplicaState.BEING_WRITTEN))


def test_a_full_report_replaces_all_but_the_damage_that_was_found() -> None:
    queue = ReportQueue()
    queue.add(change(1))
    queue.add(change(2, ChangeKind.CORRUPT))
    queue.start_over()
    assert queue.batch().changes == (change(2, ChangeKind.CORRUPT),)


def test_too_many_changes_give_way_to_a_full_report() -> None:
    queue = ReportQueue()
    for number in range(QUEUE_LIMIT + 1):
        queue.add(change(number))
    assert queue.overflowed
    assert len(queue) == 0
    queue.start_over()
    assert not queue.overflowed


def test_a_batch_of_changes_and_failures_fits_into_a_message() -> None:
    queue = ReportQueue()
    for number in range(BATCH_CHANGES - 100):
        queue.add(change(number << 40))
    for number in range(FAILURES_LIMIT + 10):
        queue.add_failure(number << 40, "x" * 5000)
    batch = queue.batch()
    assert len(batch.changes) + len(batch.failed_commands) == BATCH_CHANGES
    assert len(msgspec.msgpack.encode(batch)) < MESSAGE_LIMIT_BYTES
    queue.taken(batch)
    assert len(queue) == FAILURES_LIMIT - 100
