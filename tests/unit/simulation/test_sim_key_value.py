"""What a simulated machine does to its tables."""

import pytest

from dolmen.protocol.errors import DataDamaged
from dolmen.simulation.sim_key_value import SimKeyValue, SimKeyValueStore

TABLES = ("fruit",)


def put(tables: SimKeyValue, key: bytes) -> None:
    transaction = tables.begin()
    transaction.put("fruit", key, b"")
    transaction.commit()


def test_power_loss_leaves_garbage_where_a_commit_was_not_synced() -> None:
    store = SimKeyValueStore()
    synced, unsynced = store.open("/a", TABLES), store.open("/b", TABLES)
    put(synced, b"apple")
    synced.sync()
    put(unsynced, b"apple")
    unsynced.sync()
    put(unsynced, b"pear")
    unsynced.copy("/c")
    store.lose_power()
    with store.open("/a", TABLES).snapshot() as view:
        assert view.get("fruit", b"apple") == b""
    with pytest.raises(DataDamaged):
        store.open("/b", TABLES)
    with store.open("/c", TABLES, read_only=True).snapshot() as view:
        assert view.count("fruit") == 2
    store.remove("/b")
    with store.open("/b", TABLES).snapshot() as view:
        assert view.count("fruit") == 0


def test_a_transaction_of_a_dead_process_changes_nothing() -> None:
    store = SimKeyValueStore()
    tables = store.open("/a", TABLES)
    transaction = tables.begin()
    transaction.put("fruit", b"apple", b"")
    tables.close()
    with pytest.raises(OSError, match="closed"):
        transaction.commit()
    with store.open("/a", TABLES).snapshot() as view:
        assert view.count("fruit") == 0


def test_misuse_is_refused() -> None:
    store = SimKeyValueStore()
    tables = store.open("/a", TABLES)
    tables.begin()
    with pytest.raises(RuntimeError):
        tables.begin()
    with pytest.raises(RuntimeError):
        store.open("/a", TABLES)
    with pytest.raises(OSError, match="read-only"):
        store.open("/a", TABLES, read_only=True).begin()
