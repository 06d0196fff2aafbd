"""What is known of a file or directory, as the dictionaries that fsspec's users read."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from dolmen.protocol.client_messages import EntryKind, FileInfo
from fsspec_plugin.paths import AskedPath

Entry = dict[str, Any]


def describe(info: FileInfo, asked: AskedPath) -> Entry:
    """Return a new dictionary about `info`, its name in the form of the question."""
    is_file = info.kind == EntryKind.FILE
    return {
        "name": asked.answer(info.path),
        "size": info.length_bytes if is_file else 0,
        "type": "file" if is_file else "directory",
        "mtime": info.modified_ms / 1000,
        "created": info.created_ms / 1000,
        "mode": info.mode,
        "owner": info.owner,
        "group": info.group,
        "replication": info.replication,
        "block_size": info.block_size_bytes,
        "ino": info.inode_id,
        "file_id": info.inode_id,
        "generation": info.changed_txid,
        "checksum": info.content_hash.hex() or None,
        "nlink": 1,
    }


def version_key(cluster_id: str, entry: Entry) -> str:
    """Return a name for this version of the file: another one after any change."""
    return f"{cluster_id}-{entry['file_id']}-{entry['generation']}"


def version_number(key: str) -> int:
    """Return `key` as a number."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest())


def moment(seconds: float) -> datetime:
    """Return a time since the epoch as a datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
