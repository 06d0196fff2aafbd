"""The log of a server: one line an event, in files of bounded size."""

import logging
import os
import re
import sys
from pathlib import Path

import pytest

from dolmen.cli.daemon_log import OneLineFormatter, file_handler
from dolmen.cli.log_files import STDERR_BYTES, last_lines, last_log_of, log_of, stderr_of
from dolmen.protocol.errors import StartRefused


def record(message: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("datanode.x", logging.WARNING, __file__, 1, message, values, None)


def test_a_line_has_time_level_who_and_what() -> None:
    line = OneLineFormatter().format(record("block %016x is damaged", 26))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING datanode\.x"
        r" block 000000000000001a is damaged",
        line,
    )


def test_nothing_that_is_logged_breaks_its_line() -> None:
    event = record("name %s", "a\n2026 ERROR\r\x1b[31m\x85b\u2028 é\udcff")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        event.exc_info = sys.exc_info()
    line = OneLineFormatter().format(event)
    assert line.isprintable()
    assert "é" in line
    assert line.endswith("ValueError: two | lines")


def test_the_files_of_a_log_are_bounded_and_the_last_lines_are_kept(tmp_path: Path) -> None:
    handler = file_handler(tmp_path / "x.log", file_bytes=1000, files_kept=2)
    handler.setFormatter(OneLineFormatter())
    for number in range(1000):
        handler.emit(record("event %d \udcff", number))
    handler.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["x.log", "x.log.1", "x.log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert "event 999 " in last_lines(tmp_path / "x.log")[-1]


def test_a_log_that_cannot_be_written_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match=r"nowhere/x\.log: No such file or directory"):
        file_handler(tmp_path / "nowhere" / "x.log")


def test_the_file_that_was_written_last_tells_why_a_process_ended(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = log_of(tmp_path, "datanode", 1)
    stderr = stderr_of(tmp_path, "datanode", 1)
    assert last_lines(last_log_of(tmp_path, "datanode", 1)) == []
    log.write_text("an event\n")
    stderr.write_text("")
    assert last_log_of(tmp_path, "datanode", 1) == log
    stderr.write_text("Fatal Python error: Segmentation fault\n")
    later = log.stat().st_mtime_ns + 1
    os.utime(stderr, ns=(later, later))
    assert last_log_of(tmp_path, "datanode", 1) == stderr


def test_what_crashes_said_is_kept_within_limits(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    stderr = stderr_of(tmp_path, "namenode", 0)
    stderr.write_bytes(bytes(STDERR_BYTES + 1))
    assert stderr_of(tmp_path, "namenode", 0) == stderr
    assert not stderr.exists()
    assert stderr.with_name("namenode.stderr.log.1").stat().st_size == STDERR_BYTES + 1
