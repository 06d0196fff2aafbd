"""Checks on demand: each replica once, a few at a time, and an answer or the lack of one each."""

import pytest

from dolmen.protocol.datanode_messages import CheckReplica, ReplicaChecked
from dolmen.protocol.errors import Overloaded
from namenode.core.checks import Check
from namenode.core.verification import (
    ASKED_LIMIT,
    ASKED_LIMIT_BYTES,
    AWAY_MS,
    FINDINGS_LIMIT,
    FORGOTTEN_MS,
    PAGES_LIMIT,
    Page,
    Verifier,
)
from tests.unit.namenode.core.replica_world import STAMP, ReplicaWorld, datanode_id

ANN, BOB = b"ann", b"bob"
NOW_MS = 1000
KEY = ("/", "", 100)


@pytest.fixture
def world() -> ReplicaWorld:
    world = ReplicaWorld()
    world.add_datanodes(0, 1)
    return world


@pytest.fixture
def verifier(world: ReplicaWorld) -> Verifier:
    return world.cluster.verifier


def check(number: int, index: int = 0, length_bytes: int = 1000) -> Check:
    return Check(number, STAMP, length_bytes, datanode_id(index), f"/file {number}")


def begin(verifier: Verifier, *checks: Check, key: tuple[str, str, int] = KEY) -> Page:
    page = Page("", False, NOW_MS, {ANN})
    verifier.begin(key, page, checks)
    return page


def answer(verifier: Verifier, number: int, index: int = 0, problem: str = "") -> None:
    answers = (ReplicaChecked(number, STAMP, problem),)
    verifier.answered(datanode_id(index), answers, {number} if problem else (), NOW_MS)


def test_each_replica_is_asked_of_its_datanode_and_its_answer_counted(verifier: Verifier) -> None:
    page = begin(verifier, check(1), check(1, 1), check(2))
    assert sorted(verifier.next_checks(NOW_MS), key=str) == [
        (datanode_id(0), CheckReplica(1, STAMP)),
        (datanode_id(0), CheckReplica(2, STAMP)),
        (datanode_id(1), CheckReplica(1, STAMP)),
    ]
    answer(verifier, 1)
    answer(verifier, 2, problem="it is bad")
    assert (page.pending, page.sound, page.damaged) == (1, 1, 1)
    assert [(f.check.block_id, f.problem) for f in page.findings] == [(2, "it is bad")]
    answer(verifier, 1)
    answer(verifier, 7)
    assert page.pending == 1, "what was not asked, or was answered, counts no more"
    assert verifier.next_checks(NOW_MS) == []


def test_what_could_not_be_judged_is_no_damage(verifier: Verifier) -> None:
    page = begin(verifier, check(1), check(2))
    verifier.next_checks(NOW_MS)
    verifier.put_aside(datanode_id(0), 2)
    answers = [ReplicaChecked(number, STAMP, "its disk is in trouble") for number in (1, 2)]
    verifier.answered(datanode_id(0), answers, (), NOW_MS)
    assert (page.unanswered, page.damaged, page.pending) == (1, 1, 0)


def test_a_datanode_is_asked_a_few_at_a_time(verifier: Verifier) -> None:
    begin(verifier, *(check(number) for number in range(ASKED_LIMIT + 5)))
    assert len(verifier.next_checks(NOW_MS)) == ASKED_LIMIT
    assert verifier.next_checks(NOW_MS) == []
    answer(verifier, 0)
    answer(verifier, 1)
    assert len(verifier.next_checks(NOW_MS)) == 2


def test_long_replicas_are_asked_one_after_the_other(verifier: Verifier) -> None:
    begin(verifier, *(check(number, length_bytes=ASKED_LIMIT_BYTES + 1) for number in range(3)))
    for number in range(3):
        assert verifier.next_checks(NOW_MS) == [(datanode_id(0), CheckReplica(number, STAMP))]
        answer(verifier, number)


def test_two_pages_share_the_check_of_one_replica(verifier: Verifier) -> None:
    one, two = begin(verifier, check(1)), begin(verifier, check(1), key=("/x", "", 100))
    assert len(verifier.next_checks(NOW_MS)) == 1
    answer(verifier, 1)
    assert (one.sound, two.sound) == (1, 1)


def test_whoever_asks_the_same_joins_until_it_has_seen_the_end(verifier: Verifier) -> None:
    page = begin(verifier, check(1))
    assert verifier.join(KEY, BOB, NOW_MS) is page
    verifier.next_checks(NOW_MS)
    answer(verifier, 1)
    assert verifier.join(KEY, b"eve", NOW_MS) is None, "it ended before she asked: she gets her own"
    assert verifier.tell(KEY, page, ANN).sound == 1
    assert verifier.join(KEY, ANN, NOW_MS) is None
    assert verifier.join(KEY, BOB, NOW_MS) is page
    assert verifier.tell(KEY, page, BOB).sound == 1
    assert verifier.join(KEY, BOB, NOW_MS) is None


def test_a_replica_that_was_deleted_meanwhile_is_no_damage(verifier: Verifier) -> None:
    page = begin(verifier, check(1))
    verifier.next_checks(NOW_MS)
    verifier.deleted(datanode_id(0), 1)
    answer(verifier, 1, problem="it is not there")
    assert (page.pending, page.sound, page.damaged) == (0, 0, 0)


def test_a_datanode_that_comes_back_is_asked_again(world: ReplicaWorld, verifier: Verifier) -> None:
    page = begin(verifier, check(1), check(2))
    verifier.next_checks(NOW_MS)
    answer(verifier, 1)
    world.leave(0)
    assert verifier.next_checks(NOW_MS + 100) == []
    world.join(0)
    assert verifier.next_checks(NOW_MS + 200) == [(datanode_id(0), CheckReplica(2, STAMP))]
    assert page.pending == 1


def test_a_datanode_that_stays_away_leaves_its_replicas_unanswered(
    world: ReplicaWorld, verifier: Verifier
) -> None:
    page = begin(verifier, check(1), check(2), check(1, 1))
    verifier.next_checks(NOW_MS)
    answer(verifier, 1, 1)
    world.leave(0)
    verifier.next_checks(NOW_MS + AWAY_MS - 1)
    assert page.pending == 2
    verifier.next_checks(NOW_MS + AWAY_MS)
    assert (page.pending, page.unanswered, page.sound) == (0, 2, 1)


def test_a_datanode_that_says_nothing_is_given_up_and_the_rest_is_asked(
    verifier: Verifier,
) -> None:
    page = begin(verifier, *(check(number) for number in range(ASKED_LIMIT + 1)))
    verifier.next_checks(NOW_MS)
    verifier.next_checks(NOW_MS + 29_000)
    assert page.unanswered == 0
    assert len(verifier.next_checks(NOW_MS + 31_000)) == 1
    assert (page.pending, page.unanswered) == (1, ASKED_LIMIT)


def test_a_dead_or_unknown_datanode_cannot_answer(world: ReplicaWorld, verifier: Verifier) -> None:
    world.leave(0)
    world.pass_time(15_000, beating=(1,))
    page = begin(verifier, check(1), check(1, 9))
    assert (page.pending, page.unanswered) == (0, 2)


def test_there_are_only_so_many_verifications_at_once(verifier: Verifier) -> None:
    for number in range(PAGES_LIMIT):
        begin(verifier, check(number), key=(f"/{number}", "", 1))
    with pytest.raises(Overloaded, match="16 verifications are under way"):
        begin(verifier, check(99))
    assert verifier.next_checks(NOW_MS + FORGOTTEN_MS) == [], "nobody asked for so long"
    begin(verifier, check(99))


def test_of_much_damage_the_first_findings_are_told_and_all_counted(verifier: Verifier) -> None:
    page = begin(verifier, *(check(number) for number in range(FINDINGS_LIMIT + 10)))
    for number in range(FINDINGS_LIMIT + 10):
        verifier.next_checks(NOW_MS)
        answer(verifier, number, problem="it is bad")
    assert (page.damaged, len(page.findings)) == (FINDINGS_LIMIT + 10, FINDINGS_LIMIT)
