"""`dolmen mkdir`, `rm`, `rmdir` and `mv`: what changes names and touches no data."""

import click

from dolmen.cli.cluster_path import ClusterPath, ClusterPathType, path_arguments
from dolmen.cli.copy_plan import below
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.cli.sources import Found, find_sources
from dolmen.client import Client
from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import (
    DirectoryNotEmpty,
    IsADirectory,
    NoSuchPath,
    NotADirectory,
    PathExists,
    RequestRefused,
)


@click.command()
@path_arguments("paths")
@click.option("-p", "parents", is_flag=True, help="Make parents, too; existing ones are fine.")
@client_options
def mkdir(paths: tuple[ClusterPath, ...], parents: bool) -> None:
    """Make directories."""

    async def work(session: Session) -> None:
        failures = Failures()
        for path in paths:
            with failures.item():
                client = await session.client(path)
                await _make(client, path.path, parents)
        failures.end()

    run(work)


@click.command()
@path_arguments("paths")
@click.option("-r", "recursive", is_flag=True, help="Directories with all that is below them.")
@click.option("-f", "force", is_flag=True, help="A path that does not exist is fine.")
@client_options
def rm(paths: tuple[ClusterPath, ...], recursive: bool, force: bool) -> None:
    """Delete files, with -r directories.

    \b
      dolmen rm /data/flights.csv
      dolmen rm -r '/tmp/run-*'
    """

    async def work(session: Session) -> None:
        failures = Failures()
        for found in await find_sources(session, paths, failures, missing=force):
            with failures.item():
                try:
                    await _remove(found, recursive)
                except NoSuchPath:
                    if not force:
                        raise
        failures.end()

    run(work)


@click.command()
@path_arguments("paths")
@click.option("-p", "parents", is_flag=True, help="Their parents, too, up to the root.")
@client_options
def rmdir(paths: tuple[ClusterPath, ...], parents: bool) -> None:
    """Delete directories that are empty.

    
      dolmen rmdir -p /data/2013/01
    """

    async def work(session: Session) -> None:
        failures = Failures()
        for found in await find_sources(session, paths, failures):
            with failures.item():
                await _remove_empty(found, parents)
        failures.end()

    run(work)


@click.command()
@path_arguments("sources")
@click.argument("target", type=ClusterPathType())
@click.option("-n/-f", "keep", help="Keep, or replace, a file that exists [default: replace].")
@client_options
def mv(sources: tuple[ClusterPath, ...], target: ClusterPath, keep: bool) -> None:
    """Rename SOURCE to TARGET, or move sources into the directory TARGET.

    A file replaces a file and a directory an empty directory, in one step.

    \b
      dolmen mv /data/new.csv /data/flights.csv
      dolmen mv '/in/*.csv' /data/
    """

    async def work(session: Session) -> None:
        failures = Failures()
        entries = await find_sources(session, sources, failures)
        several = len(sources) > 1 or any(found.by_pattern for found in entries)
        for found in entries:
            with failures.item():
                path = await _path_for(session, found, target, several=several)
                try:
                    await found.client.rename(found.info.path, path, replace=not keep)
                except PathExists as error:
                    raise PathExists(f"{error.message}; without -n it is replaced", path) from None
                except NoSuchPath as error:
                    hint = "dolmen mkdir -p makes a directory"
                    raise NoSuchPath(f"{error.message}; {hint}", error.path) from None
        failures.end()

    run(work)


async def _make(client: Client, path: str, parents: bool) -> None:
    try:
        await client.make_directory(path, parents=parents, exist_ok=parents)
    except NoSuchPath as error:
        raise NoSuchPath(f"{error.message}; -p makes missing parents", path) from None
    except PathExists as error:
        raise PathExists(f"{error.message}; -p takes a directory that exists", path) from None


async def _remove(found: Found, recursive: bool) -> None:
    path = found.info.path
    if path == "/":
        raise RequestRefused("the root cannot be deleted: name what is in it", path)
    # The namenode looks at what is there now: a directory may have come in the file's place.
    kind = None if recursive else EntryKind.FILE
    try:
        await found.client.delete(path, recursive=recursive, kind=kind)
    except IsADirectory as error:
        raise IsADirectory(f"{error.message}: -r deletes it with all that is below", path) from None


async def _remove_empty(found: Found, parents: bool) -> None:
    path = found.info.path
    if path == "/":
        raise RequestRefused("the root cannot be deleted", path)
    while path:
        try:
            await found.client.delete(path, kind=EntryKind.DIRECTORY)
        except NotADirectory as error:
            raise NotADirectory(f"{error.message}; dolmen rm deletes it", path) from None
        except DirectoryNotEmpty as error:
            raise DirectoryNotEmpty(f"{error.message}; dolmen rm -r deletes all", path) from None
        path = path.rpartition("/")[0] if parents else ""


async def _path_for(session: Session, found: Found, target: ClusterPath, *, several: bool) -> str:
    """Where `found` is moved to."""
    if session.address_of(found.asked) != session.address_of(target):
        raise RequestRefused(
            "cannot move from one cluster to another: use dolmen cp, then dolmen rm",
            found.info.path,
        )
    inside = await _is_directory(found.client, target.path)
    if not inside and (several or target.ends_with_slash):
        raise NotADirectory("is no directory to move into", target.path)
    return below(target.path, found.source.name) if inside else target.path


async def _is_directory(client: Client, path: str) -> bool:
    try:
        return (await client.info(path)).kind is EntryKind.DIRECTORY
    except NoSuchPath:
        return False
