"""The namespace's background work, in small pieces: ended leases, detached trees, doomed files.

`next_piece` is asked again and again and returns one group of edits, or None when nothing is due. A
piece touches at most some hundred records (rule 8), so that callers in between wait for little.

The blocks of a doomed file go when it is due and no read token given for it can still be valid
(rule 22). Tokens leave no edit: `OpenedFiles` remembers them, and a file that is due but was opened
is postponed. So a reader that renews by inode id moves the due time, for at most a day. A namenode
that has just started does not know what its predecessor gave out: all files from before then count
as opened for as long as a token lives.
"""

from collections.abc import Iterator

import msgspec

from dolmen.protocol.client_messages import Done, EntryKind
from namenode.core import tables
from namenode.core.apply_reclaim import first_entries
from namenode.core.edits import AnyEdit, BlocksReclaimed, DoomPostponed, FileDropped, TreeDismantled
from namenode.core.leases import LeaseTable
from namenode.core.lookup import file_block_ids, find_inode, find_lease, load_inode
from namenode.core.outcome import BlocksDropped, BlocksForgotten, Effect, LeaseEnded, Outcome
from namenode.core.records import Inode
from namenode.core.tables import View

POSTPONE_LIMIT_MS = 24 * 60 * 60_000
"""How long readers can keep a doomed file: a forgotten one must not hold its space for ever."""

LEASES_PER_PIECE = 100
ENTRIES_PER_PIECE = 100
BLOCKS_PER_PIECE = 200
FILES_PER_PIECE = 100
"""A lease, an entry and a file touch up to four records each and a block two, at some 5 µs a
record: a piece stays far below 1000 (only dismantling a file with more blocks names them all, as
deleting it alone does), and whoever else asks waits for some 2 ms."""

OPENED_LIMIT = 100_000
"""Opened files remembered one by one: some megabytes."""


class OpenedFiles:
    """Until when read tokens given for files may be valid (soft state)."""

    def __init__(self) -> None:
        self._until_ms: dict[int, int] = {}
        self._older_inode_id = 0  # files below this one count as opened until `_older_until_ms`
        self._older_until_ms = 0
        self._least_until_ms = 0  # all files do until then: what was forgotten early

    def start(self, next_inode_id: int, until_ms: int) -> None:
        """All files that exist count as opened: an earlier namenode may have given out tokens."""
        self._older_inode_id, self._older_until_ms = next_inode_id, until_ms

    def note(self, inode_id: int, until_ms: int, now_ms: int) -> None:
        """A token that is valid until `until_ms` is given out."""
        self._forget(now_ms)
        known_ms = self._until_ms.pop(inode_id, 0)
        self._until_ms[inode_id] = max(known_ms, until_ms)

    def move(self, source_id: int, inode_id: int, now_ms: int) -> None:
        """Tokens that were given for one file may be for blocks that are another's now."""
        until_ms = self.until_ms(source_id)
        if until_ms >= now_ms:
            self.note(inode_id, until_ms, now_ms)

    def _forget(self, now_ms: int) -> None:
        """Drop the one noted longest ago if it is over, or if there are too many."""
        oldest = next(iter(self._until_ms.items()), None)
        if oldest is None:
            return
        if oldest[1] < now_ms:
            del self._until_ms[oldest[0]]
        elif len(self._until_ms) >= OPENED_LIMIT:
            del self._until_ms[oldest[0]]
            self._least_until_ms = max(self._least_until_ms, oldest[1])

    def until_ms(self, inode_id: int) -> int:
        """Return until when, that millisecond included, a token for this file may be valid."""
        known_ms = max(self._until_ms.get(inode_id, 0), self._least_until_ms)
        if inode_id < self._older_inode_id:
            return max(known_ms, self._older_until_ms)
        return known_ms


class Background(msgspec.Struct, frozen=True):
    """What the background work needs to know."""

    leases: LeaseTable
    opened: OpenedFiles
    lease_hard_limit_ms: int


def next_piece(background: Background, view: View, now_ms: int) -> Outcome | None:
    """Return the next piece of background work, or None if nothing is due."""
    return (
        _end_leases(background, view, now_ms)
        or _dismantle(view)
        or _reclaim(background.opened, view, now_ms)
    )


def _end_leases(background: Background, view: View, now_ms: int) -> Outcome | None:
    ended: list[int] = []
    for inode_id in background.leases.silent_since(now_ms - background.lease_hard_limit_ms):
        if find_lease(view, inode_id) is not None:  # else it ended in this very batch
            ended.append(inode_id)
        if len(ended) == LEASES_PER_PIECE:
            break
    if not ended:
        return None
    edits = tuple(FileDropped(inode_id, due_ms=now_ms) for inode_id in ended)
    return Outcome(Done(), edits, tuple(LeaseEnded(inode_id) for inode_id in ended))


def _dismantle(view: View) -> Outcome | None:
    key, _ = next(view.scan(tables.DETACHED), (b"", b""))
    if not key:
        return None
    directory_id = tables.read_number(key)
    taken = 0
    block_ids: list[int] = []
    for _, child_id in first_entries(view, directory_id, ENTRIES_PER_PIECE):
        child = load_inode(view, child_id)
        if taken and len(block_ids) + child.block_count > BLOCKS_PER_PIECE:
            break
        taken += 1
        if child.kind == EntryKind.FILE:
            block_ids.extend(file_block_ids(view, child))
    effects: tuple[Effect, ...] = (BlocksForgotten(tuple(block_ids)),) if block_ids else ()
    return Outcome(Done(), (TreeDismantled(directory_id, max(1, taken)),), effects)


def _reclaim(opened: OpenedFiles, view: View, now_ms: int) -> Outcome | None:
    edits: list[AnyEdit] = []
    block_ids: list[int] = []
    for inode in _due_files(view, now_ms):
        free_ms = min(opened.until_ms(inode.inode_id) + 1, inode.first_due_ms + POSTPONE_LIMIT_MS)
        if inode.published and free_ms > now_ms:
            edits.append(DoomPostponed(inode.inode_id, free_ms))
            continue
        limit = BLOCKS_PER_PIECE - len(block_ids)
        if limit <= 0:
            break
        first_index = max(0, inode.block_count - limit)
        block_ids.extend(file_block_ids(view, inode, first_index))
        edits.append(BlocksReclaimed(inode.inode_id, limit))
    if not edits:
        return None
    effects: tuple[Effect, ...] = (BlocksDropped(tuple(block_ids)),) if block_ids else ()
    return Outcome(Done(), tuple(edits), effects)


def _due_files(view: View, now_ms: int) -> Iterator[Inode]:
    """Yield the first doomed files that are due."""
    for count, (key, _) in enumerate(view.scan(tables.DOOMED)):
        inode_id = tables.read_number(key[8:])
        if tables.read_number(key[:8]) > now_ms or count == FILES_PER_PIECE:
            return
        inode = find_inode(view, inode_id)
        if inode is not None:
            yield inode
