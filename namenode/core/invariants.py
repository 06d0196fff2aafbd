"""What always holds between the durable tables, checked by reading all of them.

Tests run it after each step. Every record that names another one is followed, in both directions,
and the counters are counted again; whatever does not fit is told in one message.
"""

from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

from dolmen.protocol.checksums import content_hash
from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import DataDamaged
from dolmen.protocol.identifiers import ROOT_INODE_ID, block_number, format_block_id
from namenode.core import tables
from namenode.core.files import BLOCK_SIZE_LIMIT_BYTES
from namenode.core.lookup import load_meta
from namenode.core.records import (
    ANSWERS,
    BLOCK,
    CONTENT,
    DATANODE,
    ENTRY,
    INODE,
    LEASE,
    STORAGE,
    Block,
    BlockState,
    Codec,
    Inode,
    Meta,
    Record,
)
from namenode.core.tables import View

PROBLEMS_TOLD = 20

R = TypeVar("R", bound=Record)


def check_invariants(view: View) -> None:
    """Raise DataDamaged, saying what is wrong, unless the tables fit together."""
    problems = _Checker(view).problems()
    told = [problem for problem, _ in zip(problems, range(PROBLEMS_TOLD), strict=False)]
    if told:
        raise DataDamaged("the namespace is not sound:\n  " + "\n  ".join(told))


def _records(view: View, table: str, codec: Codec[R]) -> dict[int, R]:
    return {tables.read_number(key): codec.decode(value) for key, value in view.scan(table)}


class _Checker:
    """All tables, decoded, and what is wrong with them."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._meta: Meta = load_meta(view)
        self._inodes = _records(view, tables.INODES, INODE)
        self._blocks = _records(view, tables.BLOCKS, BLOCK)
        self._leases = _records(view, tables.LEASES, LEASE)
        self._entries = {
            tables.split_entry_key(key): ENTRY.decode(value).inode_id
            for key, value in view.scan(tables.ENTRIES)
        }
        self._children = Counter(parent_id for parent_id, _ in self._entries)
        self._detached = {tables.read_number(key) for key, _ in view.scan(tables.DETACHED)}
        self._doomed = {
            tables.read_number(key[8:]): tables.read_number(key[:8])
            for key, _ in view.scan(tables.DOOMED)
        }

    def problems(self) -> Iterator[str]:
        yield from self._entry_problems()
        for inode_id, inode in self._inodes.items():
            if inode_id != inode.inode_id:
                yield f"inode {inode_id} is stored as {inode.inode_id}"
            if inode.kind == EntryKind.DIRECTORY:
                yield from self._directory_problems(inode)
            else:
                yield from self._file_problems(inode)
        yield from self._draft_problems()
        yield from self._hash_problems()
        yield from self._reference_problems()
        yield from self._block_problems()
        yield from self._content_problems()
        yield from self._counter_problems()
        yield from self._answered_problems()
        yield from self._member_problems()

    def _entry_problems(self) -> Iterator[str]:
        for (parent_id, name), inode_id in self._entries.items():
            parent, inode = self._inodes.get(parent_id), self._inodes.get(inode_id)
            where = f"entry {name!r} of directory {parent_id}"
            if parent is None or parent.kind != EntryKind.DIRECTORY:
                yield f"{where}: there is no such directory"
            if inode is None:
                yield f"{where}: inode {inode_id} does not exist"
            elif (inode.parent_id, inode.name) != (parent_id, name):
                yield f"{where}: inode {inode_id} says {inode.name!r} of {inode.parent_id}"

    def _directory_problems(self, inode: Inode) -> Iterator[str]:
        where = f"directory {inode.inode_id} ({inode.name!r})"
        count = self._children[inode.inode_id]
        if inode.entry_count != count:
            yield f"{where} counts {inode.entry_count} entries and has {count}"
        if inode.doomed_due_ms or inode.block_count or inode.published:
            yield f"{where} looks like a file"
        if inode.inode_id == ROOT_INODE_ID or inode.inode_id in self._detached:
            if inode.parent_id:
                yield f"{where} stands at the top and has the parent {inode.parent_id}"
            return
        if self._entries.get((inode.parent_id, inode.name)) != inode.inode_id:
            yield f"{where} is in no directory and not detached"
        if not self._is_below_a_top(inode):
            yield f"{where} is below itself"

    def _is_below_a_top(self, inode: Inode) -> bool:
        seen: set[int] = set()
        at: Inode | None = inode
        while at is not None and at.parent_id and at.inode_id not in seen:
            seen.add(at.inode_id)
            at = self._inodes.get(at.parent_id)
        return at is not None and at.inode_id not in seen

    def _file_problems(self, inode: Inode) -> Iterator[str]:
        where = f"file {inode.inode_id} ({inode.name!r})"
        placed = self._entries.get((inode.parent_id, inode.name)) == inode.inode_id
        leased = inode.inode_id in self._leases
        doomed = inode.inode_id in self._doomed
        if placed != (inode.published and not doomed):
            yield f"{where}: published {inode.published}, doomed {doomed}, placed {placed}"
        if leased != (not inode.published and not doomed):
            yield f"{where}: published {inode.published}, doomed {doomed}, lease {leased}"
        if doomed != (inode.doomed_due_ms > 0) or (
            doomed and self._doomed[inode.inode_id] != inode.doomed_due_ms
        ):
            yield f"{where}: due at {inode.doomed_due_ms}, doomed {doomed}"
        if inode.parent_id and not placed:
            yield f"{where} says it stands in {inode.parent_id} and does not"

    def _draft_problems(self) -> Iterator[str]:
        drafts = {
            lease.target_id: inode_id
            for inode_id, lease in self._leases.items()
            if lease.target_id in self._inodes
        }
        named = {inode_id: inode.draft_id for inode_id, inode in self._inodes.items()}
        for inode_id in sorted(drafts.keys() | {i for i, draft_id in named.items() if draft_id}):
            if drafts.get(inode_id) != named[inode_id]:
                yield (
                    f"inode {inode_id} names the draft {named[inode_id]}, and"
                    f" {drafts.get(inode_id)} is its draft"
                )

    def _hash_problems(self) -> Iterator[str]:
        noted = {tables.read_number(key) for key, _ in self._view.scan(tables.UNHASHED)}
        lacking = {inode_id for inode_id, inode in self._inodes.items() if inode.lacks_hash}
        for inode_id in sorted(noted ^ lacking):
            yield (
                f"inode {inode_id}: lacks its hash {inode_id in lacking},"
                f" is noted for that {inode_id in noted}"
            )

    def _reference_problems(self) -> Iterator[str]:
        for inode_id in sorted(self._detached - self._inodes.keys()):
            yield f"detached directory {inode_id} does not exist"
        for inode_id in sorted(self._doomed.keys() - self._inodes.keys()):
            yield f"doomed file {inode_id} does not exist"
        for inode_id in sorted(self._leases.keys() - self._inodes.keys()):
            yield f"there is a lease on inode {inode_id}, which does not exist"

    def _block_problems(self) -> Iterator[str]:
        listed: dict[int, list[Block]] = {}
        named: set[int] = set()
        for key, value in self._view.scan(tables.FILE_BLOCKS):
            inode_id, index = tables.read_number(key[:8]), int.from_bytes(key[8:])
            block_id = tables.read_number(value)
            block = self._blocks.get(block_id)
            named.add(block_id)
            if block is None or (block.inode_id, block.index) != (inode_id, index):
                yield f"block {index} of inode {inode_id} should be {format_block_id(block_id)}"
                continue
            listed.setdefault(inode_id, []).append(block)
        for block_id in sorted(self._blocks.keys() - named):
            yield f"block {format_block_id(block_id)} is in no file"
        for inode_id in sorted(listed.keys() - self._inodes.keys()):
            yield f"inode {inode_id} has blocks and does not exist"
        for inode in self._inodes.values():
            yield from self._blocks_of_file_problems(inode, listed.get(inode.inode_id, []))

    def _blocks_of_file_problems(self, inode: Inode, blocks: list[Block]) -> Iterator[str]:
        where = f"file {inode.inode_id} ({inode.name!r})"
        if [block.index for block in blocks] != list(range(inode.block_count)):
            yield f"{where} counts {inode.block_count} blocks and has {len(blocks)}"
        offset_bytes = 0
        for block in blocks:
            committed = block.state == BlockState.COMMITTED
            if not committed and (inode.published or block.index + 1 < inode.block_count):
                yield f"{where}: block {block.index} was never committed"
            if committed != (0 < block.length_bytes <= BLOCK_SIZE_LIMIT_BYTES):
                yield f"{where}: block {block.index} has {block.length_bytes} bytes"
            if block.offset_bytes != offset_bytes:
                yield f"{where}: block {block.index} starts at {block.offset_bytes}"
            if not block.stamp < self._meta.next_stamp > block.issued_stamp:
                yield f"{where}: block {block.index} has a stamp from the future"
            if block_number(block.block_id) >= self._meta.next_block_number:
                yield f"{where}: block {block.index} has a number from the future"
            offset_bytes += block.length_bytes
        whole = inode.doomed_due_ms or inode.is_inline
        if not whole and inode.length_bytes != offset_bytes:
            yield f"{where} has {inode.length_bytes} bytes, its blocks {offset_bytes}"

    def _content_problems(self) -> Iterator[str]:
        inline = {inode_id: inode for inode_id, inode in self._inodes.items() if inode.is_inline}
        contents = _records(self._view, tables.CONTENTS, CONTENT)
        for inode_id in sorted(inline.keys() ^ contents.keys()):
            kept, wanted = inode_id in contents, inode_id in inline
            yield f"inode {inode_id}: a content is kept {kept}, and should be {wanted}"
        for inode_id in sorted(inline.keys() & contents.keys()):
            inode, data = inline[inode_id], contents[inode_id].data
            if (len(data), content_hash(data)) != (inode.length_bytes, inode.content_hash):
                yield f"file {inode_id} ({inode.name!r}) has another content than it says"

    def _counter_problems(self) -> Iterator[str]:
        files = [inode for inode in self._inodes.values() if inode.parent_id and inode.published]
        kinds = Counter(inode.kind for inode in self._inodes.values())
        counted = (len(files), kinds[EntryKind.DIRECTORY], sum(file.block_count for file in files))
        told = (self._meta.files, self._meta.directories, self._meta.blocks)
        if counted != told:
            yield f"files, directories and blocks are counted as {told} and are {counted}"
        inline = [file.length_bytes for file in files if file.is_inline]
        if (len(inline), sum(inline)) != (self._meta.inline_files, self._meta.inline_bytes):
            yield (
                f"{self._meta.inline_files} inline files of {self._meta.inline_bytes} bytes are"
                f" counted, and {len(inline)} of {sum(inline)} are there"
            )
        hidden = [inode for inode in self._inodes.values() if inode.hidden]
        if len(hidden) != self._meta.hidden_files:
            yield f"{self._meta.hidden_files} hidden files are counted and {len(hidden)} are there"
        if not all(inode.doomed_due_ms and inode.published for inode in hidden):
            yield "a hidden file is not doomed"
        highest = max(self._inodes)
        if highest >= self._meta.next_inode_id:
            yield f"inode {highest} exists, the next one would be {self._meta.next_inode_id}"

    def _answered_problems(self) -> Iterator[str]:
        kept = {key: ANSWERS.decode(value) for key, value in self._view.scan(tables.ANSWERS)}
        by_call = {tables.answers_age_key(record.filed_ms, key) for key, record in kept.items()}
        by_age = {key for key, _ in self._view.scan(tables.ANSWERS_BY_AGE)}
        if by_age != by_call:
            yield f"{len(by_call)} records of answers are kept, {len(by_age)} in the order of age"
        for key, record in kept.items():
            numbers = [answer.number for answer in record.answers]
            if any(tables.answers_key(key[:16], number) != key for number in numbers):
                yield f"the answers to calls {numbers} are not all where they belong"
            if len(set(numbers)) < len(numbers):
                yield f"of calls {numbers} one was answered twice"

    def _member_problems(self) -> Iterator[str]:
        datanodes = {
            key.decode(): DATANODE.decode(value) for key, value in self._view.scan(tables.DATANODES)
        }
        storages = [STORAGE.decode(value) for _, value in self._view.scan(tables.STORAGES)]
        datanode_numbers = [datanode.number for datanode in datanodes.values()]
        storage_numbers = [storage.number for storage in storages]
        for what, numbers in (("datanodes", datanode_numbers), ("storages", storage_numbers)):
            if len(set(numbers)) < len(numbers):
                yield f"two {what} have one number: {sorted(numbers)}"
        for storage in storages:
            if storage.datanode_id not in datanodes:
                yield f"storage {storage.storage_id} belongs to no known datanode"
