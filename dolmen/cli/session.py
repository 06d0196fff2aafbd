"""The clusters that one command talks to, and what becomes of it when some of its items fail."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from typing import TypeVar

import click

from dolmen.cli.cluster_path import ClusterPath
from dolmen.cli.exit_codes import EXIT_SIGNALLED, EXIT_SOME_FAILED, describe, exit_code_of
from dolmen.cli.said import Said
from dolmen.cli.standard_streams import is_of_standard_output
from dolmen.client import Client, ClientOptions
from dolmen.client.url import choose_address, choose_user
from dolmen.protocol.errors import DolmenError, InvalidRequest, NamenodeUnreachable
from dolmen.runtime.real_machine import real_machine
from dolmen.runtime.settings import Settings

Result = TypeVar("Result")

#: One item of a command, not begun.
Work = Callable[[], Awaitable[None]]

#: Enough that a file comes from a few blocks and datanodes at once.
STREAMS_PER_FILE = 4


class Session:
    """One client for each cluster that is named; all are closed together."""

    def __init__(self, said: Said, settings: Settings, streams: int) -> None:
        self._said = said
        self._settings = settings
        self._streams = streams
        self._clients: dict[str, Client] = {}

    def address_of(self, path: ClusterPath | None) -> str:
        """The namenode's address, of a path or of the cluster meant when no path is given."""
        try:
            return choose_address(path.address if path else None, self._said.at, os.environ)
        except InvalidRequest as error:
            raise click.UsageError(f"--at or DOLMEN_URL: {error.message}") from None

    async def client(self, path: ClusterPath | None = None) -> Client:
        """The client of the path's cluster, connected."""
        address = self.address_of(path)
        if address not in self._clients:
            user = choose_user(self._said.user, os.environ)
            options = replace(
                ClientOptions.of(self._settings, address, user=user), streams=self._streams
            )
            self._clients[address] = client = Client(real_machine(), options)
            await client.connect()
        return self._clients[address]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


def run(work: Callable[[Session], Coroutine[None, None, Result]], files: int = 1) -> Result:
    """Do the work of a command with its session, on an event loop of its own.

    `files` is how many it moves at once.
    """

    ended_by: list[signal.Signals] = []

    async def with_session() -> Result:
        _cancel_on_signals(ended_by)
        said = Said.now()
        session = Session(said, said.settings(), files * STREAMS_PER_FILE)
        try:
            return await work(session)
        finally:
            await session.close()

    try:
        return asyncio.run(with_session())
    except asyncio.CancelledError:
        last = ended_by[-1] if ended_by else signal.SIGTERM
        click.get_current_context().exit(EXIT_SIGNALLED + last)


def _cancel_on_signals(ended_by: list[signal.Signals]) -> None:
    """As Ctrl-C does, so that what was begun is cleared away: when it is told to end, and when its
    terminal is gone, unless that was to be survived (`nohup`)."""
    task = asyncio.current_task()
    assert task is not None

    def end(number: signal.Signals) -> None:
        ended_by.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, end, number)


class Failures:
    """Items that fail are told at once and the others are still done.

    One item alone gives the command its own exit code. A namenode that cannot be reached ends the
    command, because every other item would wait for it too, and so does a standard output that
    takes no more.
    """

    def __init__(self) -> None:
        self._done = 0
        self._codes: list[int] = []

    @contextlib.contextmanager
    def item(self) -> Iterator[None]:
        """Something that is done or fails."""
        with self.looking():
            yield
            self._done += 1

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """What must be known before anything is done: it counts as an item only if it fails."""
        try:
            yield
        except (NamenodeUnreachable, BrokenPipeError):
            raise
        except (DolmenError, OSError) as error:
            if is_of_standard_output(error):
                raise
            click.echo(f"dolmen: {describe(error)}", err=True)
            self._codes.append(exit_code_of(error))

    def end(self) -> None:
        """Leave the command with an exit code if an item failed."""
        if self._codes:
            alone = len(self._codes) == 1 and not self._done
            click.get_current_context().exit(self._codes[0] if alone else EXIT_SOME_FAILED)


async def in_parallel(work: AsyncIterator[Work], limit: int) -> None:
    """Do all of it, `limit` at a time, in order; the first error ends the rest and is raised.

    What comes next is looked for when somebody is free to do it: of a large tree only what is under
    way is kept.
    """
    looking = asyncio.Lock()

    async def take_and_do() -> None:
        while True:
            async with looking:
                piece = await anext(work, None)
            if piece is None:
                return
            await piece()

    tasks = [asyncio.create_task(take_and_do()) for _ in range(limit)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
