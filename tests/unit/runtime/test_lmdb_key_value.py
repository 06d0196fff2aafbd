"""What is LMDB's own: cut and flipped files, closing under a copy, the map."""

import threading
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from dolmen.protocol.errors import DataDamaged
from dolmen.runtime.lmdb_key_value import GROWTH_BYTES, LmdbKeyValue, LmdbStore

TABLES = ("fruit",)


def filled(path: Path, count: int = 2000, size: int = 100) -> LmdbKeyValue:
    tables = LmdbStore().open(str(path), TABLES)
    transaction = tables.begin()
    for number in range(count):
        transaction.put("fruit", b"%08d" % number, b"x" * size)
    transaction.commit()
    return tables


def test_a_cut_file_is_damage_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    filled(tmp_path).close()
    data = tmp_path / "data.mdb"
    whole = data.read_bytes()
    for length in (1, 4095, 4096, 8191, 8192, 12288, 100_000, 200_000):
        data.write_bytes(whole[:length])
        with pytest.raises(DataDamaged):
            LmdbStore().open(str(tmp_path), TABLES)


def test_a_file_of_something_else_is_damage(tmp_path: Path) -> None:
    tmp_path.joinpath("data.mdb").write_bytes(b"no tables at all" * 1000)
    with pytest.raises(DataDamaged):
        LmdbStore().open(str(tmp_path), TABLES)


def test_the_file_stays_ahead_of_what_is_used_without_taking_space(tmp_path: Path) -> None:
    tables = filled(tmp_path, count=5000, size=4000)
    status = tmp_path.joinpath("data.mdb").stat()
    assert status.st_size >= tables.used_bytes() + GROWTH_BYTES // 2
    assert status.st_blocks * 512 < tables.used_bytes() + (1 << 20)
    tables.close()


def test_damage_of_a_killed_process_does_not_end_the_one_that_goes_on(tmp_path: Path) -> None:
    """Without the renewal some of these end in errors or end the process, late, as it writes."""
    path, random = tmp_path / "tables", Random(5)
    fill_in_rounds(path)
    killed = (path / "data.mdb").read_bytes()
    used = killed.rstrip(b"\0")
    outcomes = Counter[bool]()
    for number in range(24):
        damaged = bytearray(killed)
        for page in random.sample(range(2, len(used) // 4096 + 1), 1 + number % 8):
            garbage = bytes(4096) if number % 2 else random.randbytes(4096)
            damaged[page * 4096 : page * 4096 + 4096] = garbage
        (path / "data.mdb").write_bytes(damaged)
        try:
            outcomes[LmdbStore().renew(str(path), TABLES, 2 * len(killed))] += 1
            fill_in_rounds(path)
        except DataDamaged:
            outcomes[False] += 1
    assert set(outcomes) == {True, False}, outcomes


def fill_in_rounds(path: Path) -> None:
    """Leave many free pages behind, as a process does that is killed."""
    tables = LmdbStore().open(str(path), TABLES)
    for size in (50, 900, 10, 2000, 100):
        transaction = tables.begin()
        for number in range(0, 300, 1 + size % 7):
            transaction.put("fruit", b"%08d" % number, b"x" * size)
        transaction.commit()
    tables.close()


def test_what_is_large_or_missing_is_not_renewed_and_a_leftover_of_a_renewal_goes(
    tmp_path: Path,
) -> None:
    path, store = tmp_path / "tables", LmdbStore()
    assert not store.renew(str(path), TABLES, GROWTH_BYTES)
    filled(path).close()
    assert not store.renew(str(path), TABLES, 4096)
    filled(tmp_path / "tables.renewed", count=1).close()
    assert store.renew(str(path), TABLES, GROWTH_BYTES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tables"]
    renewed = store.open(str(path), TABLES)
    with renewed.snapshot() as view:
        assert view.count("fruit") == 2000
    renewed.close()


def test_any_flipped_bit_in_a_copy_is_found_before_it_is_used(tmp_path: Path) -> None:
    tables = filled(tmp_path / "source", count=50)
    tables.copy(str(tmp_path / "copy"))
    tables.close()
    data = tmp_path / "copy" / "data.mdb"
    whole = data.read_bytes()
    for place in range(0, len(whole), 977):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        data.write_bytes(flipped)
        with pytest.raises(DataDamaged):
            LmdbStore().open(str(tmp_path / "copy"), TABLES, read_only=True)
    for length in (0, 1, len(whole) - 1):
        data.write_bytes(whole[:length])
        with pytest.raises(DataDamaged):
            LmdbStore().open(str(tmp_path / "copy"), TABLES)
    data.write_bytes(whole)
    LmdbStore().open(str(tmp_path / "copy"), TABLES, read_only=True).close()


def test_any_flipped_bit_since_a_close_after_a_sync_is_found_before_the_file_is_used(
    tmp_path: Path,
) -> None:
    tables = filled(tmp_path, count=50)
    tables.sync()
    tables.close()
    data = tmp_path / "data.mdb"
    whole = data.read_bytes()
    for place in range(0, 40_960, 977):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        data.write_bytes(flipped)
        with pytest.raises(DataDamaged):
            LmdbStore().open(str(tmp_path), TABLES)
    data.write_bytes(whole)
    LmdbStore().open(str(tmp_path), TABLES).close()


def test_what_is_written_after_a_sync_does_not_count_as_damage(tmp_path: Path) -> None:
    tables = filled(tmp_path, count=50)
    tables.sync()
    for key in (b"after the sync", b"after the next opening"):
        transaction = tables.begin()
        transaction.put("fruit", key, b"")
        transaction.commit()
        tables.close()
        tables = LmdbStore().open(str(tmp_path), TABLES)
        tables.sync()
    with tables.snapshot() as view:
        assert view.get("fruit", b"after the next opening") == b""
    tables.close()


def test_closing_under_a_copy_ends_the_copy(tmp_path: Path) -> None:
    tables = filled(tmp_path / "source", count=100_000)
    began = threading.Event()
    endings: list[BaseException] = []

    def copy() -> None:
        began.set()
        try:
            tables.copy(str(tmp_path / "copy"))
        except DataDamaged as error:
            endings.append(error)

    thread = threading.Thread(target=copy)
    thread.start()
    began.wait()
    tables.close()
    thread.join()
    assert "closed while it was copied" in str(endings[0])
    LmdbStore().open(str(tmp_path / "source"), TABLES).close()


def test_a_copy_made_while_the_writer_goes_on_is_one_state(tmp_path: Path) -> None:
    tables = filled(tmp_path / "source", count=50_000)
    copied: list[dict[str, int]] = []
    thread = threading.Thread(
        target=lambda: copied.append(tables.copy(str(tmp_path / "copy")).counts)
    )
    thread.start()
    for number in range(200):
        transaction = tables.begin()
        for place in range(100):
            transaction.put("fruit", b"new %d %d" % (number, place), b"")
        transaction.commit()
    thread.join()
    assert 50_000 <= copied[0]["fruit"] <= 70_000
    assert copied[0]["fruit"] % 100 == 0
    tables.close()


def test_a_full_map_is_an_error_with_the_errno_of_a_full_disk(tmp_path: Path) -> None:
    tables = LmdbStore(map_size_bytes=1 << 20).open(str(tmp_path), TABLES)
    transaction = tables.begin()
    with pytest.raises(OSError, match="MAP_FULL"):
        transaction.put("fruit", b"apple", b"x" * (2 << 20))
    transaction.abort()
    assert tables.used_fraction() < 1
    tables.close()
