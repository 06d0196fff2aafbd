"""Text and compression around a file of ours: they end as it ends.

The standard library's layers publish what a failed `with` body left behind, and its compressors
never close the file they were given.
"""

import codecs
import io
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from fsspec_plugin.reading import DolmenFile
from fsspec_plugin.writing import DolmenWriteFile

OpenedFile = DolmenFile | DolmenWriteFile

MARK = "\ufeff"

MARKED = {
    "utf-8-sig": "utf-8",
    "utf-16": f"utf-16-{sys.byteorder[0]}e",
    "utf-32": f"utf-32-{sys.byteorder[0]}e",
}
"""Encodings whose mark stands at the beginning of a file, and only there, and what comes behind it.
The standard library's layer does not know where it is, in a file that cannot seek."""


def text_file(below: Any, options: dict[str, Any]) -> "TextFile":
    """Return a text layer above `below`, which may have text already."""
    encoding = codecs.lookup(options.get("encoding") or "utf-8").name
    if not below.writable() or encoding not in MARKED:
        return TextFile(below, **options)
    begins = below.begins if isinstance(below, CompressedFile) else below.tell() == 0
    text = TextFile(below, **options | {"encoding": MARKED[encoding]})
    if begins:
        text.write(MARK)
    return text


class TextFile(io.TextIOWrapper):
    """A text layer; when the body of its `with` raises, the file below is discarded."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.buffer.discard()  # type: ignore[attr-defined]

    def hflush(self) -> None:
        """Return when all that was written is on disk and new readers see it."""
        self.flush()
        self.buffer.hflush()  # type: ignore[attr-defined]

    hsync = hflush


class CompressedFile(io.BufferedIOBase):
    """A compressor and the file below it, opened and closed together."""

    closed = True

    def __init__(self, below: OpenedFile, compress: Callable[..., Any]) -> None:
        self._below = below
        self.begins = below.tell() == 0  # the compressor counts from where it begins itself
        self._codec = compress(below, mode="r" if below.readable() else "w")
        self.mode = below.mode
        self.path = self.name = below.path
        self.closed = False

    def read(self, size: int | None = -1, /) -> bytes:
        return self._codec.read(-1 if size is None else size)  # type: ignore[no-any-return]

    def read1(self, size: int = -1, /) -> bytes:
        return self._codec.read1(size) if hasattr(self._codec, "read1") else self.read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._codec.readline(-1 if size is None else size)  # type: ignore[no-any-return]

    def write(self, data: Any, /) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self._codec.write(data)  # type: ignore[no-any-return]

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._codec.seek(offset, whence)  # type: ignore[no-any-return]

    def tell(self) -> int:
        return self._codec.tell()  # type: ignore[no-any-return]

    def flush(self) -> None:
        """Nothing: flushing a compressor makes its output longer, and shows it to nobody."""

    def readable(self) -> bool:
        return self._below.readable()

    def writable(self) -> bool:
        return self._below.writable()

    def seekable(self) -> bool:
        return self._below.readable() and self._codec.seekable()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        try:
            self._codec.close()
        except BaseException:
            self.discard()
            raise
        self._below.close()

    def discard(self) -> None:
        """Publish nothing; the compressor, when it is collected, writes its end all the same."""
        self.closed = True
        if isinstance(self._below, DolmenWriteFile):
            self._below.discard_with_layers()
        else:
            self._below.discard()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _dealloc_warn(self, source: object) -> None:
        if isinstance(self._below, DolmenWriteFile):
            self._below._dealloc_warn(source)

    def __del__(self) -> None:
        """Nothing is closed here: the file below knows what it means not to be closed."""
