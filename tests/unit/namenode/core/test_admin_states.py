"""Admin states through the one door: once, over replays, in safe mode, and by themselves."""

import pytest

from dolmen.protocol.client_messages import MakeDirectory
from dolmen.protocol.errors import SafeMode
from dolmen.protocol.identifiers import make_block_id
from dolmen.protocol.operator_messages import DatanodeReported, SetAdminState
from dolmen.simulation.sim_key_value import SimKeyValueStore
from namenode.core import tables
from namenode.core.apply import apply_group
from namenode.core.block_map import Standing, look_up
from namenode.core.edits import FutureGivenUp, decode_group
from namenode.core.lookup import load_meta
from namenode.core.outcome import AdminStateChanged, Outcome
from namenode.core.records import DATANODE, AdminState, Datanode
from tests.unit.namenode.core.driver import Driver, contents

MAINTENANCE = AdminState.MAINTENANCE


def record(driver: Driver, index: int) -> Datanode:
    with driver.key_value.snapshot() as view:
        key = driver.knowledge.datanodes[index].datanode_id.encode()
        value = view.get(tables.DATANODES, key)
        assert value is not None
        return DATANODE.decode(value)


def test_a_state_and_its_end_are_kept_and_survive_a_new_registration() -> None:
    driver = Driver()
    until_ms = driver.now_ms + 1000
    driver.do(SetAdminState("dn0:1", "MAINTENANCE", until_ms))
    driver.register(driver.knowledge.datanodes[0])
    kept = record(driver, 0)
    assert (kept.admin_state, kept.maintenance_until_ms) == (MAINTENANCE, until_ms)
    effects = driver.take_effects(AdminStateChanged)
    assert [effect.admin_state for effect in effects] == [MAINTENANCE]


def test_a_replay_ends_in_the_same_state() -> None:
    driver = Driver()
    driver.do(SetAdminState("dn0:1", "DECOMMISSIONING"))
    driver.do(SetAdminState("dn1:1", "MAINTENANCE", driver.now_ms + 5))
    driver.do(SetAdminState("dn0:1", "IN_SERVICE"))
    driver.commit(Outcome(None, (FutureGivenUp(900, 800),)))  # type: ignore[arg-type]
    driver.do(MakeDirectory("/d"))
    replayed = SimKeyValueStore().open("replayed", tables.DURABLE_TABLES)
    transaction = replayed.begin()
    for txid, group in enumerate(driver.log, start=1):
        apply_group(decode_group(group), transaction, txid)
    transaction.commit()
    with replayed.snapshot() as theirs, driver.key_value.snapshot() as ours:
        assert contents(theirs) == contents(ours)


def test_a_repeated_call_is_answered_and_not_done_again() -> None:
    driver = Driver()
    first = driver.do(SetAdminState("dn0:1", "DECOMMISSIONING"), number=70)
    driver.do(SetAdminState("dn0:1", "IN_SERVICE"), number=71)
    again = driver.decide(SetAdminState("dn0:1", "DECOMMISSIONING"), number=70)
    assert isinstance(again, Outcome)
    assert (again.reply, again.edits) == (first, ())


def test_what_is_so_already_is_no_edit() -> None:
    driver = Driver()
    again = driver.decide(SetAdminState("dn0:1", "IN_SERVICE"))
    assert isinstance(again, Outcome)
    assert not again.edits
    assert isinstance(again.reply, DatanodeReported)


def test_it_may_be_said_in_safe_mode_and_nothing_else() -> None:
    driver = Driver()
    driver.knowledge.safe_mode = "safe mode: entered by hand"
    driver.do(SetAdminState("dn0:1", "DECOMMISSIONING"))
    assert record(driver, 0).admin_state is AdminState.DECOMMISSIONING
    with pytest.raises(SafeMode):
        driver.do(MakeDirectory("/d"))


def test_who_has_left_is_noted_by_the_background_work_once() -> None:
    driver = Driver()
    driver.do(SetAdminState("dn0:1", "DECOMMISSIONING"))
    datanode_id = driver.knowledge.datanodes[0].datanode_id
    driver.knowledge.due = (AdminStateChanged(datanode_id, AdminState.DECOMMISSIONED),)
    assert driver.tick() == 1
    assert record(driver, 0).admin_state is AdminState.DECOMMISSIONED


def test_a_future_given_up_is_nobodys_and_its_numbers_are_never_used() -> None:
    driver = Driver()
    before = driver.allocate(driver.create("/a").inode_id, 0)
    with driver.key_value.snapshot() as view:
        meta = load_meta(view)
    numbers = (meta.next_block_number + 10, meta.next_stamp + 20)
    driver.commit(Outcome(None, (FutureGivenUp(*numbers),)))  # type: ignore[arg-type]
    driver.commit(Outcome(None, (FutureGivenUp(numbers[0] + 1, numbers[1]),)))  # type: ignore[arg-type]
    after = driver.allocate(driver.create("/b").inode_id, 0)
    assert after.block_id > before.block_id + (10 << 4)
    assert after.stamp >= numbers[1]
    with driver.key_value.snapshot() as view:
        now = load_meta(view)
        assert now.given_up_blocks == ((meta.next_block_number, numbers[0] + 1),)
        lost = make_block_id(meta.namespace_id, meta.next_block_number + 3)
        assert look_up(view, now, lost).standing is Standing.GIVEN_UP
        newer = look_up(view, now, before.block_id, meta.next_stamp + 3)
        assert newer.standing is Standing.GIVEN_UP
        assert look_up(view, now, before.block_id, before.stamp).standing is Standing.OPEN
