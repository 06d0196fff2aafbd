"""Leases against a dictionary of times: whoever was silent for the limit is ended, nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dolmen.client.leases import LEASES_PER_CALL, RENEWALS_PER_SOFT_LIMIT
from dolmen.protocol.client_messages import EntryKind, RenewLeases
from dolmen.protocol.errors import InvalidRequest, LeaseConflict
from dolmen.runtime.settings import Settings
from dolmen.simulation.sim_key_value import SimKeyValueStore
from namenode.core import tables
from namenode.core.leases import RENEWALS_LIMIT, LeaseTable, held_file, renew
from namenode.core.records import INODE, LEASE, Inode, Lease

LIMIT_MS = 1000
INODE_ID = st.integers(1, 6)
CLIENT = st.sampled_from([b"a" * 16, b"b" * 16])


class LeaseMachine(RuleBasedStateMachine):
    """Files that are created, renewed by their writer and by others, ended, and a namenode that
    starts anew."""

    def __init__(self) -> None:
        super().__init__()
        self.store = SimKeyValueStore().open("durable", tables.DURABLE_TABLES)
        self.leases = LeaseTable()
        self.now_ms = 0
        self.heard_ms: dict[int, int] = {}
        self.holder: dict[int, bytes] = {}

    @rule(passed_ms=st.integers(0, LIMIT_MS + 1))
    def pass_time(self, passed_ms: int) -> None:
        self.now_ms += passed_ms

    @rule(inode_id=INODE_ID, client_id=CLIENT)
    def create(self, inode_id: int, client_id: bytes) -> None:
        if inode_id in self.holder:
            return
        self.holder[inode_id], self.heard_ms[inode_id] = client_id, self.now_ms
        self._write(inode_id, Lease(inode_id, client_id, "/f"))
        self.leases.touch(inode_id, self.now_ms)

    @rule(inode_ids=st.lists(INODE_ID, max_size=4), client_id=CLIENT)
    def renew(self, inode_ids: list[int], client_id: bytes) -> None:
        with self.store.snapshot() as view:
            request = RenewLeases(tuple(inode_ids))
            answer = renew(self.leases, view, client_id, request, self.now_ms)
        held = [number for number in inode_ids if self.holder.get(number) == client_id]
        self.heard_ms.update(dict.fromkeys(held, self.now_ms))
        assert list(answer.ended) == [n for n in inode_ids if n not in held]

    @rule()
    def end_the_silent(self) -> None:
        ended = list(self.leases.silent_since(self.now_ms - LIMIT_MS))
        due = {n for n, heard_ms in self.heard_ms.items() if heard_ms + LIMIT_MS <= self.now_ms}
        assert set(ended) == due
        for inode_id in ended:
            self._write(inode_id, None)
            self.leases.end(inode_id)
            del self.holder[inode_id], self.heard_ms[inode_id]

    @rule()
    def restart(self) -> None:
        self.leases = LeaseTable()
        with self.store.snapshot() as view:
            self.leases.load(view, self.now_ms)
        self.heard_ms = dict.fromkeys(self.holder, self.now_ms)

    @invariant()
    def one_client_may_write_each_file(self) -> None:
        assert len(self.leases) == len(self.holder)
        with self.store.snapshot() as view:
            for inode_id in range(1, 7):
                for client_id in (b"a" * 16, b"b" * 16):
                    if self.holder.get(inode_id) == client_id:
                        assert held_file(view, inode_id, client_id).inode_id == inode_id
                        continue
                    with pytest.raises(LeaseConflict):
                        held_file(view, inode_id, client_id)

    def _write(self, inode_id: int, lease: Lease | None) -> None:
        writer, key = self.store.begin(), tables.number_key(inode_id)
        if lease is None:
            writer.delete(tables.LEASES, key)
            writer.delete(tables.INODES, key)
        else:
            writer.put(tables.LEASES, key, LEASE.encode(lease))
            writer.put(tables.INODES, key, INODE.encode(unpublished(inode_id)))
        writer.commit()


def unpublished(inode_id: int) -> Inode:
    return Inode(
        inode_id=inode_id,
        parent_id=0,
        name="",
        kind=EntryKind.FILE,
        mode=0o644,
        owner="ann",
        group="users",
        created_ms=1,
        modified_ms=1,
        created_txid=1,
        changed_txid=1,
    )


TestLeases = LeaseMachine.TestCase


@given(st.integers(RENEWALS_LIMIT + 1, RENEWALS_LIMIT + 5))
def test_a_call_renews_a_bounded_number_of_leases(count: int) -> None:
    store = SimKeyValueStore().open("durable", tables.DURABLE_TABLES)
    with store.snapshot() as view, pytest.raises(InvalidRequest, match="at most"):
        renew(LeaseTable(), view, b"a" * 16, RenewLeases(tuple(range(count))), 0)


def test_a_writer_renews_often_enough_to_lose_calls_and_keep_its_lease() -> None:
    limits = Settings()
    assert RENEWALS_PER_SOFT_LIMIT >= 3
    assert limits.lease_soft_limit_ms < limits.lease_hard_limit_ms
    assert LEASES_PER_CALL <= RENEWALS_LIMIT
