"""Sizes, times and tables as people see them."""

import pytest

from dolmen.cli.formats import entry_document, human_size, iso_time, mode_text, table
from dolmen.protocol.client_messages import EntryKind, FileInfo


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0K"),
        (1536, "1.5K"),
        (10 * 1024 - 1, "10K"),
        (1024 * 1024 - 1, "1.0M"),
        (4 << 20, "4.0M"),
        (128 << 20, "128M"),
        (5 << 50, "5.0P"),
        (1 << 70, "1024E"),
    ],
)
def test_a_size_is_short_for_people(size: int, text: str) -> None:
    assert human_size(size) == text


def test_a_mode_looks_as_in_ls() -> None:
    file = FileInfo("/f", 1, EntryKind.FILE, 5, 0o640, "o", "g", 0, 0)
    directory = FileInfo("/d", 1, EntryKind.DIRECTORY, 0, 0o755, "o", "g", 0, 0)
    assert mode_text(file) == "-rw-r-----"
    assert mode_text(directory) == "drwxr-xr-x"


def test_columns_are_as_wide_as_their_widest_cell_and_the_last_is_not_padded() -> None:
    assert table([("a", "1", "x"), ("bb", "22", "yy")], left=frozenset({0})) == [
        "a    1  x",
        "bb  22  yy",
    ]
    assert table([]) == []


def test_an_entry_for_programs_has_no_checksum_where_none_is_known() -> None:
    info = FileInfo("/f", 7, EntryKind.FILE, 5, 0o644, "o", "g", 1500, 500, 3, 65536)
    document = entry_document(info, "dolmen://h:1/f")
    assert document["path"] == "dolmen://h:1/f"
    assert document["mode"] == "0644"
    assert document["modified"] == "1970-01-01T00:00:01.500Z"
    assert document["checksum"] is None


def test_a_directory_has_nothing_of_a_file() -> None:
    info = FileInfo("/d", 7, EntryKind.DIRECTORY, 0, 0o755, "o", "g", 0, 0)
    assert not {"replication", "checksum"} & set(entry_document(info, "/d"))


def test_time_is_written_in_utc() -> None:
    assert iso_time(0) == "1970-01-01T00:00:00.000Z"
