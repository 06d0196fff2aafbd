"""What changes names and attributes, and no bytes: make, move, remove, touch.

A move is one rename at the namenode, and a recursive removal one call for each root; fsspec's
defaults would copy, and remove entry by entry.
"""

import errno
import time
from typing import Any

from fsspec.asyn import _run_coros_in_chunks
from fsspec.utils import stringify_path

from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import (
    DirectoryNotEmpty,
    IsADirectory,
    NoSuchPath,
    PathExists,
)
from fsspec_plugin.entries import Entry, describe
from fsspec_plugin.os_errors import InvalidArgument, translates_errors
from fsspec_plugin.paths import parent_of
from fsspec_plugin.queries import Queries

REMOVED_AT_ONCE = 32
"""Calls in flight when many roots are removed: enough to share the namenode's group commits."""

PERMISSION_BITS = 0o7777


class Changes(Queries):
    """The methods of fsspec that change the namespace."""

    @translates_errors
    async def _mkdir(self, path: Any, create_parents: bool = True, **kwargs: Any) -> None:
        mode = kwargs.get("mode")
        client = await self._client()
        await client.make_directory(
            self._ask(path).path,
            mode=0o755 if mode is None else mode & PERMISSION_BITS,
            parents=create_parents,
        )

    @translates_errors
    async def _makedirs(self, path: Any, exist_ok: bool = False, **kwargs: Any) -> None:
        client = await self._client()
        await client.make_directory(self._ask(path).path, parents=True, exist_ok=exist_ok)

    # ------------------------------------------------------------ remove

    @translates_errors
    async def _rm_file(self, path: Any, **kwargs: Any) -> None:
        client = await self._client()
        try:
            await client.delete(self._ask(path).path, kind=EntryKind.FILE)
        except IsADirectory:
            raise IsADirectoryError(
                errno.EISDIR, "is a directory: use rmdir, or rm(recursive=True)", path
            ) from None

    @translates_errors
    async def _rmdir(self, path: Any, **kwargs: Any) -> None:
        client = await self._client()
        await client.delete(self._ask(path).path, kind=EntryKind.DIRECTORY)

    @translates_errors
    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        if recursive and maxdepth is not None:
            await self._remove_upper_part(path, maxdepth)
            return
        paths = await self._expand_path(path)
        roots = _outermost(paths)
        if not recursive and len(roots) < len(paths):
            for one in reversed(paths):  # what is inside before what it is in
                await self._delete(one)
            return
        await _run_coros_in_chunks(
            [self._delete(root, recursive=recursive) for root in roots],
            batch_size=batch_size or REMOVED_AT_ONCE,
        )

    async def _remove_upper_part(self, path: Any, maxdepth: int) -> None:
        """Remove what is at most `maxdepth` levels below; directories with more in them stay."""
        for one in reversed(await self._expand_path(path, recursive=True, maxdepth=maxdepth)):
            try:
                await (await self._client()).delete(self._ask(one).path)
            except DirectoryNotEmpty:
                continue

    @translates_errors
    async def _delete(self, path: Any, recursive: bool = False) -> None:
        await (await self._client()).delete(self._ask(path).path, recursive=recursive)

    # ------------------------------------------------------------ move

    @translates_errors
    async def _mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        if maxdepth is not None:
            raise ValueError("a directory is moved whole: maxdepth has no meaning for mv")
        if isinstance(path1, list | tuple) and isinstance(path2, list | tuple):
            for source, target in zip(path1, path2, strict=True):
                await self._mv_file(source, target)
            return
        sources = await self._expand_path(path1)
        target = stringify_path(path2)
        named_one = sources == [self._strip_protocol(path1)]
        if not named_one or target.endswith("/") or await self._isdir(target):
            for source in sources:
                name = self._ask(source).path.rpartition("/")[2]
                await self._mv_file(source, f"{target.rstrip('/')}/{name}")
        else:
            await self._mv_file(sources[0], target)

    @translates_errors
    async def _mv_file(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        source, target = self._ask(path1).path, self._ask(path2).path
        client = await self._client()
        try:
            await client.rename(source, target)
        except NoSuchPath:
            # Missing parents of the target are made, as for every file that is written.
            if await self._look_up(source) is None or await self._exists(parent_of(target)):
                raise
            await client.make_directory(parent_of(target), parents=True, exist_ok=True)
            await client.rename(source, target)

    # ------------------------------------------------------------ attributes

    @translates_errors
    async def _touch(self, path: Any, truncate: bool = True, **kwargs: Any) -> None:
        asked = self._ask(path).path
        client = await self._client()
        if not truncate:
            try:
                await client.set_attributes(asked, modified_ms=time.time_ns() // 1_000_000)
                return
            except NoSuchPath:
                pass
        try:
            await client.write_file(asked, b"", exclusive=not truncate)
        except PathExists:
            if truncate:
                raise
            # Somebody was faster, and it is as new as we would have made it.

    @translates_errors
    async def _set_attributes(self, path: Any, **attributes: Any) -> Entry:
        asked = self._ask(path)
        info = await (await self._client()).set_attributes(asked.path, **attributes)
        return describe(info, asked)

    async def _set_replication(self, path: Any, replication: int) -> None:
        """Change how many replicas a file's blocks shall have."""
        await self._set_attributes(path, replication=replication)

    async def _chmod(self, path: Any, mode: int) -> None:
        """Change the permission bits."""
        if not 0 <= mode <= PERMISSION_BITS:
            raise InvalidArgument(
                errno.EINVAL, f"mode {mode:#o} has more than permission bits", path
            )
        await self._set_attributes(path, mode=mode)

    async def _chown(self, path: Any, owner: str | None = None, group: str | None = None) -> None:
        """Change owner, group or both."""
        await self._set_attributes(path, owner=owner, group=group)


def _outermost(paths: list[str]) -> list[str]:
    """Those of the sorted `paths` that are not inside another one."""
    chosen: dict[str, None] = {}
    for path in sorted(paths, key=lambda path: path.count("/")):
        above = path
        while (up := parent_of(above)) != above:
            above = up
            if above in chosen:
                break
        else:
            chosen[path] = None
    return list(chosen)
