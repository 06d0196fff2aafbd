"""Group commit: what is decided together, what waits, what fails, and when anybody is told."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from dolmen.protocol.errors import (
    DataDamaged,
    InvalidRequest,
    NoSpace,
    Overloaded,
    PathExists,
    StaleGeneration,
    StandbyNamenode,
)
from namenode.core.apply import apply_group
from namenode.core.edit_batches import PAYLOAD_LIMIT_BYTES
from namenode.core.edits import BlockCommitted, DirectoryMade
from namenode.core.outcome import BlocksDropped, Effect, LeaseEnded, Outcome
from namenode.core.tables import View
from namenode.journal import QUEUE_LIMIT, Journal
from namenode.store import Store
from tests.unit.namenode.store_worlds import (
    SimHost,
    Writing,
    done,
    make_directory,
    make_new,
    names_in,
    stored_names,
    with_store,
)


def test_requests_that_wait_are_one_batch_and_see_those_before_them() -> None:
    async def check(host: SimHost, store: Store) -> None:
        before = store.log.position
        async with Writing(store) as journal:
            results = await asyncio.gather(
                journal.submit(make_new("a")),
                journal.submit(make_new("a")),
                journal.submit(make_new("b")),
                return_exceptions=True,
            )
        assert results[0] == done("a")
        assert isinstance(results[1], PathExists)
        assert results[2] == done("b")
        batches = [batch async for batch in store.log.read(before.txid + 1)]
        assert [batch.count for batch in batches] == [2]
        assert stored_names(store) == ["a", "b"]

    with_store(check)


def test_nobody_is_told_before_the_batch_is_durable() -> None:
    async def check(host: SimHost, store: Store) -> None:
        before = store.log.position.txid
        async with Writing(store) as journal:
            asked = [
                asyncio.create_task(journal.submit(decide))
                for decide in (make_new("a"), make_new("a"))
            ]
            while store.log.position.txid == before:
                with journal.snapshot() as view:
                    assert names_in(view) == []
                assert not any(task.done() for task in asked)
                await asyncio.sleep(10e-6)
            await asyncio.wait(asked)
            with journal.snapshot() as view:
                assert names_in(view) == ["a"]
            assert isinstance(asked[1].exception(), PathExists)

    with_store(check)


def test_effects_are_released_in_order_each_before_its_reply() -> None:
    async def check(host: SimHost, store: Store) -> None:
        events: list[object] = []

        def release(effects: tuple[Effect, ...]) -> None:
            assert stored_names(store) == ["a", "b"]
            events.extend(effects)

        def with_effect(name: str, effect: Effect) -> Callable[[View, int], Outcome]:
            def decide(view: View, now_ms: int) -> Outcome:
                outcome = make_directory(name)(view, now_ms)
                return Outcome(outcome.reply, outcome.edits, (effect,))

            return decide

        async def ask(name: str, effect: Effect) -> None:
            await journal.submit(with_effect(name, effect))
            events.append(name)

        journal = Journal(store, apply_group, lambda: 1, release)
        running = asyncio.create_task(journal.run())
        first, second = LeaseEnded(1), BlocksDropped((2,))
        await asyncio.gather(ask("a", first), ask("b", second))
        assert events.index(first) < events.index("a")
        assert events.index(first) < events.index(second) < events.index("b")
        journal.close()
        await running

    with_store(check)


def test_a_failed_append_answers_nobody_and_ends_the_journal() -> None:
    async def check(host: SimHost, store: Store) -> None:
        writing = Writing(store)
        running = asyncio.create_task(writing.journal.run())
        host.storage.device.syncs_to_fail = 1
        asked = [
            asyncio.create_task(writing.journal.submit(decide))
            for decide in (make_new("a"), make_new("a"))
        ]
        with pytest.raises(OSError, match="Input/output error"):
            await running
        await asyncio.wait(asked)
        assert all(task.cancelled() for task in asked)
        assert writing.effects == []
        assert stored_names(store) == []
        with pytest.raises(StandbyNamenode):
            await writing.journal.submit(make_new("b"))

    with_store(check)


def test_a_bug_in_deciding_ends_the_journal_and_changes_nothing() -> None:
    async def check(host: SimHost, store: Store) -> None:
        def wrong(view: View, now_ms: int) -> Outcome:
            raise KeyError("bug")

        writing = Writing(store)
        running = asyncio.create_task(writing.journal.run())
        asked = asyncio.gather(
            writing.journal.submit(make_new("a")),
            writing.journal.submit(wrong),
            return_exceptions=True,
        )
        with pytest.raises(KeyError):
            await running
        assert [type(result) for result in await asked] == [asyncio.CancelledError] * 2
        assert stored_names(store) == []

    with_store(check)


def test_an_edit_that_does_not_fit_the_tables_ends_the_journal() -> None:
    async def check(host: SimHost, store: Store) -> None:
        def unfit(view: View, now_ms: int) -> Outcome:
            return Outcome(done(""), (BlockCommitted(99, 1, b""),))

        writing = Writing(store)
        running = asyncio.create_task(writing.journal.run())
        with pytest.raises(asyncio.CancelledError):
            await writing.journal.submit(unfit)
        with pytest.raises((DataDamaged, TypeError, AttributeError, KeyError)):
            await running

    with_store(check)


def test_a_refusal_about_a_replica_is_a_refusal_like_any_other() -> None:
    async def check(host: SimHost, store: Store) -> None:
        def stale(view: View, now_ms: int) -> Outcome:
            raise StaleGeneration("old stamp")

        async with Writing(store) as journal:
            with pytest.raises(StaleGeneration):
                await journal.submit(stale)
            await journal.submit(make_new("a"))

    with_store(check)


def test_a_change_above_the_limit_is_refused_before_it_is_applied() -> None:
    async def check(host: SimHost, store: Store) -> None:
        def large(view: View, now_ms: int) -> Outcome:
            return Outcome(done(""), (DirectoryMade(1, 1, "x" * 200_000, 0, "", "", 0),))

        async with Writing(store) as journal:
            with pytest.raises(InvalidRequest, match="above"):
                await journal.submit(large)
        assert stored_names(store) == []

    with_store(check)


def test_a_batch_ends_at_its_size() -> None:
    async def check(host: SimHost, store: Store) -> None:
        def make_large(name: str) -> Callable[[View, int], Outcome]:
            def decide(view: View, now_ms: int) -> Outcome:
                (edit,) = make_directory(name)(view, now_ms).edits
                return Outcome(done(name), (msgspec.structs.replace(edit, owner="x" * 60_000),))

            return decide

        before = store.log.position.txid
        async with Writing(store) as journal:
            await asyncio.gather(*(journal.submit(make_large(f"{number}")) for number in range(20)))
        batches = [batch async for batch in store.log.read(before + 1)]
        assert sum(batch.count for batch in batches) == 20
        assert len(batches) == 3
        assert all(len(batch.payload) <= PAYLOAD_LIMIT_BYTES for batch in batches)

    with_store(check)


def test_the_queue_has_a_limit() -> None:
    async def check(host: SimHost, store: Store) -> None:
        journal = Journal(store, apply_group, lambda: 1, lambda effects: None)
        asked = [asyncio.create_task(journal.submit(make_new("a"))) for _ in range(QUEUE_LIMIT)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await journal.submit(make_new("a"))
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)

    with_store(check)


def test_nothing_is_changed_when_the_disk_is_nearly_full() -> None:
    async def check(host: SimHost, store: Store) -> None:
        async with Writing(store) as journal:
            await journal.submit(make_new("a"))
            host.storage.device.capacity_bytes = host.storage.device.used_bytes + 10
            await asyncio.sleep(2)
            with pytest.raises(NoSpace, match="kept in reserve"):
                await journal.submit(make_new("b"))
            with pytest.raises(PathExists):
                await journal.submit(make_new("a"))
            host.storage.device.capacity_bytes = 1 << 40
            await asyncio.sleep(2)
            await journal.submit(make_new("b"))
        assert stored_names(store) == ["a", "b"]

    with_store(check)


def test_time_never_goes_back() -> None:
    async def check(host: SimHost, store: Store) -> None:
        clock = iter([5, 3, 9])
        seen: list[int] = []

        def look(view: View, now_ms: int) -> Outcome:
            seen.append(now_ms)
            return Outcome(done(""))

        journal = Journal(store, apply_group, lambda: next(clock), lambda effects: None)
        running = asyncio.create_task(journal.run())
        for _ in range(3):
            await journal.submit(look)
        assert seen == [5, 5, 9]
        journal.close()
        await running

    with_store(check)


def test_a_cancelled_journal_finishes_the_batch_in_flight() -> None:
    async def check(host: SimHost, store: Store) -> None:
        before = store.log.position.txid
        writing = Writing(store)
        running = asyncio.create_task(writing.journal.run())
        asked = asyncio.create_task(writing.journal.submit(make_new("a")))
        await asyncio.sleep(0.0001)  # the append is under way
        assert store.log.position.txid == before
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await asked == done("a")
        assert stored_names(store) == ["a"]
        assert store.log.position.txid == before + 1

    with_store(check)


def test_damage_that_a_reader_finds_ends_the_journal() -> None:
    async def check(host: SimHost, store: Store) -> None:
        writing = Writing(store)
        running = asyncio.create_task(writing.journal.run())

        def read() -> None:
            with writing.journal.snapshot():
                raise DataDamaged("a record of the namespace (Inode) fails its checksum")

        with pytest.raises(DataDamaged):
            read()
        with pytest.raises(DataDamaged, match="Inode"):
            await running
        assert "rebuild" in host.storage.directory(host.directory).entries

    with_store(check)


def test_damage_is_marked_also_if_another_task_ends_the_journal_for_it() -> None:
    async def check(host: SimHost, store: Store) -> None:
        running = asyncio.create_task(Writing(store).journal.run())
        await asyncio.sleep(0.1)
        store.report_damage("rot")
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()
        assert "rebuild" in host.storage.directory(host.directory).entries

    with_store(check)
