"""Items that fail, and work in parallel."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from functools import partial

import click
import pytest

from dolmen.cli.session import Failures, Work, in_parallel
from dolmen.protocol.errors import NamenodeUnreachable, NoSuchPath


def ends_with(failures: Failures) -> int:
    with click.Context(click.Command("verb")):
        try:
            failures.end()
        except click.exceptions.Exit as end:
            return end.exit_code
    return 0


def test_one_item_alone_gives_its_own_exit_code() -> None:
    failures = Failures()
    with failures.looking():
        pass
    with failures.item():
        raise NoSuchPath("no", "/x")
    assert ends_with(failures) == 3


def test_one_of_several_items_gives_exit_code_1_and_the_others_are_done() -> None:
    failures = Failures()
    done = 0
    for number in range(3):
        with failures.item():
            if number == 1:
                raise NoSuchPath("no", "/x")
            done += 1
    assert done == 2
    assert ends_with(failures) == 1


def test_nothing_failed_is_no_exit() -> None:
    failures = Failures()
    with failures.item():
        pass
    assert ends_with(failures) == 0


def test_a_namenode_that_is_gone_ends_all() -> None:
    with pytest.raises(NamenodeUnreachable), Failures().item():
        raise NamenodeUnreachable("gone")


async def one_by_one(items: Iterable[Work]) -> AsyncIterator[Work]:
    for item in items:
        yield item


def test_no_more_than_the_limit_is_done_at_once_and_all_of_it() -> None:
    running, most, done = 0, 0, []

    async def work(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(number)

    asyncio.run(in_parallel(one_by_one(partial(work, number) for number in range(20)), 3))
    assert sorted(done) == list(range(20))
    assert most == 3


def test_no_more_is_looked_for_than_somebody_is_free_to_do() -> None:
    looked, most = 0, 0
    done = 0

    async def work() -> None:
        nonlocal done
        await asyncio.sleep(0)
        done += 1

    async def look() -> AsyncIterator[Work]:
        nonlocal looked, most
        for _ in range(50):
            looked += 1
            most = max(most, looked - done)
            yield work

    asyncio.run(in_parallel(look(), 4))
    assert done == 50
    assert most <= 5


def test_an_error_in_looking_is_raised() -> None:
    async def look() -> AsyncIterator[Work]:
        raise NoSuchPath("gone")
        yield asyncio.sleep

    with pytest.raises(NoSuchPath):
        asyncio.run(in_parallel(look(), 2))


def test_an_error_ends_the_rest_and_is_raised() -> None:
    cancelled = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def fail() -> None:
        await asyncio.sleep(0)
        raise NamenodeUnreachable("gone")

    with pytest.raises(NamenodeUnreachable):
        asyncio.run(in_parallel(one_by_one([hang, fail]), 2))
    assert cancelled == [True]
