"""What every `KeyValueStore` does, the real one and the simulated one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmen.protocol.errors import DataDamaged
from dolmen.runtime.key_value import KeyValue, KeyValueStore, fingerprint_of
from dolmen.runtime.lmdb_key_value import LmdbStore
from dolmen.simulation.sim_key_value import SimKeyValueStore

TABLES = ("fruit", "trees")
STORES: dict[str, Callable[[], KeyValueStore]] = {"lmdb": LmdbStore, "sim": SimKeyValueStore}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> KeyValueStore:
    return STORES[request.param]()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "environment")


@pytest.fixture
def tables(store: KeyValueStore, path: str) -> Iterator[KeyValue]:
    opened = store.open(path, TABLES)
    yield opened
    opened.close()


def put(tables: KeyValue, **records: bytes) -> None:
    transaction = tables.begin()
    for key, value in records.items():
        transaction.put("fruit", key.encode(), value)
    transaction.commit()


def keys(tables: KeyValue, start: bytes = b"") -> list[bytes]:
    with tables.snapshot() as view:
        return [key for key, _ in view.scan("fruit", start)]


def test_a_committed_record_is_read_by_snapshots_begun_from_then_on(tables: KeyValue) -> None:
    with tables.snapshot() as before:
        put(tables, apple=b"1")
        assert before.get("fruit", b"apple") is None
        assert list(before.scan("fruit")) == []
        assert before.count("fruit") == 0
    with tables.snapshot() as after:
        assert after.get("fruit", b"apple") == b"1"
        assert after.get("trees", b"apple") is None
        assert after.count("fruit") == 1


def test_an_old_snapshot_keeps_what_later_commits_change_and_delete(tables: KeyValue) -> None:
    put(tables, apple=b"1", pear=b"1")
    with tables.snapshot() as before:
        transaction = tables.begin()
        transaction.put("fruit", b"apple", b"2")
        transaction.delete("fruit", b"pear")
        transaction.commit()
        assert list(before.scan("fruit")) == [(b"apple", b"1"), (b"pear", b"1")]


def test_the_writer_sees_its_own_changes_and_nobody_else_does(tables: KeyValue) -> None:
    put(tables, apple=b"1", cherry=b"1")
    transaction = tables.begin()
    transaction.put("fruit", b"banana", b"2")
    assert transaction.delete("fruit", b"apple")
    assert not transaction.delete("fruit", b"apple")
    assert list(transaction.scan("fruit")) == [(b"banana", b"2"), (b"cherry", b"1")]
    assert transaction.get("fruit", b"apple") is None
    assert transaction.count("fruit") == 2
    assert keys(tables) == [b"apple", b"cherry"]
    transaction.abort()
    assert keys(tables) == [b"apple", b"cherry"]


def test_abort_is_harmless_after_commit_and_abort(tables: KeyValue) -> None:
    transaction = tables.begin()
    transaction.put("fruit", b"apple", b"1")
    transaction.commit()
    transaction.abort()
    transaction.abort()
    put(tables, pear=b"1")
    assert keys(tables) == [b"apple", b"pear"]


def test_a_scan_starts_at_the_first_key_not_below_its_start(tables: KeyValue) -> None:
    put(tables, a=b"", b=b"", bb=b"", c=b"")
    assert keys(tables, b"b") == [b"b", b"bb", b"c"]
    assert keys(tables, b"ba") == [b"bb", b"c"]
    assert keys(tables, b"d") == []


@pytest.mark.parametrize("key", [b"", b"x" * 512])
def test_a_key_has_1_to_511_bytes(tables: KeyValue, key: bytes) -> None:
    transaction = tables.begin()
    with pytest.raises(ValueError, match="1 to 511 bytes"):
        transaction.put("fruit", key, b"")
    transaction.put("fruit", b"x" * 511, b"")
    transaction.commit()
    assert keys(tables) == [b"x" * 511]


def test_commits_outlive_the_process_and_open_transactions_do_not(
    store: KeyValueStore, path: str
) -> None:
    tables = store.open(path, TABLES)
    put(tables, apple=b"1")
    tables.begin().put("fruit", b"pear", b"1")
    tables.close()
    tables.close()
    again = store.open(path, TABLES)
    assert keys(again) == [b"apple"]
    put(again, fig=b"1")
    assert keys(again) == [b"apple", b"fig"]
    again.close()


def test_a_removed_environment_is_made_anew(store: KeyValueStore, path: str) -> None:
    tables = store.open(path, TABLES)
    put(tables, apple=b"1")
    tables.close()
    store.remove(path)
    store.remove(path)
    with pytest.raises(DataDamaged):
        store.open(path, TABLES, read_only=True)
    tables = store.open(path, TABLES)
    assert keys(tables) == []
    tables.close()


def test_a_copy_is_the_committed_state_with_its_fingerprint(
    store: KeyValueStore, tables: KeyValue, path: str
) -> None:
    put(tables, **{f"key{number}": b"x" * number for number in range(1200)})
    writer = tables.begin()
    writer.put("fruit", b"uncommitted", b"")
    fingerprint = tables.copy(path + "-copy")
    assert fingerprint.counts == {"fruit": 1200, "trees": 0}
    copy = store.open(path + "-copy", TABLES, read_only=True)
    with copy.snapshot() as view, tables.snapshot() as source:
        assert fingerprint_of(view, TABLES) == fingerprint
        assert list(view.scan("fruit")) == list(source.scan("fruit"))
    copy.close()
    writer.commit()
    writable = store.open(path + "-copy", TABLES)
    put(writable, fig=b"1")
    with writable.snapshot() as view:
        assert fingerprint_of(view, TABLES) != fingerprint
    writable.close()
    with pytest.raises(FileExistsError):
        tables.copy(path + "-copy")


def test_a_closed_environment_is_not_copied(tables: KeyValue, path: str) -> None:
    tables.close()
    with pytest.raises((DataDamaged, OSError)):
        tables.copy(path + "-copy")


def test_use_grows_with_the_records(tables: KeyValue) -> None:
    before = tables.used_bytes(), tables.used_fraction()
    put(tables, **{f"key{number}": b"x" * 1000 for number in range(500)})
    tables.sync()
    assert tables.used_bytes() >= before[0] + 500_000
    assert before[1] < tables.used_fraction() < 1


KEYS = st.binary(min_size=1, max_size=3)
CHANGES = st.lists(st.tuples(KEYS, st.one_of(st.none(), st.binary(max_size=9))), max_size=12)


@given(batches=st.lists(st.tuples(CHANGES, st.booleans()), max_size=8), start=st.binary(max_size=3))
def test_the_simulated_tables_answer_as_lmdb_does(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[list[tuple[bytes, bytes | None]], bool]],
    start: bytes,
) -> None:
    path = str(tmp_path_factory.mktemp("pair") / "environment")
    pair = [opened().open(path, TABLES) for opened in STORES.values()]
    for changes, commits in batches:
        writers = [tables.begin() for tables in pair]
        for key, value in changes:
            if value is None:
                first, second = (writer.delete("fruit", key) for writer in writers)
                assert first == second
            else:
                for writer in writers:
                    writer.put("fruit", key, value)
            first_scan, second_scan = (list(writer.scan("fruit", start)) for writer in writers)
            assert first_scan == second_scan
            assert writers[0].count("fruit") == writers[1].count("fruit")
        for writer in writers:
            writer.commit() if commits else writer.abort()
    prints = []
    for tables in pair:
        with tables.snapshot() as view:
            prints.append(fingerprint_of(view, TABLES))
        tables.close()
    assert prints[0] == prints[1]
