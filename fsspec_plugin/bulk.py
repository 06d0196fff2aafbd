"""Whole files and ranges of files: cat, pipe, put, get, copy.

Every file that is written goes through `_store`: it appears whole when it is complete, with an
error it does not, and inside a transaction it waits for the commit. Bytes are streamed in pieces;
what arrives in a local file is compared with the file's own hash before it gets its name.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Coroutine, Iterable
from pathlib import Path
from typing import IO, Any

import fsspec.asyn
from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from fsspec.utils import isfilelike, stringify_path

from dolmen.client import Reader, Writer
from dolmen.client.in_order import read_in_order
from dolmen.client.transfer import download_stream
from dolmen.protocol.checksums import Buffer
from dolmen.protocol.client_messages import FileInfo
from dolmen.protocol.errors import ChecksumMismatch, DolmenError
from fsspec_plugin.access import named
from fsspec_plugin.changes import Changes
from fsspec_plugin.clients import FileWriter
from fsspec_plugin.os_errors import to_os_error, translates_errors
from fsspec_plugin.synchronous import cross

PIECE_BYTES = 8 * 1024 * 1024
"""Read from or written to a local file at once: a few segments, so that their streams stay busy."""

FILES_AT_ONCE = 32
"""Files of one `cat_ranges` read at the same time; the client limits the streams below."""


class DeferredFile:
    """A complete file that waits for the end of a transaction."""

    def __init__(self, filesystem: "Bulk", path: str, writer: Writer) -> None:
        self._filesystem = filesystem
        self.path = path
        self._writer = writer

    def commit(self) -> None:
        """Publish it."""
        fsspec.asyn.sync(self._filesystem.loop, self._filesystem._publish, self.path, self._writer)

    def discard(self) -> None:
        """Publish nothing."""
        fsspec.asyn.sync(self._filesystem.loop, self._writer.abandon)


class Bulk(Changes):
    """The methods of fsspec that move bytes."""

    # ------------------------------------------------------------ read

    @translates_errors
    async def _open_reader(self, path: Any) -> Reader:
        return await (await self._client()).open_reader(self._ask(path).path)

    @translates_errors
    async def _cat_file(
        self, path: Any, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        return await self._read_part(path, await self._open_reader(path), start, end)

    def cat_file(
        self, path: Any, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Return the bytes of a file, or of a part of it."""
        if "timeout" in kwargs:
            found: bytes = fsspec.asyn.sync(self.loop, self._cat_file, path, start, end, **kwargs)
            return found
        reader: Reader = self._call(lambda: self._open_reader(path))

        def read() -> Coroutine[Any, Any, bytes]:
            return self._read_part(path, reader, start, end)

        return self._call(read) if reader.info.inline else cross(self.loop, read)

    @translates_errors
    async def _read_part(
        self, path: Any, reader: Reader, start: int | None, end: int | None
    ) -> bytes:
        """Return a range of a file, and close it."""
        try:
            first, stop, _ = slice(start, end).indices(reader.length_bytes)
            length = max(0, stop - first)
            if reader.info.inline:
                return bytes(await reader.read_at(first, length))
            async with (await self._connected()).transfers:
                return bytes(await reader.read_at(first, length))
        finally:
            await reader.close()

    async def _cat(self, path: Any, recursive: bool = False, **kwargs: Any) -> Any:
        if recursive:
            roots = await self._expand_path(path)
            path = [file for root in roots for file in await self._find(root)]
        return await super()._cat(path, **kwargs)

    async def _cat_ranges(
        self,
        paths: list[Any],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        starts, ends = _for_each(starts, paths), _for_each(ends, paths)
        of_file: dict[str, list[int]] = {}
        for index, path in enumerate(paths):
            of_file.setdefault(self._strip_protocol(path), []).append(index)
        found: list[Any] = [None] * len(paths)

        async def read(path: str, indices: list[int]) -> None:
            wanted = [(starts[index], ends[index]) for index in indices]
            try:
                parts: list[Any] = await self._read_ranges(path, wanted, max_gap or 0)
            except (OSError, ValueError) as error:
                parts = [error] * len(indices)
            for index, part in zip(indices, parts, strict=True):
                found[index] = part

        await fsspec.asyn._run_coros_in_chunks(
            [read(path, indices) for path, indices in of_file.items()],
            batch_size=batch_size or FILES_AT_ONCE,
        )
        if on_error != "return":
            for part in found:
                if isinstance(part, Exception):
                    raise part
        return found

    @translates_errors
    async def _read_ranges(
        self, path: Any, wanted: list[tuple[int | None, int | None]], max_gap: int
    ) -> list[Any]:
        """The bytes, or the error, of each range of one file that is opened once."""
        reader = await self._open_reader(path)
        try:
            ranges = [slice(*bounds).indices(reader.length_bytes)[:2] for bounds in wanted]
            found = await reader.read_ranges(ranges, max_gap=max_gap)
        finally:
            await reader.close()
        return [
            to_os_error(each, path) if isinstance(each, DolmenError) else each for each in found
        ]

    # ------------------------------------------------------------ write

    @translates_errors
    async def _open_writer(
        self,
        path: Any,
        exclusive: bool = False,
        coming_bytes: int | None = None,
        **options: Any,
    ) -> Writer:
        connected = await self._connected()
        writer: Writer = await connected.client.open_writer(
            self._ask(path).path,
            exclusive=exclusive,
            coming_bytes=coming_bytes,
            **named(options, "replication", "block_size_bytes", "mode"),
        )
        connected.writers.add(writer)
        return writer

    @translates_errors
    async def _publish(self, path: Any, writer: FileWriter) -> FileInfo:
        info = await writer.close()
        if isinstance(writer, Writer) and info.content_hash != writer.content_hash:
            raise ChecksumMismatch(
                "the file does not have the hash of the bytes written", info.path
            )
        return info

    @translates_errors
    async def _store(
        self,
        path: Any,
        pieces: AsyncGenerator[Buffer, None],
        exclusive: bool = False,
        **options: Any,
    ) -> None:
        """Write a file from `pieces`; it appears whole, or not at all."""
        async with (await self._connected()).transfers:
            writer = await self._open_writer(path, exclusive, **options)
            try:
                async with contextlib.aclosing(pieces):
                    async for piece in pieces:
                        await writer.write(piece)
                if self._intrans:
                    self.transaction.files.append(DeferredFile(self, path, writer))
                else:
                    await self._publish(path, writer)
            except BaseException:
                await writer.abandon()
                raise

    async def _pipe_file(
        self, path: Any, value: Buffer, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        async def pieces() -> AsyncGenerator[Buffer, None]:
            yield value

        if not self._intrans:  # else what refuses it is to be heard before the commit
            kwargs["coming_bytes"] = memoryview(value).nbytes
        await self._store(path, pieces(), _is_exclusive(mode), **kwargs)

    def pipe_file(self, path: Any, value: Buffer, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a whole file."""
        if "timeout" in kwargs:
            fsspec.asyn.sync(self.loop, self._pipe_file, path, value, mode, **kwargs)
            return
        length_bytes = memoryview(value).nbytes
        client = None if self._intrans else self._reached()
        if client is not None and client.keeps_inline(length_bytes):
            self._call(lambda: self._store_inline(path, value, _is_exclusive(mode), **kwargs))
        else:
            cross(self.loop, lambda: self._pipe_file(path, value, mode, **kwargs))

    @translates_errors
    async def _store_inline(
        self, path: Any, value: Buffer, exclusive: bool, **options: Any
    ) -> None:
        """Write a file that the namenode keeps itself, by one call."""
        shape = named(options, "replication", "block_size_bytes", "mode")
        client = await self._client()
        await client.write_file(self._ask(path).path, value, exclusive=exclusive, **shape)

    async def _put_file(
        self,
        lpath: Any,
        rpath: Any,
        mode: str = "overwrite",
        callback: Callback = DEFAULT_CALLBACK,
        **kwargs: Any,
    ) -> None:
        local = Path(stringify_path(lpath))
        if await asyncio.to_thread(local.is_dir):
            await self._makedirs(rpath, exist_ok=True)
            return
        stream = await asyncio.to_thread(local.open, "rb")
        try:
            callback.set_size((await asyncio.to_thread(local.stat)).st_size)
            await self._store(rpath, _pieces_of(stream, callback), _is_exclusive(mode), **kwargs)
        finally:
            await asyncio.to_thread(stream.close)

    async def _cp_file(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        if await self._isdir(path1):
            await self._makedirs(path2, exist_ok=True)
            return
        reader = await self._open_reader(path1)
        try:
            pieces = read_in_order(reader, 0, reader.length_bytes)
            await self._store(path2, pieces, **kwargs)
        finally:
            await reader.close()

    # ------------------------------------------------------------ to local files

    async def _get_file(
        self, rpath: Any, lpath: Any, callback: Callback = DEFAULT_CALLBACK, **kwargs: Any
    ) -> None:
        if isfilelike(lpath):
            await self._fetch(rpath, lpath, callback)
            return
        local = Path(stringify_path(lpath))
        try:
            await self._fetch_to(rpath, local, callback)
        except IsADirectoryError:
            if not await self._isdir(rpath):
                raise
            await asyncio.to_thread(local.mkdir, parents=True, exist_ok=True)

    async def _fetch_to(self, path: Any, local: Path, callback: Callback) -> None:
        """Write a local file under another name, check it, and only then rename it."""
        partial = local.with_name(f".{local.name[:200]}.{secrets.token_hex(4)}.part")
        await asyncio.to_thread(local.parent.mkdir, parents=True, exist_ok=True)
        stream = await asyncio.to_thread(partial.open, "xb")
        try:
            try:
                await self._fetch(path, stream, callback)
            finally:
                await asyncio.to_thread(stream.close)
            await asyncio.to_thread(partial.replace, local)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    @translates_errors
    async def _fetch(self, path: Any, stream: IO[bytes], callback: Callback) -> None:
        async def sink(data: memoryview) -> None:
            await asyncio.to_thread(stream.write, data)

        connected = await self._connected()
        async with connected.transfers:
            asked = self._ask(path).path
            info = await download_stream(connected.client, asked, sink, callback.relative_update)
        callback.set_size(info.length_bytes)


def _for_each(values: Any, paths: list[Any]) -> list[int | None]:
    each = list(values) if isinstance(values, Iterable) else [values] * len(paths)
    if len(each) != len(paths):
        raise ValueError("as many starts and ends as paths are needed")
    return each


def _is_exclusive(mode: str) -> bool:
    if mode not in ("overwrite", "create"):
        raise ValueError(f"mode is {mode!r}, not 'overwrite' or 'create'")
    return mode == "create"


async def _pieces_of(stream: IO[bytes], callback: Callback) -> AsyncGenerator[Buffer, None]:
    while piece := await asyncio.to_thread(stream.read, PIECE_BYTES):
        yield piece
        callback.relative_update(len(piece))
