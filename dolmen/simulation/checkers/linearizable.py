"""Property 3: the history of the namespace is linearizable.

There is one order of all operations, each between its beginning and its answer, in which a
namespace that does them one after the other gives these very answers. An operation that was never
answered may be in it, once, or not at all; so may one that was repeated: twice would show. This is
checked at every answer, by a bounded search (`linearizer`), for each realm of the namespace on its
own. In the end everything is listed, and nothing may be there that nobody made.

It cannot see attributes other than replication, nor an effect that is undone before anybody looks.
A realm in which too many answers were lost at once is no longer checked; a run that has one says
so.
"""

from dolmen.client.client import Client
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.growing_model import is_grown
from dolmen.simulation.history import History
from dolmen.simulation.recorded_client import RecordedClient


class Linearizable:
    """The namespace at the end is one that the history allows."""

    def __init__(self, history: History, flat: list[str]) -> None:
        self._history = history
        self._flat = flat

    async def check(self, inspector: Client, client: RecordedClient) -> list[FileInfo]:
        """Look at everything and return it."""
        found = [entry async for entry in inspector.walk_tree("/")]
        tops = sorted({entry.path.split("/")[1] for entry in found})
        for top in tops:
            if f"/{top}" not in self._flat:
                await client.list_tree(f"/{top}")
        for entry in found:
            if entry.kind is EntryKind.FILE and not is_grown(entry.path):
                self._history.true_reads.version_of(entry)
        await self._check_nothing_is_forgotten(client, found)
        return found

    async def _check_nothing_is_forgotten(
        self, client: RecordedClient, found: list[FileInfo]
    ) -> None:
        """What is not there must be explained by an operation whose answer was lost."""
        there = {entry.path for entry in found}
        for path in self._missing(there):
            await client.read(path)
        if missing := self._missing(there):
            raise CheckFailed(f"{missing} are not there any more", tuple(missing))

    def _missing(self, there: set[str]) -> list[str]:
        realms = self._history.namespace.realms()
        return [
            path
            for realm in realms
            for path in sorted((realm.certain_state() or {}).keys() - there)
        ]

    def check_count(self, found: list[FileInfo], reported: int) -> None:
        """The report counts the files that are there."""
        files = sum(entry.kind is EntryKind.FILE for entry in found)
        if files != reported:
            raise CheckFailed(f"{files} files are there, the report says {reported}")
