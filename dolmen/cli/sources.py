"""What of a cluster a command is about: its paths, with patterns expanded."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from dolmen.cli.cluster_path import ClusterPath
from dolmen.cli.copy_plan import Source
from dolmen.cli.globs import expand
from dolmen.cli.session import Failures, Session
from dolmen.client import Client
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import IsADirectory, NoSuchPath
from dolmen.protocol.identifiers import parse_path


@dataclass(frozen=True)
class Found:
    """One entry of a cluster that a path of the command line means."""

    client: Client
    asked: ClusterPath
    info: FileInfo
    source: Source

    @property
    def by_pattern(self) -> bool:
        return self.info.path != self.asked.path

    @property
    def file(self) -> str:
        """Its path; IsADirectory if it is none that has bytes."""
        if self.info.kind is EntryKind.DIRECTORY:
            path = self.info.path
            raise IsADirectory(f"is a directory; '{path.rstrip('/')}/*' names what is in it", path)
        return self.info.path

    @property
    def shown(self) -> str:
        """Its path in the form in which it was asked for."""
        return self.asked.shown(self.info.path)


async def find_sources(
    session: Session, paths: Iterable[ClusterPath], failures: Failures, *, missing: bool = False
) -> list[Found]:
    """All entries that `paths` mean; with `missing`, a path that means none is fine."""
    sources = []
    for path in paths:
        with failures.looking():
            client = await session.client(path)
            try:
                entries = await expand(client, path.path)
            except NoSuchPath:
                if missing:
                    continue
                raise
            sources += [Found(client, path, entry, _source(path, entry)) for entry in entries]
    return sources


async def files_below(found: Found) -> AsyncIterator[tuple[FileInfo, str]]:
    """The entry itself and all below it, each with its path relative to the entry."""
    yield found.info, ""
    if found.info.kind is EntryKind.DIRECTORY:
        depth = len(parse_path(found.info.path))
        async for entry in found.client.walk_tree(found.info.path):
            # Parsed, because it becomes a path of this machine: no name in it may lead elsewhere.
            yield entry, "/".join(parse_path(entry.path)[depth:])


def _source(asked: ClusterPath, entry: FileInfo) -> Source:
    is_directory = entry.kind is EntryKind.DIRECTORY
    by_pattern = entry.path != asked.path
    contents = is_directory and not by_pattern and (asked.ends_with_slash or entry.path == "/")
    return Source(entry.path, entry.path.rpartition("/")[2], is_directory, contents)
