"""Which files are hashed anew, by whom: a file that grew, was cut or joined has lost its hash.

The files that lack one stand in a table of their own, written by the edits that take hashes away
and bring them back: so nothing is forgotten at a restart, and no tick goes through the namespace. A
bookmark goes round that table in slices. A file whose hash went `quiet_ms` ago, that nobody writes
and whose blocks are there, is given to the free datanode that holds most of its beginning; that one
reads it whole, since the state of a hash is handed on to nobody. It asks for the file's blocks page
by page, and these calls are its signs of life.

An order is void with the connection that it went over; then another datanode gets it. A file that
could not be hashed waits twice as long each time. What comes back counts only for the file as it
was when it was ordered: that is checked where the edit is decided (`content_hashes`), and once more
where it is applied. All in here is soft.
"""

from collections import Counter
from itertools import islice

import msgspec

from dolmen.protocol.datanode_messages import FileHashed, HashFile
from dolmen.protocol.errors import StaleHandle
from namenode.core.block_map import Tables, good, holdings, rows_of
from namenode.core.datanodes import Datanodes, DatanodeState, Liveness
from namenode.core.dispatch import Dispatch, Moment
from namenode.core.files import BLOCK_SIZE_LIMIT_BYTES
from namenode.core.lookup import file_block_ids, find_inode, find_names, load_block
from namenode.core.news import News
from namenode.core.records import Inode
from namenode.core.tables import UNHASHED, View, number_key, read_number

ORDERS_LIMIT = 16
"""Files hashed at once, one on each datanode: it is nobody's hurry, and reads disks."""

BLOCKS_LOOKED_AT = 4
"""At the beginning of a file: whoever holds most of them reads the file, and all must be there.
What is missing further on shows when it is read. A slice of files takes 5 ms."""

PASS_PAUSE_MS = 1000
"""Between two rounds through the table, or `quiet_ms` if that is shorter."""

PATIENCE_MS = 5 * 60_000
SLACK = 4
"""Without a sign of life, which comes with each block: this, and what the longest block takes at a
quarter of the rate at which repair may read (files are hashed at half of it)."""

FIRST_PAUSE_MS = 10_000
LAST_PAUSE_MS = 10 * 60_000
"""Before a file that could not be hashed is given to somebody again."""

FAILURES_LIMIT = 1000
"""Failures that are remembered; a file whose failure is forgotten is tried a little early."""


class HashingOptions(msgspec.Struct, frozen=True):
    """How long a file must be unchanged, and how fast repair may read."""

    quiet_ms: int
    rate_bytes: int


class HashOrder(msgspec.Struct):
    """A file that a datanode hashes now."""

    datanode_id: str
    changed_txid: int
    heard_ms: int


class _Failure(msgspec.Struct, frozen=True):
    changed_txid: int
    pause_ms: int
    over_ms: int


class Hashing:
    """The files that are being hashed, and where the bookmark is."""

    def __init__(self, options: HashingOptions, datanodes: Datanodes, news: News) -> None:
        self._options = options
        self._datanodes = datanodes
        self._news = news
        self._orders: dict[int, HashOrder] = {}  # by inode id
        self._failures: dict[int, _Failure] = {}  # by inode id
        self._next_id = 0
        self._rests_until_ms = 0

    @property
    def order_count(self) -> int:
        """How many files are being hashed."""
        return len(self._orders)

    # ------------------------------------------------------------ what datanodes say

    def heard(self, datanode_id: str, inode_id: int, changed_txid: int, now_ms: int) -> None:
        """A datanode is at its order. StaleHandle if it has none of the kind."""
        order = self._orders.get(inode_id)
        if order is None or (order.datanode_id, order.changed_txid) != (datanode_id, changed_txid):
            raise StaleHandle(f"this datanode is not to hash inode {inode_id} of {changed_txid}")
        order.heard_ms = now_ms

    def ended(self, report: FileHashed, now_ms: int) -> None:
        """A datanode is done with its order, well or not."""
        order = self._orders.pop(report.inode_id, None)
        self._rests_until_ms = 0  # somebody is free for the next one
        if order is not None and report.problem:
            self._failed(report.inode_id, order, report.problem, now_ms)
        else:
            self._failures.pop(report.inode_id, None)

    def forget_datanode(self, datanode_id: str) -> None:
        """A connection is gone, and the order that went over it: somebody else may do it."""
        self._orders = {
            inode_id: order
            for inode_id, order in self._orders.items()
            if order.datanode_id != datanode_id
        }

    def _failed(self, inode_id: int, order: HashOrder, problem: str, now_ms: int) -> None:
        before = self._failures.pop(inode_id, None)
        pause_ms = FIRST_PAUSE_MS
        if before is not None and before.changed_txid == order.changed_txid:
            pause_ms = min(before.pause_ms * 2, LAST_PAUSE_MS)
        self._failures[inode_id] = _Failure(order.changed_txid, pause_ms, now_ms + pause_ms)
        if len(self._failures) > FAILURES_LIMIT:
            del self._failures[next(iter(self._failures))]
        self._news.say(
            f"datanode {order.datanode_id} did not hash inode {inode_id}: {problem[:200]}; it is"
            f" tried again in {pause_ms // 1000} s"
        )

    # ------------------------------------------------------------ rounds

    def begin_round(self, limit: int, now_ms: int) -> int:
        """Take back orders of which nothing is heard; return how many files to look at."""
        block_ms = SLACK * 1000 * BLOCK_SIZE_LIMIT_BYTES // self._options.rate_bytes
        patience_ms = PATIENCE_MS + block_ms
        for inode_id, order in list(self._orders.items()):
            if now_ms - order.heard_ms > patience_ms:
                del self._orders[inode_id]
                self._failed(inode_id, order, "nothing is heard of it", now_ms)
        return 0 if self._is_full() or now_ms < self._rests_until_ms else limit

    def _is_full(self) -> bool:
        return len(self._orders) >= min(ORDERS_LIMIT, self._datanodes.count(Liveness.LIVE))

    def step(self, limit: int, tables: Tables, now: Moment) -> list[Dispatch]:
        """Look at some files; return what datanodes are to hash."""
        dispatches = []
        rows = list(islice(tables.view.scan(UNHASHED, number_key(self._next_id)), limit))
        for key, value in rows:
            self._next_id = read_number(key) + 1
            inode = self._due(tables.view, read_number(key), read_number(value), now)
            datanode = None if inode is None else self._reader_of(inode, tables)
            if inode is not None and datanode is not None:
                order = HashOrder(datanode.datanode_id, inode.changed_txid, now.loop_ms)
                self._orders[inode.inode_id] = order
                command = HashFile(inode.inode_id, inode.changed_txid)
                dispatches.append(Dispatch(datanode.datanode_id, command))
                if self._is_full():
                    return dispatches
        if len(rows) < limit:
            self._next_id = 0
            self._rests_until_ms = now.loop_ms + min(PASS_PAUSE_MS, self._options.quiet_ms)
        return dispatches

    def _due(self, view: View, inode_id: int, since_ms: int, now: Moment) -> Inode | None:
        """Return a file if it is to be hashed now."""
        quiet = 0 <= now.wall_ms - since_ms < self._options.quiet_ms
        inode = None if quiet or inode_id in self._orders else find_inode(view, inode_id)
        if inode is None or inode.draft_id or find_names(view, inode) is None:
            return None  # it changes, will soon, or goes with the tree that it was in
        failure = self._failures.get(inode_id)
        if failure is not None and failure.changed_txid == inode.changed_txid:
            return inode if now.loop_ms >= failure.over_ms else None
        return inode

    def _reader_of(self, inode: Inode, tables: Tables) -> DatanodeState | None:
        """Return the free datanode with most of a file's beginning; None if there is none, or a
        block is on no datanode."""
        busy = {order.datanode_id for order in self._orders.values()}
        held: Counter[str] = Counter()
        for block_id in islice(file_block_ids(tables.view, inode), BLOCKS_LOOKED_AT):
            block = load_block(tables.view, block_id)
            found = good(holdings(rows_of(tables.soft, block_id), block, self._datanodes))
            if not found:
                return None
            held.update(datanode.datanode_id for datanode in found)
        free = [
            datanode
            for datanode in self._datanodes
            if datanode.datanode_id in held
            and datanode.datanode_id not in busy
            and datanode.connected
            and datanode.liveness is Liveness.LIVE
        ]
        return max(free, key=lambda datanode: held[datanode.datanode_id], default=None)
