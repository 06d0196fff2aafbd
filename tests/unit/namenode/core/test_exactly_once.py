"""A repeated call gets its first reply, and what is kept for that stays bounded."""

import pytest

from dolmen.protocol.client_messages import (
    CreatedFile,
    CreateFile,
    Delete,
    Done,
    GetInfo,
    MakeDirectory,
    RenewLeases,
)
from dolmen.protocol.control_messages import ClientCall
from dolmen.protocol.errors import InvalidRequest, PathExists
from dolmen.protocol.operator_messages import GetReport
from namenode.core.apply_answers import ANSWERED_PER_CLIENT_LIMIT
from namenode.core.case import NamesystemSettings
from namenode.core.records import ANSWERS as ANSWERS_RECORD
from namenode.core.tables import ANSWERS, ANSWERS_PER_RECORD
from tests.unit.namenode.core.driver import CLIENT, RIVAL, Driver


def kept(driver: Driver) -> int:
    with driver.key_value.snapshot() as view:
        return sum(len(ANSWERS_RECORD.decode(value).answers) for _, value in view.scan(ANSWERS))


def test_a_repeated_call_changes_nothing_and_is_answered_the_same() -> None:
    driver = Driver()
    first = driver.do(CreateFile("/x"), number=7)
    size = len(driver.log)
    driver.now_ms += 1000
    assert driver.do(CreateFile("/x"), number=7) == first
    assert len(driver.log) == size


def test_a_repeated_call_is_answered_after_a_restart_and_in_safe_mode() -> None:
    driver = Driver()
    driver.do(MakeDirectory("/x"))
    driver.do(Delete("/x"), number=7)
    driver.start()
    driver.knowledge.safe_mode = "reports are awaited"
    assert driver.do(Delete("/x"), number=7) == Done()


def test_the_same_number_of_another_client_is_another_call() -> None:
    driver = Driver()
    first = driver.do(CreateFile("/x"), number=7)
    second = driver.do(CreateFile("/x"), number=7, client_id=RIVAL)
    assert isinstance(first, CreatedFile)
    assert isinstance(second, CreatedFile)
    assert first.inode_id != second.inode_id


def test_a_refused_call_is_decided_again_when_it_is_repeated() -> None:
    driver = Driver()
    driver.do(MakeDirectory("/x"))
    with pytest.raises(PathExists):
        driver.do(MakeDirectory("/x"), number=7)
    driver.do(Delete("/x"))
    driver.do(MakeDirectory("/x"), number=7)


def test_a_call_that_changed_nothing_is_not_kept() -> None:
    driver = Driver()
    driver.do(MakeDirectory("/", exist_ok=True))
    assert kept(driver) == 0


def test_only_the_last_replies_of_a_client_are_kept() -> None:
    driver = Driver(checked=False)
    later = ANSWERED_PER_CLIENT_LIMIT + ANSWERS_PER_RECORD
    for number in (1, 2, 3, later + 1, later + 2):
        driver.do(CreateFile("/x"), number)
    driver.do(CreateFile("/x"), 1, RIVAL)
    assert kept(driver) == 3
    driver.check()


def test_a_call_is_still_known_after_thousands_that_others_of_the_client_made_meanwhile() -> None:
    driver = Driver()
    driver.do(MakeDirectory("/x"), number=7)
    driver.do(MakeDirectory("/y"), number=7 + 4000)
    driver.do(MakeDirectory("/z"), number=7 + 512)
    driver.do(MakeDirectory("/x"), number=7)


def test_old_replies_are_forgotten_a_few_with_each_new_one() -> None:
    driver = Driver(NamesystemSettings(answered_life_ms=1000))
    for record in range(10):
        driver.do(CreateFile("/x"), record * ANSWERS_PER_RECORD + 1)
    driver.now_ms += 1000
    driver.do(CreateFile("/x"), 10 * ANSWERS_PER_RECORD + 1)
    assert kept(driver) == 11
    driver.now_ms += 1
    driver.do(CreateFile("/x"), 11 * ANSWERS_PER_RECORD + 1)
    assert kept(driver) == 8
    driver.do(CreateFile("/x"), 12 * ANSWERS_PER_RECORD + 1)
    driver.do(CreateFile("/x"), 13 * ANSWERS_PER_RECORD + 1)
    assert kept(driver) == 4


def test_an_old_reply_is_kept_as_long_as_a_young_one_of_the_same_record() -> None:
    driver = Driver(NamesystemSettings(answered_life_ms=1000))
    driver.do(CreateFile("/x"), 1)
    driver.now_ms += 600
    young = driver.do(CreateFile("/x"), 2)
    driver.now_ms += 600
    driver.do(CreateFile("/x"), ANSWERS_PER_RECORD)
    assert driver.do(CreateFile("/x"), 2) == young
    assert kept(driver) == 3
    driver.now_ms += 600
    driver.do(CreateFile("/x"), 2 * ANSWERS_PER_RECORD)
    assert kept(driver) == 2


def test_replies_whose_numbers_came_in_another_order_are_all_known() -> None:
    driver = Driver()
    numbers = (5, 3, 40, 4, 16, 15, 17, 1)
    replies = {number: driver.do(CreateFile("/x"), number) for number in numbers}
    assert all(driver.do(CreateFile("/x"), number) == replies[number] for number in numbers)


@pytest.mark.parametrize("number", [0, -1, 1 << 64])
def test_a_mutation_without_a_sound_number_is_refused(number: int) -> None:
    driver = Driver()
    call = ClientCall(CLIENT, number, "somebody", CreateFile("/x"))
    with driver.key_value.snapshot() as view, pytest.raises(InvalidRequest, match="number"):
        driver.namesystem.handle(call, view, driver.now_ms)


@pytest.mark.parametrize(
    ("client_id", "user"), [(b"short", "somebody"), (CLIENT, "u" * 129), (CLIENT, "\udc80")]
)
def test_a_caller_that_cannot_be_one_is_refused(client_id: bytes, user: str) -> None:
    driver = Driver()
    call = ClientCall(client_id, 1, user, CreateFile("/x"))
    with driver.key_value.snapshot() as view, pytest.raises(InvalidRequest):
        driver.namesystem.handle(call, view, driver.now_ms)


def test_each_door_refuses_what_belongs_to_another() -> None:
    driver = Driver()
    with pytest.raises(InvalidRequest):
        driver.do(GetInfo("/"))
    with pytest.raises(InvalidRequest):
        driver.ask(MakeDirectory("/x"))
    with pytest.raises(InvalidRequest):
        driver.ask(GetReport())
    with pytest.raises(InvalidRequest):
        driver.ask(RenewLeases(tuple(range(10_001))))
