"""What asks about files and directories and changes nothing.

The namenode walks trees and sums them up; fsspec's own defaults would ask it many times over. Only
"there is no such path" may mean no: whoever asks whether something exists while the namenode is
down gets an error. A name that exists as it stands is meant literally, also when it looks like a
pattern.
"""

import errno
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from glob import has_magic
from typing import Any

from fsspec.utils import stringify_path

from dolmen.protocol.client_messages import EntryKind, FileInfo, Listing, make_listing
from dolmen.protocol.errors import NoSuchPath, NotADirectory
from fsspec_plugin.access import ClusterAccess
from fsspec_plugin.entries import Entry, describe, moment, version_key, version_number
from fsspec_plugin.os_errors import translates_errors, translating
from fsspec_plugin.synchronous import cross

SKIPPED_BY_WALK = (FileNotFoundError, NotADirectoryError, PermissionError)

OnError = str | Callable[[OSError], object]


class Queries(ClusterAccess):
    """The methods of fsspec that ask."""

    async def _look_up(self, path: str) -> FileInfo | None:
        try:
            return await (await self._client()).info(path)
        except (NoSuchPath, NotADirectory):
            return None

    @translates_errors
    async def _info(self, path: Any, **kwargs: Any) -> Entry:
        asked = self._ask(path)
        return describe(await (await self._client()).info(asked.path), asked)

    async def _infos(self, paths: Sequence[Any]) -> dict[Any, Entry]:
        """Return what `info` says of each path that is there: a hundred with each call."""
        asked = {path: self._ask(path) for path in paths}
        with translating():
            client = await self._client()
            infos = await client.infos([one.path for one in asked.values()])
        found = zip(asked.items(), infos, strict=True)
        return {path: describe(info, ask) for (path, ask), info in found if info is not None}

    async def _sizes(self, paths: Sequence[Any], batch_size: int | None = None) -> list[int]:
        entries = await self._infos(paths)
        for path in paths:
            if path not in entries:
                raise FileNotFoundError(errno.ENOENT, "does not exist", path)
        return [entries[path]["size"] for path in paths]

    @translates_errors
    async def _exists(self, path: Any, **kwargs: Any) -> bool:
        return await self._look_up(self._ask(path).path) is not None

    @translates_errors
    async def _isdir(self, path: Any) -> bool:
        info = await self._look_up(self._ask(path).path)
        return info is not None and info.kind == EntryKind.DIRECTORY

    @translates_errors
    async def _isfile(self, path: Any) -> bool:
        info = await self._look_up(self._ask(path).path)
        return info is not None and info.kind == EntryKind.FILE

    async def _ls(self, path: Any, detail: bool = True, **kwargs: Any) -> list[Any]:
        begun = await self._begin_listing(path)
        more = await self._go_on_listing(path, begun.after) if begun.more else []
        return self._listed(path, [*begun.entries, *more], detail=detail)

    def ls(self, path: Any, detail: bool = True, **kwargs: Any) -> list[Any]:
        """Return the entries of a directory; of a file, itself as the only one."""
        begun: Listing = self._call(lambda: self._begin_listing(path))
        after = begun.after
        more = cross(self.loop, lambda: self._go_on_listing(path, after)) if begun.more else []
        return self._listed(path, [*begun.entries, *more], detail=detail)

    @translates_errors
    async def _begin_listing(self, path: Any) -> Listing:
        """Return the first page."""
        client = await self._client()
        try:
            return await client.list_page(self._ask(path).path)
        except NotADirectory:
            return make_listing([await client.info(self._ask(path).path)])

    @translates_errors
    async def _go_on_listing(self, path: Any, after: str) -> list[FileInfo]:
        """Return all other pages, each on its way while the one before is used."""
        return await (await self._client()).list_directory(self._ask(path).path, after)

    def _listed(self, path: Any, infos: Sequence[FileInfo], *, detail: bool) -> list[Any]:
        asked = self._ask(path)
        if detail:
            return [describe(info, asked) for info in infos]
        return [asked.answer(info.path) for info in infos]

    # ------------------------------------------------------------ trees

    async def _tree(
        self, path: Any, maxdepth: int | None, prefix: str = "", *, withdirs: bool
    ) -> dict[str, Entry]:
        """The files, or all entries, at and below `path`, sorted by name."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        asked = self._ask(path)
        below = await self._below(asked.path, maxdepth or 0, prefix)
        if not below or (withdirs and not prefix):
            root = await self._look_up(asked.path)
            below += [root] if root else []
        entries = (describe(i, asked) for i in below if withdirs or i.kind == EntryKind.FILE)
        return {entry["name"]: entry for entry in sorted(entries, key=_name_of)}

    async def _below(self, path: str, max_depth: int, prefix: str) -> list[FileInfo]:
        """Everything below `path` whose first name below it starts with `prefix`."""
        names_from = len(path.rstrip("/")) + 1
        found = []
        try:
            async for info in (await self._client()).walk_tree(path, max_depth):
                first = info.path[names_from:].partition("/")[0]
                if first.startswith(prefix):
                    found.append(info)
                elif first.encode() > prefix.encode():
                    break  # names come in the order of their bytes
        except (NoSuchPath, NotADirectory):
            return []
        return found

    @translates_errors
    async def _find(
        self, path: Any, maxdepth: int | None = None, withdirs: bool = False, **kwargs: Any
    ) -> Any:
        prefix = kwargs.get("prefix") or ""
        found = await self._tree(path, maxdepth, prefix, withdirs=withdirs)
        return found if kwargs.get("detail") else list(found)

    @translates_errors
    async def _du(
        self,
        path: Any,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **kwargs: Any,
    ) -> int | dict[str, int]:
        entries = (await self._tree(path, maxdepth, withdirs=withdirs)).values()
        sizes: dict[str, int] = {entry["name"]: entry["size"] for entry in entries}
        return sum(sizes.values()) if total else sizes

    async def _walk(
        self,
        path: Any,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: OnError = "omit",
        **kwargs: Any,
    ) -> AsyncIterator[tuple[str, Any, Any]]:
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        root = self._strip_protocol(path)
        dirs: dict[str, Entry] = {}
        files: dict[str, Entry] = {}
        for entry in await self._list_for_walk(root, on_error):
            name = "" if entry["name"] == root else entry["name"].rpartition("/")[2]
            (dirs if entry["type"] == "directory" else files)[name] = entry
        level = (root, dirs, files) if kwargs.get("detail") else (root, list(dirs), list(files))
        if topdown:
            yield level
        if maxdepth is None or maxdepth > 1:
            deeper = None if maxdepth is None else maxdepth - 1
            # The caller may have taken directories out of the level it was given.
            for name in list(level[1]):
                below = self._walk(
                    dirs[name]["name"], deeper, topdown=topdown, on_error=on_error, **kwargs
                )
                async for inner in below:
                    yield inner
        if not topdown:
            yield level

    async def _list_for_walk(self, path: str, on_error: OnError) -> list[Entry]:
        try:
            return await self._ls(path, detail=True)
        except SKIPPED_BY_WALK as error:
            if on_error == "raise":
                raise
            if callable(on_error):
                on_error(error)
            return []

    # ------------------------------------------------------------ patterns

    @translates_errors
    async def _glob(self, path: Any, maxdepth: int | None = None, **kwargs: Any) -> Any:
        text = stringify_path(path)
        asked = self._ask(text)
        detail = kwargs.pop("detail", False)
        pattern = asked.path + "/" if text.endswith("/") and asked.path != "/" else asked.path
        found = await super()._glob(pattern, maxdepth=maxdepth, detail=True, **kwargs)
        if "[" in pattern and not pattern.endswith("/") and await self._exists(pattern):
            found[pattern] = await self._info(pattern)
        answers = {
            asked.answer(name): entry | {"name": asked.answer(name)}
            for name, entry in sorted(found.items())
        }
        return answers if detail else list(answers)

    async def _expand_path(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
    ) -> list[str]:
        paths = list(path) if isinstance(path, list | tuple | set) else [path]
        kinds: dict[bool, list[str]] = {True: [], False: []}
        for one in self._strip_protocol(paths):
            kinds[assume_literal or await self._is_literal(one)].append(one)
        found: set[str] = set()
        for are_literal, some in kinds.items():
            if some:
                found.update(await super()._expand_path(some, recursive, maxdepth, are_literal))
        if not found:
            raise FileNotFoundError(path)
        return sorted(found)

    async def _is_literal(self, path: str) -> bool:
        return not has_magic(path) or await self._exists(path)

    # ------------------------------------------------------------ versions and places

    async def _ukey(self, path: Any) -> str:
        return version_key(await self._cluster_id(), await self._info(path))

    async def _checksum(self, path: Any) -> int:
        return version_number(await self._ukey(path))

    async def _created(self, path: Any) -> datetime:
        return moment((await self._info(path))["created"])

    async def _modified(self, path: Any) -> datetime:
        return moment((await self._info(path))["mtime"])


def _name_of(entry: Entry) -> str:
    return str(entry["name"])
