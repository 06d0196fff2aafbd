"""Group commit: the one loop through which everything that lasts is decided, logged and applied.

A batch takes the requests that wait, up to 512 KiB of edits or 5 ms of deciding. Each is decided on
the state that those before it left, and applied at once, in one write transaction; the edits of all
go to the log in one append; the transaction commits; only then, in the order of deciding, effects
are released and replies given. A refusal waits for the commit too: it may tell of an edit before
it.

Whatever fails between the first decision and the commit ends the process: the transaction is
aborted, nobody is answered, and the restart finds the truth in the log (rule 2). While the append
is awaited, snapshots show the state before the batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from dolmen.protocol.control_messages import Reply
from dolmen.protocol.errors import (
    DataDamaged,
    DolmenError,
    InvalidRequest,
    Overloaded,
    StandbyNamenode,
)
from dolmen.runtime.key_value import KeyValue, WriteTransaction
from dolmen.runtime.metrics import COUNTS, Histogram
from namenode.core.apply import seal
from namenode.core.edit_batches import (
    GROUP_LIMIT_BYTES,
    PAYLOAD_LIMIT_BYTES,
    group_bytes,
    make_batch,
)
from namenode.core.edits import AnyEdit, encode_group
from namenode.core.outcome import Effect, Outcome, Waits
from namenode.core.sheet import Sheet
from namenode.core.tables import View, Writer
from namenode.free_space import FreeSpace
from namenode.store import Store
from namenode.waiting import AnyRequest, Decide, Request, WaitingRequests, reply_or_raise

QUEUE_LIMIT = 10_000
"""A second's work: who comes later would wait longer than a client is patient."""

BATCH_BYTES = PAYLOAD_LIMIT_BYTES - GROUP_LIMIT_BYTES
"""Whatever group comes next still fits."""

BATCH_S = 0.005
"""How long deciding may keep the event loop from everybody else."""

STOPPING = "the namenode is stopping"

ApplyGroup = Callable[[tuple[AnyEdit, ...], Writer, int], None]
Release = Callable[[tuple[Effect, ...]], None]


@dataclass(frozen=True)
class _Answer:
    """What a request gets once the batch has committed."""

    request: AnyRequest
    result: Reply | DolmenError
    effects: tuple[Effect, ...] = ()


@dataclass
class _Decided:
    """A batch in the making."""

    transaction: WriteTransaction
    sheet: Sheet
    now_ms: int
    groups: list[bytes] = field(default_factory=list)
    length_bytes: int = 0
    taken: list[AnyRequest] = field(default_factory=list)
    answers: list[_Answer] = field(default_factory=list)


@dataclass(frozen=True)
class JournalFigures:
    """How the journal has fared since the start."""

    batch_edits: Histogram = field(default_factory=lambda: Histogram(COUNTS))
    batch_seconds: Histogram = field(default_factory=Histogram)
    append_seconds: Histogram = field(default_factory=Histogram)


class _Views:
    """Entered by each who reads. All who do in one turn of the event loop get the same view, unless
    it is ended; a generator for each of them would cost a fifth of a stat."""

    def __init__(self, tables: KeyValue, take_damage: Callable[[DataDamaged], None]) -> None:
        self._tables = tables
        self._take_damage = take_damage
        self._held = ExitStack()
        self._view: View | None = None

    def __enter__(self) -> View:
        if self._view is None:
            try:
                self._view = self._held.enter_context(self._tables.snapshot())
            except DataDamaged as error:
                self._take_damage(error)
                raise
            asyncio.get_running_loop().call_soon(self.end)
        return self._view

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, DataDamaged):
            self._take_damage(error)

    def end(self) -> None:
        """Who looks from now on gets a new view."""
        self._view = None
        self._held.close()


class Journal:
    """Decides, logs and applies; `release` takes the effects of what has committed."""

    def __init__(
        self,
        store: Store,
        apply_group: ApplyGroup,
        wall_clock_ms: Callable[[], int],
        release: Release,
    ) -> None:
        self._store = store
        self._apply_group = apply_group
        self._wall_clock_ms = wall_clock_ms
        self._release = release
        self._space = FreeSpace(
            store.disk, store.directory, store.tables, lambda: store.log.appended_bytes
        )
        self._queue: deque[AnyRequest] = deque()
        self._waiting = WaitingRequests()
        self._work = asyncio.Event()
        self._closing = False
        self._cancelled = False
        self._appending = False
        self._now_ms = 0
        self._views = _Views(store.tables, self._take_damage)
        self.figures = JournalFigures()

    async def submit(self, decide: Decide, deadline: float | None = None) -> Reply:
        """Have `decide` asked, and return its reply when its edits are durable.

        Raises what `decide` refuses with. If it returns Waits it is asked again when `wake` names
        one of the blocks, until `deadline` (a time of the event loop): then TooFewDatanodes.
        """
        request = Request(decide, deadline, reply_or_raise)
        self.take(request)
        return await request.future

    def take(self, request: AnyRequest) -> None:
        """Have a request decided: `submit` for who awaits its future in a form of his own."""
        if self._closing:
            raise StandbyNamenode(STOPPING)
        if len(self._queue) >= QUEUE_LIMIT:
            raise Overloaded(f"{QUEUE_LIMIT} changes wait to be made already")
        self._queue.append(request)
        self._work.set()

    @property
    def queued(self) -> int:
        """How many requests wait for their turn."""
        return len(self._queue)

    @property
    def waiting(self) -> int:
        """How many requests wait for datanodes."""
        return len(self._waiting)

    def wake(self, block_ids: Iterable[int]) -> None:
        """Ask the requests again that wait for one of these blocks."""
        self._queue.extend(self._waiting.take(block_ids))
        self._work.set()

    def snapshot(self) -> AbstractContextManager[View]:
        """Enter it for a view of what is durable; hold it across no await.

        All who look in one turn of the event loop see the same, unless a batch commits meanwhile.
        """
        return self._views

    def _take_damage(self, error: DataDamaged) -> None:
        """A reader has found something: if it is the tables that are damaged, `run` ends."""
        if _means_tables(error):
            self._store.report_damage(error.message)
            self._work.set()

    async def run(self) -> None:
        """Work until `close`. Whatever it raises must end the process."""
        try:
            await self._see_through()
        except DataDamaged as error:
            if _means_tables(error):
                self._store.report_damage(error.message)
            raise
        finally:
            self._closing = True
            for request in (*self._queue, *self._waiting.take_all()):
                request.future.cancel()
            if self._store.damage is not None:
                await self._store.mark_damaged(self._store.damage)

    async def _see_through(self) -> None:
        """Work in a task that is cancelled with this one, but never while it appends: the append
        goes on, and its end decides (rule 1)."""
        working = asyncio.create_task(self._work_on())
        try:
            await asyncio.wait((working,))
        except asyncio.CancelledError:
            self._cancelled = True
            if not self._appending:
                working.cancel()
            await asyncio.wait((working,))
            if not working.cancelled():
                working.result()
            raise
        working.result()

    async def _work_on(self) -> None:
        while not self._cancelled and await self._has_work():
            await self._run_batch()

    def close(self) -> None:
        """Take no more requests; `run` returns when those that are queued are done."""
        self._closing = True
        for request in self._waiting.take_all():
            request.give(StandbyNamenode(STOPPING))
        self._work.set()

    async def _has_work(self) -> bool:
        """Wait for requests; False when the last one is done and no more may come."""
        if self._queue:
            await asyncio.sleep(0)  # between two batches everybody else gets a turn
        while not self._queue and not self._closing and self._store.damage is None:
            self._work.clear()
            await self._work.wait()
        if self._store.damage is not None:
            raise DataDamaged(self._store.damage)
        return bool(self._queue)

    async def _run_batch(self) -> None:
        begun_s = asyncio.get_running_loop().time()
        await self._space.measure()
        self._now_ms = max(self._now_ms, self._wall_clock_ms())  # it never goes back
        transaction = self._store.tables.begin()
        decided = _Decided(transaction, Sheet(transaction), self._now_ms)
        try:
            self._decide_all(decided)
            await self._make_durable(decided)
            for answer in decided.answers:
                self._give(answer)
        except BaseException:
            for request in decided.taken:
                request.future.cancel()  # nobody knows what becomes of these
            raise
        finally:
            transaction.abort()
        self.figures.batch_seconds.observe(asyncio.get_running_loop().time() - begun_s)

    def _decide_all(self, decided: _Decided) -> None:
        clock = asyncio.get_running_loop().time
        end_s = clock() + BATCH_S
        while self._queue and decided.length_bytes < BATCH_BYTES:
            request = self._queue.popleft()
            if request.future.done():  # its caller has given up
                continue
            decided.taken.append(request)
            try:
                self._decide(request, decided)
            except DolmenError as error:
                if _means_tables(error):
                    raise
                decided.answers.append(_Answer(request, error))
            if clock() >= end_s:
                break

    def _decide(self, request: AnyRequest, decided: _Decided) -> None:
        outcome = request.decide(decided.sheet, decided.now_ms)
        if isinstance(outcome, Waits):
            if self._closing:
                raise StandbyNamenode(STOPPING)
            self._waiting.add(request, outcome)
            return
        if outcome.edits:
            self._apply(outcome, decided)
        decided.answers.append(_Answer(request, outcome.reply, outcome.effects))

    def _apply(self, outcome: Outcome, decided: _Decided) -> None:
        """Change the tables; nothing in here may refuse once the first of them is changed."""
        self._space.check()
        group = encode_group(outcome.edits)
        if len(group) > GROUP_LIMIT_BYTES:
            raise InvalidRequest(f"a change of {len(group)} bytes is above {GROUP_LIMIT_BYTES}")
        txid = self._store.log.position.txid + len(decided.groups) + 1
        try:
            self._apply_group(outcome.edits, decided.sheet, txid)
        except DolmenError as error:
            raise DataDamaged(f"transaction {txid} does not fit the tables: {error}") from error
        decided.groups.append(group)
        decided.length_bytes += group_bytes(group)

    async def _make_durable(self, decided: _Decided) -> None:
        """Log and commit the batch."""
        if not decided.groups:
            return
        batch = make_batch(self._store.log.position, self._store.epoch, decided.groups)
        seal(decided.sheet, batch.last_txid, batch.digest)
        clock = asyncio.get_running_loop().time
        begun_s = clock()
        self._appending = True
        try:
            await self._store.log.append(batch)
        finally:
            self._appending = False
        self.figures.append_seconds.observe(clock() - begun_s)
        self.figures.batch_edits.observe(len(decided.groups))
        decided.transaction.commit()
        self._views.end()  # whoever looks from now on sees the batch

    def _give(self, answer: _Answer) -> None:
        self._release(answer.effects)
        answer.request.give(answer.result)


def _means_tables(error: DolmenError) -> bool:
    """A record of our own is damaged. (What is derived from DataDamaged tells of a replica.)"""
    return type(error) is DataDamaged
