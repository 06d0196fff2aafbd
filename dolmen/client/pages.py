"""Listings page by page: while one page is used the next one is on its way."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from dolmen.client.connection import NamenodeConnection
from dolmen.protocol.client_messages import FileInfo, ListDirectory, Listing, WalkTree
from dolmen.protocol.identifiers import LISTING_LIMIT

PageRequest = ListDirectory | WalkTree


async def directory_pages(
    namenode: NamenodeConnection, path: str, after_name: str = ""
) -> AsyncGenerator[tuple[FileInfo, ...], None]:
    """Yield the entries of a directory in byte order, those behind a name."""
    async for page in _pages(namenode, ListDirectory(path, after_name, LISTING_LIMIT)):
        yield page


async def tree_pages(
    namenode: NamenodeConnection, path: str, max_depth: int
) -> AsyncGenerator[tuple[FileInfo, ...], None]:
    """Yield everything below `path`, parents first; `max_depth` 1 is children only, 0 all."""
    async for page in _pages(namenode, WalkTree(path, "", LISTING_LIMIT, max_depth)):
        yield page


async def _pages(
    namenode: NamenodeConnection, request: PageRequest
) -> AsyncGenerator[tuple[FileInfo, ...], None]:
    page = await namenode.call(request, Listing)
    while page.more:
        request = msgspec.structs.replace(request, after=page.after)
        following = asyncio.create_task(namenode.call(request, Listing))
        try:
            await asyncio.sleep(0)  # the call is made,
            await asyncio.sleep(0)  # and leaves: the namenode works on it while we do on this page
            yield page.entries
            page = await following
        finally:
            if not following.done():  # whoever was listening has gone
                following.cancel()
                await asyncio.wait((following,))
            elif not following.cancelled():
                following.exception()
    yield page.entries
