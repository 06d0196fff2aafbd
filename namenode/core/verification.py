"""Has datanodes read and check replicas now, for those who ask about the files that these are of.

A page is the replicas of some files. Each of them is asked of its datanode once, however many pages
wait for it, and a few at a time, so that hints of readers and repair do not wait behind a disk's
worth of reading. An answer settles a replica; so does that it was deleted meanwhile. What a
datanode was asked is void with its connection, and asked again when it is back; one that is away,
or says nothing, for too long leaves its replicas unanswered, as does one whose disk is in trouble.
Nobody's page is kept for long.
"""

from collections.abc import Container, Iterable
from itertools import islice

import msgspec

from dolmen.protocol.datanode_messages import CheckReplica, ReplicaChecked
from dolmen.protocol.errors import Overloaded
from dolmen.protocol.operator_messages import Verification
from namenode.core.checks import Check, Finding
from namenode.core.datanodes import Datanodes, DatanodeState, Liveness
from namenode.core.redundancy import patience_ms

PAGES_LIMIT = 16
"""Pages that are being verified at once, each for somebody who waits."""

PAGE_CHECKS = 4000
"""Replicas in a page, after which no further slice is added: some hundred KiB."""

ASKED_LIMIT = 32
"""Checks outstanding at one datanode: enough to keep its disks busy, few beside its queue."""

ASKED_LIMIT_BYTES = 256 * 1024 * 1024
"""The same in bytes, unless it is a single block: a second or two of reading."""

FINDINGS_LIMIT = 50
"""Damaged replicas of one page that are told one by one: with paths of 8000 bytes they fit a
message; the others are counted."""

AWAY_MS = 5000
"""How long a datanode may be away until nobody waits for it: longer than it takes to return."""

FORGOTTEN_MS = 60_000
"""Nobody has asked about a page for so long: a client asks again after some seconds."""


Key = tuple[str, str, int]
"""The path, bookmark and limit of a request."""


class Page(msgspec.Struct, eq=False):
    """How far the verification of one page of files is; `callers` have not seen its end."""

    after: str
    more: bool
    asked_ms: int
    callers: set[bytes]
    pending: int = 0
    sound: int = 0
    damaged: int = 0
    unanswered: int = 0
    findings: list[Finding] = []  # the first of the damaged ones

    def take(self, check: Check, problem: str) -> None:
        """One of its replicas was checked."""
        if not problem:
            self.sound += 1
            return
        self.damaged += 1
        if len(self.findings) < FINDINGS_LIMIT:
            self.findings.append(Finding(check, problem))

    def told(self) -> Verification:
        """The page as it is told, without the findings."""
        return Verification(
            self.pending, self.sound, self.damaged, self.unanswered, self.after, self.more
        )


class _Line:
    """What one datanode is to check: waiting in turn, or asked of it."""

    def __init__(self) -> None:
        self.waiting: dict[int, Check] = {}  # by block id, as below
        self.asked: dict[int, Check] = {}
        self.pages: dict[int, list[Page]] = {}
        self.put_aside: set[int] = set()  # of what was asked, found damaged, and not there now
        self.state: DatanodeState | None = None  # of the connection over which it was asked
        self.seen_ms = 0  # when its datanode was last there
        self.moved_ms = 0  # when it last answered, or had nothing to answer

    def settle(self, block_id: int) -> list[Page]:
        """A replica is not awaited any more; return the pages that waited."""
        self.waiting.pop(block_id, None)
        self.asked.pop(block_id, None)
        self.put_aside.discard(block_id)
        pages = self.pages.pop(block_id, [])
        for page in pages:
            page.pending -= 1
        return pages

    def put_back(self) -> None:
        """What was asked is void: it is asked again, first."""
        self.waiting = self.asked | self.waiting
        self.asked = {}

    def next_checks(self) -> list[Check]:
        """Take what may be asked now."""
        taken = []
        asked_bytes = sum(check.length_bytes for check in self.asked.values())
        for check in islice(self.waiting.values(), ASKED_LIMIT - len(self.asked)):
            if asked_bytes and asked_bytes + check.length_bytes > ASKED_LIMIT_BYTES:
                break
            asked_bytes += check.length_bytes
            taken.append(check)
        for check in taken:
            self.asked[check.block_id] = self.waiting.pop(check.block_id)
        return taken


class Verifier:
    """The pages that are being verified, by who may join them: the same files make one page."""

    def __init__(self, datanodes: Datanodes) -> None:
        self._datanodes = datanodes
        self._pages: dict[Key, Page] = {}
        self._lines: dict[str, _Line] = {}

    def join(self, key: Key, caller: bytes, now_ms: int) -> Page | None:
        """Return the page of these files if it is under way, or has ended for this caller."""
        page = self._pages.get(key)
        if page is None or (not page.pending and caller not in page.callers):
            return None
        page.callers.add(caller)
        page.asked_ms = now_ms
        return page

    def begin(self, key: Key, page: Page, checks: Iterable[Check]) -> None:
        """Begin to verify a page. Overloaded while too many are under way."""
        if len(self._pages) >= PAGES_LIMIT and key not in self._pages:
            raise Overloaded(f"{PAGES_LIMIT} verifications are under way: try again when one ended")
        self._pages[key] = page
        for check in checks:
            datanode = self._datanodes.get(check.datanode_id)
            if datanode is None or datanode.liveness is Liveness.DEAD:
                page.unanswered += 1
                continue
            line = self._lines.get(check.datanode_id)
            if line is None:
                line = self._lines[check.datanode_id] = _Line()
                line.seen_ms = page.asked_ms
            if check.block_id not in line.asked:
                line.waiting.setdefault(check.block_id, check)
            line.pages.setdefault(check.block_id, []).append(page)
            page.pending += 1

    def tell(self, key: Key, page: Page, caller: bytes) -> Verification:
        """Return how far a page is; when it has ended, this caller has seen it."""
        if not page.pending:
            page.callers.discard(caller)
            if not page.callers and self._pages.get(key) is page:
                del self._pages[key]
        return page.told()

    def answered(
        self,
        datanode_id: str,
        answers: Iterable[ReplicaChecked],
        damaged: Container[int],
        now_ms: int,
    ) -> None:
        """A datanode has answered for some replicas; of these blocks it holds a `damaged` one.

        What has a problem and is not known as damaged could not be judged: nobody can say.
        """
        line = self._lines.get(datanode_id)
        if line is None:
            return
        line.moved_ms = now_ms
        for answer in answers:
            check = line.asked.get(answer.block_id)
            if check is None:
                continue
            judged = answer.block_id in damaged or answer.block_id in line.put_aside
            for page in line.settle(answer.block_id):
                if answer.problem and not judged:
                    page.unanswered += 1
                else:
                    page.take(check, answer.problem)

    def put_aside(self, datanode_id: str, block_id: int) -> None:
        """A replica was found damaged and is not there any more; its answer comes."""
        line = self._lines.get(datanode_id)
        if line is not None and block_id in line.asked:
            line.put_aside.add(block_id)

    def deleted(self, datanode_id: str, block_id: int) -> None:
        """A replica was deleted meanwhile: there is nothing to check."""
        if (line := self._lines.get(datanode_id)) is not None:
            line.settle(block_id)

    def next_checks(self, now_ms: int) -> list[tuple[str, CheckReplica]]:
        """Let time pass; return what is to be asked now, by datanode."""
        self._forget_pages(now_ms)
        found = []
        for datanode_id, line in list(self._lines.items()):
            if self._may_ask(datanode_id, line, now_ms):
                for check in line.next_checks():
                    found.append((datanode_id, CheckReplica(check.block_id, check.stamp)))
            if not line.pages:
                del self._lines[datanode_id]
        return found

    def _may_ask(self, datanode_id: str, line: _Line, now_ms: int) -> bool:
        """Whether the datanode is there; what it did not answer in time is given up."""
        datanode = self._datanodes.get(datanode_id)
        there = datanode is not None and datanode.connected and datanode.liveness is Liveness.LIVE
        if not there or datanode is not line.state:
            line.put_back()
            line.state = datanode
        if not there:
            if now_ms - line.seen_ms >= AWAY_MS:
                self._give_up(line, [*line.waiting])
            return False
        line.seen_ms = now_ms
        longest_bytes = max((check.length_bytes for check in line.asked.values()), default=0)
        if not line.asked:
            line.moved_ms = now_ms
        elif now_ms - line.moved_ms >= patience_ms(longest_bytes):
            self._give_up(line, [*line.asked])
            line.moved_ms = now_ms
        return True

    def _give_up(self, line: _Line, block_ids: Iterable[int]) -> None:
        for block_id in block_ids:
            for page in line.settle(block_id):
                page.unanswered += 1

    def _forget_pages(self, now_ms: int) -> None:
        """Drop the pages that nobody asks about any more, and what only they wait for."""
        old = [k for k, page in self._pages.items() if now_ms - page.asked_ms >= FORGOTTEN_MS]
        gone = [self._pages.pop(key) for key in old]
        if not gone:
            return
        for line in self._lines.values():
            for block_id, pages in list(line.pages.items()):
                left = [page for page in pages if page not in gone]
                if left:
                    line.pages[block_id] = left
                elif block_id in line.waiting:
                    line.settle(block_id)
