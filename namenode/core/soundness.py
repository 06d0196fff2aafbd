"""Whether every record of the tables is whole and stands where it belongs.

Values carry checksums; keys, and the few values that are only a key, do not. A key that rots
unnoticed is the worst damage: a block that is not found under its number counts as deleted, and its
replicas as in excess. So each key is compared with what the records say of themselves.
"""

from collections.abc import Callable
from typing import Any

from dolmen.protocol.errors import DataDamaged
from namenode.core import records, tables
from namenode.core.tables import View

DECODERS: dict[str, Callable[[bytes], Any]] = {
    tables.META: records.META_RECORD.decode,
    tables.ENTRIES: records.ENTRY.decode,
    tables.INODES: records.INODE.decode,
    tables.FILE_BLOCKS: bytes,
    tables.BLOCKS: records.BLOCK.decode,
    tables.LEASES: records.LEASE.decode,
    tables.ANSWERS: records.ANSWERS.decode,
    tables.DATANODES: records.DATANODE.decode,
    tables.STORAGES: records.STORAGE.decode,
}


def check_records(view: View) -> None:
    """Read every record; DataDamaged if one is not whole, or is where another one belongs."""
    for table, decode in DECODERS.items():
        belongs = KEYS.get(table)
        for key, value in view.scan(table):
            record = decode(value)
            if belongs is not None and belongs(view, record) != key:
                raise DataDamaged(f"a key of the namespace ({table}) is not that of its record")


def _key_of_entry(view: View, entry: records.Entry) -> bytes | None:
    value = view.get(tables.INODES, tables.number_key(entry.inode_id))
    if value is None:
        return None
    inode = records.INODE.decode(value)
    return tables.entry_key(inode.parent_id, inode.name)


def _key_of_file_block(view: View, block_key: bytes) -> bytes | None:
    value = view.get(tables.BLOCKS, block_key)
    if value is None:
        return None
    block = records.BLOCK.decode(value)
    return tables.file_block_key(block.inode_id, block.index)


KEYS: dict[str, Callable[[View, Any], bytes | None]] = {
    tables.META: lambda _, record: records.META_KEY,
    tables.ENTRIES: _key_of_entry,
    tables.INODES: lambda _, inode: tables.number_key(inode.inode_id),
    tables.FILE_BLOCKS: _key_of_file_block,
    tables.BLOCKS: lambda _, block: tables.number_key(block.block_id),
    tables.LEASES: lambda _, lease: tables.number_key(lease.inode_id),
    tables.DATANODES: lambda _, datanode: datanode.datanode_id.encode(),
    tables.STORAGES: lambda _, storage: storage.storage_id.encode(),
}
"""Under which key a record belongs, if it says so itself."""
