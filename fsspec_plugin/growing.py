"""Files that grow and shrink where they stand: opened to append, or visibly, cut and joined."""

from collections.abc import Coroutine, Sequence
from typing import Any

from dolmen.client import AppendWriter
from dolmen.protocol.errors import NoSuchPath
from fsspec_plugin.access import named
from fsspec_plugin.bulk import Bulk
from fsspec_plugin.clients import FileWriter
from fsspec_plugin.os_errors import translates_errors
from fsspec_plugin.synchronous import cross

SHAPE = ("replication", "block_size_bytes", "mode")


class Growing(Bulk):
    """What fsspec has no name for, or only a mode of `open`."""

    @translates_errors
    async def _open_to_write(
        self, path: Any, mode: str, *, deferred: bool = False, **options: Any
    ) -> FileWriter:
        """Return the writer that `mode` asks for; one that is deferred shows nothing before its
        end."""
        if mode == "ab":
            return await self._open_to_append(path, deferred=deferred, **options)
        if options.pop("visible", False):
            if deferred:
                raise ValueError("a file is visible at once, or at the end of a transaction")
            return await self._open_visible(path, exclusive=mode == "xb", **options)
        return await self._open_writer(path, mode == "xb", **options)

    def _open_to_write_and_wait(self, path: Any, mode: str, **options: Any) -> FileWriter:
        """Do that for a synchronous caller."""

        def begin() -> Coroutine[Any, Any, FileWriter]:
            return self._open_to_write(path, mode, **options)

        client = self._reached()
        grows = mode == "ab" or options.get("visible")
        if client is None or grows or not client.keeps_inline(0):
            return cross(self.loop, begin)
        return self._call(begin)

    async def _open_to_append(self, path: Any, *, deferred: bool, **options: Any) -> FileWriter:
        connected = await self._connected()
        try:
            writer: AppendWriter = await connected.client.open_appender(
                self._ask(path).path, create=not deferred, **named(options, *SHAPE)
            )
        except NoSuchPath:
            if not deferred:
                raise
            return await self._open_writer(path, True, **options)
        connected.writers.add(writer)
        return writer

    async def _open_visible(self, path: Any, *, exclusive: bool, **options: Any) -> AppendWriter:
        connected = await self._connected()
        writer: AppendWriter = await connected.client.open_writer(
            self._ask(path).path, exclusive=exclusive, visible=True, **named(options, *SHAPE)
        )
        connected.writers.add(writer)
        return writer

    @translates_errors
    async def _truncate(self, path: Any, size: int) -> None:
        """Take away a file's bytes from `size` on; a greater one than it has is EINVAL."""
        await (await self._client()).truncate(self._ask(path).path, size)

    @translates_errors
    async def _concat(self, target: Any, sources: Sequence[Any]) -> None:
        """Put the bytes of `sources` behind those of `target`, in one step in which they vanish."""
        paths = [self._ask(source).path for source in sources]
        await (await self._client()).concat(self._ask(target).path, paths)

    @translates_errors
    async def _recover_lease(self, path: Any) -> None:
        """Take the right to write a file from whoever has it; what was flushed stays."""
        await (await self._client()).recover_lease(self._ask(path).path)
