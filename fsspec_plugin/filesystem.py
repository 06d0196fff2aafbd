"""`DolmenFileSystem`: what fsspec calls `dolmen`, put together.

Translation and nothing else: what a path means is in `paths`, what a call asks in `queries`,
`changes` and `bulk`, what an error becomes in `os_errors`. Here are the files that `open` returns,
and the synchronous names of the methods for which fsspec does not make them itself.
"""

import io
from typing import Any

from fsspec.compression import compr
from fsspec.core import get_compression

from fsspec_plugin.access import named
from fsspec_plugin.growing import Growing
from fsspec_plugin.layers import CompressedFile, text_file
from fsspec_plugin.reading import DolmenFile
from fsspec_plugin.streaming import AsyncReadFile, AsyncWriteFile
from fsspec_plugin.synchronous import crossing, staying
from fsspec_plugin.writing import DolmenWriteFile

MODES = ("rb", "wb", "xb", "ab")
BOTH_WAYS = frozenset({"a+b", "r+b", "w+b", "x+b"})
TEXT_OPTIONS = ("encoding", "errors", "newline")


class DolmenFileSystem(Growing):
    """A Dolmen cluster as an fsspec filesystem: `dolmen://host:port/path`.

    Options: `host`, `port` (else DOLMEN_URL, else 127.0.0.1:9870), `user`, `host_label`, and as
    text the settings `retry_for`, `connect_timeout`, `segments_in_flight`, `segment_size`,
    `hedged_share`, `read_memory`, `write_memory`, `short_circuit`.
    """

    info = staying(Growing._info)
    exists = staying(Growing._exists)
    isdir = staying(Growing._isdir)
    isfile = staying(Growing._isfile)
    infos = staying(Growing._infos)
    sizes = staying(Growing._sizes)
    mkdir = staying(Growing._mkdir)
    makedirs = staying(Growing._makedirs)
    rm = crossing(Growing._rm)
    rm_file = staying(Growing._rm_file)
    rmdir = staying(Growing._rmdir)
    touch = crossing(Growing._touch)
    mv = crossing(Growing._mv)
    mv_file = staying(Growing._mv_file)
    checksum = staying(Growing._checksum)
    ukey = staying(Growing._ukey)
    created = staying(Growing._created)
    modified = staying(Growing._modified)
    set_replication = staying(Growing._set_replication)
    chmod = staying(Growing._chmod)
    chown = staying(Growing._chown)
    truncate = crossing(Growing._truncate)
    concat = crossing(Growing._concat)
    recover_lease = crossing(Growing._recover_lease)

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file; modes r, w, x and a, with b or t. What is written appears whole at `close`.

        `block_size` is that of the new file when writing, and that of the cache named by
        `cache_type` when reading. Other options: `replication` for a new file, and `visible`: it
        stands at its path at once, and `hflush` shows what was written so far.
        """
        if "b" not in mode:
            text = {name: kwargs.pop(name) for name in TEXT_OPTIONS if name in kwargs}
            mode = mode.replace("t", "") + "b"
            below = self.open(path, mode, block_size, cache_options, compression, **kwargs)
            return text_file(below, text)
        path = self._strip_protocol(path)
        codec = get_compression(path, compression)
        if codec == "zip" and "a" in mode:
            raise io.UnsupportedOperation("a zip archive has its end once: write it anew")
        kwargs.setdefault("autocommit", not self._intrans)
        file = self._open(path, mode, block_size, cache_options=cache_options, **kwargs)
        if not kwargs["autocommit"] and isinstance(file, DolmenWriteFile):
            self.transaction.files.append(file)
        return file if codec is None else CompressedFile(file, compr[codec])

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> DolmenFile | DolmenWriteFile:
        mode = _checked_mode(mode)
        self._check_synchronous()
        if block_size is not None and (type(block_size) is not int or block_size < 1):
            raise ValueError(f"block_size is {block_size!r}, not a number of bytes")
        if mode == "rb":
            options = named(kwargs, "cache_type")
            return DolmenFile(
                self, path, block_size=block_size, cache_options=cache_options, **options
            )
        options = named(kwargs, "replication", "visible")
        if block_size is not None:
            options["block_size_bytes"] = block_size
        return DolmenWriteFile(self, path, mode, autocommit=autocommit, **options)

    async def open_async(self, path: Any, mode: str = "rb", **kwargs: Any) -> Any:
        """Open an AsyncReadFile (mode rb) or AsyncWriteFile (wb, xb, ab), for coroutines."""
        mode = _checked_mode(mode)
        if kwargs.get("compression"):
            raise ValueError("open_async does not compress")
        path = self._strip_protocol(path)
        if mode == "rb":
            return AsyncReadFile(path, await self._open_reader(path))
        writer = await self._open_to_write(path, mode, **kwargs)
        return AsyncWriteFile(self, path, mode, writer)

    def _check_synchronous(self) -> None:
        if self.loop is None:
            raise RuntimeError(
                "this filesystem was made with asynchronous=True: use `await fs.open_async(...)`"
            )


def _checked_mode(mode: str) -> str:
    ordered = "".join(sorted(mode, key="rwxa+b".index)) if set(mode) <= set("rwxa+b") else mode
    if ordered in MODES:
        return ordered
    if ordered in BOTH_WAYS:
        raise io.UnsupportedOperation(
            f"mode {mode!r}: what is written is not changed; use 'rb', 'wb', 'xb' or 'ab'"
        )
    raise ValueError(f"mode is {mode!r}: it must be one of r, w, x and a, with b or t")
