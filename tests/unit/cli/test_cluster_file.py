"""cluster.toml: what it says, and whose directory it is."""

import threading
from pathlib import Path

import pytest

from dolmen.cli.cluster_file import (
    FILE_NAME,
    NEW_FILE_NAME,
    Cluster,
    Member,
    is_empty,
    locked,
    read_cluster,
    write_cluster,
)
from dolmen.cli.processes import Process
from dolmen.protocol.errors import StartRefused

CLUSTER = Cluster(
    Member(9870, Process(17, 12345, "boot")),
    [Member(20001, Process(18, 12399, "boot")), Member(20002)],
    {"block_size": "4MiB", "dead_after": "3s"},
    "c0ffee",
)


def test_a_cluster_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_cluster(tmp_path, CLUSTER)
    assert read_cluster(tmp_path) == CLUSTER
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_an_empty_or_missing_directory_holds_no_cluster(tmp_path: Path) -> None:
    assert read_cluster(tmp_path) is None
    assert read_cluster(tmp_path / "missing") is None


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("[tool]\nname = 'other'\n")
    with pytest.raises(StartRefused, match="not a file of dolmen up"):
        read_cluster(tmp_path)


def test_a_newer_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    write_cluster(tmp_path, CLUSTER)
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace("format_version = 1", "format_version = 2"))
    with pytest.raises(StartRefused, match="use the Dolmen that made it"):
        read_cluster(tmp_path)


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe", b""])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(StartRefused):
        read_cluster(tmp_path)


def test_a_start_that_was_interrupted_leaves_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / NEW_FILE_NAME).write_text("half")
    assert is_empty(tmp_path)
    (tmp_path / "letters").mkdir()
    assert not is_empty(tmp_path)
    assert is_empty(tmp_path / "missing")


def test_one_at_a_time_changes_a_cluster(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with locked(tmp_path):
            order.append("second")

    with locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
