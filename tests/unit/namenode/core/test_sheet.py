"""A sheet is a transaction like any other, whichever way it is looked at."""

import pytest

from dolmen.simulation.sim_key_value import SimKeyValueStore
from namenode.core import tables
from namenode.core.records import ENTRY, Entry
from namenode.core.sheet import ENTRIES, Sheet, find_record
from namenode.core.tables import Writer

KEY, OTHER = tables.entry_key(1, "a"), tables.entry_key(1, "b")
FIRST, SECOND = Entry(7, 1), Entry(8, 2)


@pytest.fixture
def transaction() -> Writer:
    key_value = SimKeyValueStore().open("/tables", tables.DURABLE_TABLES)
    return key_value.begin()


def test_a_record_is_found_as_it_was_last_set_and_written_when_it_is_written_out(
    transaction: Writer,
) -> None:
    sheet = Sheet(transaction)
    sheet.set(ENTRIES, KEY, FIRST)
    sheet.set(ENTRIES, KEY, SECOND)
    assert find_record(sheet, ENTRIES, KEY) == SECOND
    assert transaction.get(tables.ENTRIES, KEY) is None
    sheet.write_out()
    assert find_record(transaction, ENTRIES, KEY) == SECOND


def test_a_record_that_was_removed_is_gone_for_all(transaction: Writer) -> None:
    transaction.put(tables.ENTRIES, KEY, ENTRY.encode(FIRST))
    sheet = Sheet(transaction)
    assert sheet.find(ENTRIES, KEY) == FIRST
    sheet.set(ENTRIES, KEY, None)
    assert sheet.find(ENTRIES, KEY) is None
    assert sheet.get(tables.ENTRIES, KEY) is None
    assert list(transaction.scan(tables.ENTRIES)) == []


def test_scans_counts_and_bytes_have_what_was_set(transaction: Writer) -> None:
    sheet = Sheet(transaction)
    sheet.set(ENTRIES, OTHER, SECOND)
    sheet.set(ENTRIES, KEY, FIRST)
    assert sheet.count(tables.ENTRIES) == 2
    sheet.set(ENTRIES, KEY, SECOND)
    assert [key for key, _ in sheet.scan(tables.ENTRIES)] == [KEY, OTHER]
    assert sheet.get(tables.ENTRIES, KEY) == ENTRY.encode(SECOND)


def test_records_have_what_was_put_as_bytes(transaction: Writer) -> None:
    sheet = Sheet(transaction)
    sheet.set(ENTRIES, KEY, FIRST)
    sheet.set(ENTRIES, OTHER, FIRST)
    sheet.put(tables.ENTRIES, KEY, ENTRY.encode(SECOND))
    assert sheet.find(ENTRIES, KEY) == SECOND
    assert sheet.find(ENTRIES, OTHER) == FIRST
    assert sheet.delete(tables.ENTRIES, OTHER)
    assert sheet.find(ENTRIES, OTHER) is None
