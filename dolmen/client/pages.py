"""Listings page by page: while one page is used the next one is on its way."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from dolmen.client.connection import NamenodeConnection
from dolmen.protocol.client_messages import FileInfo, ListDirectory, Listing, WalkTree
from dolmen.protocol.identifiers import LISTING_LIMIT

PageRequest = ListDirectory | WalkTree


async def directory_pages(
    namenode: NamenodeConnection, path: str
) -> AsyncGenerator[tuple[FileInfo, ...], None]:
    """Yield the entries of a directory in byte order."""

    def after(last: FileInfo) -> PageRequest:
        return ListDirectory(path, last.path.rpartition("/")[2], LISTING_LIMIT)

    async for page in _pages(namenode, ListDirectory(path, "", LISTING_LIMIT), after):
        yield page


async def tree_pages(
    namenode: NamenodeConnection, path: str, max_depth: int
) -> AsyncGenerator[tuple[FileInfo, ...], None]:
    """Yield everything below `path`, parents first; `max_depth` 1 is children only, 0 all."""

    def after(last: FileInfo) -> PageRequest:
        return WalkTree(path, _relative(last.path, path), LISTING_LIMIT, max_depth)

    async for page in _pages(namenode, WalkTree(path, "", LISTING_LIMIT, max_depth), after):
        yield page


async def _pages(
    namenode: NamenodeConnection, first: PageRequest, after: Callable[[FileInfo], PageRequest]
) -> AsyncGenerator[tuple[FileInfo, ...], None]:
    page = await namenode.call(first, Listing)
    while page.more and page.entries:
        following = asyncio.create_task(namenode.call(after(page.entries[-1]), Listing))
        try:
            yield page.entries
            page = await following
        finally:
            if not following.done():  # whoever was listening has gone
                following.cancel()
                await asyncio.wait((following,))
            elif not following.cancelled():
                following.exception()
    yield page.entries


def _relative(path: str, root: str) -> str:
    """Return `path` relative to the directory `root` above it."""
    names = [name for name in root.split("/") if name]
    return "/".join([name for name in path.split("/") if name][len(names) :])
