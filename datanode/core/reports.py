"""What of a datanode's replicas the namenode still has to hear.

After each registration it hears everything, in pages; from then on only changes. A change stays
queued until the namenode has taken it, so that a broken connection loses none. Of several changes
of one replica the last one counts. A full report replaces what was queued before it, but for damage
found: the report only shows that such a replica is gone, not why.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import msgspec

from dolmen.protocol.datanode_messages import (
    ChangeKind,
    CommandFailed,
    ReplicaChange,
    ReplicaChecked,
    ReplicaReport,
    ReplicaState,
    ReportBlocks,
    ReportChanges,
)

PAGE_REPLICAS = 4000
"""At some 50 bytes a replica a page has 0.2 MiB, well below the limit of a message (rule 26)."""

BATCH_CHANGES = 1000
"""Below the limit of a message also with the longest storage ids and reasons."""

QUEUE_LIMIT = 100_000
"""Above this a full report is cheaper than the changes, and takes no memory."""

FAILURES_LIMIT = 1000
REASON_LIMIT = 200
"""Failed commands only hurry their next planning; the namenode's deadline does it anyhow."""

CHECKED_LIMIT = 10_000
"""More than checks are taken at once; whoever waits for one that is not answered asks again."""

SOURCES_LIMIT = 16
"""Bad sources told of one block: more than it has replicas, as a rule."""


def pages(
    report_id: int,
    volumes: Sequence[tuple[str, Sequence[int]]],
    look_up: Callable[[int, str], ReplicaReport | None],
) -> Iterator[ReportBlocks]:
    """Yield the pages of a full report of `volumes` (storage id, block ids ascending).

    A replica is looked up (block id, storage id) when its page is made; one that is gone by then
    is left out.
    """
    for number, (storage_id, block_ids) in enumerate(volumes):
        starts = range(0, max(len(block_ids), 1), PAGE_REPLICAS)
        for start in starts:
            found = (look_up(one, storage_id) for one in block_ids[start : start + PAGE_REPLICAS])
            last = start == starts[-1]
            yield ReportBlocks(
                storage_id=storage_id,
                report_id=report_id,
                replicas=tuple(replica for replica in found if replica is not None),
                first=start == 0,
                last=last,
                all_done=last and number == len(volumes) - 1,
            )


class ReportQueue:
    """The changes that the namenode has not taken yet."""

    def __init__(self) -> None:
        self._changes: dict[tuple[str, int], ReplicaChange] = {}
        self._failures: dict[int, CommandFailed] = {}
        self._checked: dict[tuple[int, int], ReplicaChecked] = {}
        self.overflowed = False
        """Changes were dropped: only a full report can tell the namenode now."""

    def __len__(self) -> int:
        return len(self._changes) + len(self._failures) + len(self._checked)

    def add(self, change: ReplicaChange) -> bool:
        """Queue a change, in place of an older one of the same replica.

        Return whether it should go out at once: all but replicas that were just begun should.
        """
        key = (change.storage_id, change.replica.block_id)
        self._changes.pop(key, None)
        self._changes[key] = change
        if len(self._changes) > QUEUE_LIMIT:
            self.start_over()
            self.overflowed = True
        return self.overflowed or _is_urgent(change)

    def add_failure(self, block_id: int, reason: str) -> None:
        """Queue the news that a command failed."""
        known = self._failures.get(block_id) or CommandFailed(block_id, "")
        self._queue_failure(msgspec.structs.replace(known, reason=reason[:REASON_LIMIT]))

    def add_bad_source(self, block_id: int, stamp: int, datanode_id: str) -> None:
        """Queue the news that another datanode's replica gave bad bytes."""
        known = self._failures.get(block_id) or CommandFailed(block_id, "")
        sources = known.bad_sources if known.stamp == stamp else ()
        if datanode_id not in sources and len(sources) < SOURCES_LIMIT:
            sources = (*sources, datanode_id)
            self._queue_failure(CommandFailed(block_id, known.reason, sources, stamp))

    def _queue_failure(self, failure: CommandFailed) -> None:
        if failure.block_id in self._failures or len(self._failures) < FAILURES_LIMIT:
            self._failures[failure.block_id] = failure

    def add_checked(self, checked: ReplicaChecked) -> None:
        """Queue the answer to a check."""
        if len(self._checked) < CHECKED_LIMIT:
            problem = checked.problem[:REASON_LIMIT]
            block = (checked.block_id, checked.stamp)
            self._checked[block] = ReplicaChecked(*block, problem)

    def connection_lost(self) -> None:
        """Nobody waits for the answers to checks any more."""
        self._checked.clear()

    def batch(self) -> ReportChanges:
        """Return the oldest changes; they stay queued until `taken`.

        Answers to checks go when all changes do: the change that a check made comes before it.
        """
        changes = tuple(islice(self._changes.values(), BATCH_CHANGES))
        failures = tuple(islice(self._failures.values(), BATCH_CHANGES - len(changes)))
        room = BATCH_CHANGES - len(changes) - len(failures)
        checked = tuple(islice(self._checked.values(), room))
        return ReportChanges(changes, failures, checked)

    def taken(self, batch: ReportChanges) -> None:
        """The namenode has taken the batch: drop what has not changed again since."""
        for change in batch.changes:
            key = (change.storage_id, change.replica.block_id)
            if self._changes.get(key) is change:
                del self._changes[key]
        for failure in batch.failed_commands:
            if self._failures.get(failure.block_id) is failure:
                del self._failures[failure.block_id]
        for checked in batch.checked:
            block = (checked.block_id, checked.stamp)
            if self._checked.get(block) is checked:
                del self._checked[block]

    def start_over(self) -> None:
        """A full report begins: it says all that is queued, but for damage that was found."""
        self._changes = {
            key: change
            for key, change in self._changes.items()
            if change.kind is ChangeKind.CORRUPT
        }
        self.overflowed = False


def _is_urgent(change: ReplicaChange) -> bool:
    return (
        change.kind is not ChangeKind.STORED
        or change.replica.state is not ReplicaState.BEING_WRITTEN
    )
