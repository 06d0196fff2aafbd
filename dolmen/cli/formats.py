"""How sizes, times, modes and paths look to a person, and entries to a program."""

import stat
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from dolmen.protocol.client_messages import EntryKind, FileInfo

UNITS = ("K", "M", "G", "T", "P", "E")


def human_size(size_bytes: int) -> str:
    """`999`, `1.5K`, `12M`: at most four characters, powers of 1024, as `ls -h` has it."""
    if size_bytes < 1024:
        return str(size_bytes)
    value = float(size_bytes)
    for unit in UNITS:
        value /= 1024
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return f"{value:.0f}{UNITS[-1]}"


def size_text(size_bytes: int, human: bool) -> str:
    return human_size(size_bytes) if human else str(size_bytes)


def local_time(moment_ms: int) -> str:
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M")


def iso_time(moment_ms: int) -> str:
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def mode_text(info: FileInfo) -> str:
    """`-rw-r--r--` or `drwxr-xr-x`."""
    kind = stat.S_IFDIR if info.kind is EntryKind.DIRECTORY else stat.S_IFREG
    return stat.filemode(kind | info.mode)


def printable(text: str) -> str:
    """`text`, on a terminal without the control characters that would steer it."""
    if not sys.stdout.isatty():
        return text
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def entry_document(info: FileInfo, path: str) -> dict[str, Any]:
    """An entry for programs; what a directory does not have is left out."""
    document: dict[str, Any] = {
        "path": path,
        "type": "directory" if info.kind is EntryKind.DIRECTORY else "file",
        "length_bytes": info.length_bytes,
        "mode": f"{info.mode:04o}",
        "owner": info.owner,
        "group": info.group,
        "modified": iso_time(info.modified_ms),
        "created": iso_time(info.created_ms),
        "inode_id": info.inode_id,
    }
    if info.kind is EntryKind.FILE:
        document |= {
            "replication": info.replication,
            "block_size_bytes": info.block_size_bytes,
            "checksum": info.content_hash.hex() or None,
        }
    return document


def table(rows: Iterable[tuple[str, ...]], left: frozenset[int] = frozenset()) -> list[str]:
    """Columns as wide as their widest cell, to the right except those in `left` and the last."""
    cells = list(rows)
    if not cells:
        return []
    last = len(cells[0]) - 1
    widths = [max(len(row[column]) for row in cells) for column in range(last)]
    return [
        "  ".join(
            [
                row[column].ljust(width) if column in left else row[column].rjust(width)
                for column, width in enumerate(widths)
            ]
            + [row[last]]
        )
        for row in cells
    ]
