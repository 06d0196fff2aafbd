"""Files that are compressed, recognised by how they begin and made plain in bounded memory.

A file may be several compressed streams one after the other, as `cat a.gz b.gz` makes it. One that
ends early, or goes on with something else, is damaged; what came before that is good.
"""

import bz2
import lzma
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from typing import Protocol

from dolmen.protocol.checksums import Buffer
from dolmen.protocol.errors import DataDamaged, RequestRefused

#: What comes out at once: a few compressed bytes may stand for gigabytes.
PIECE_BYTES = 1 << 20

#: The longest of the marks below.
MARK_BYTES = 6

ZSTANDARD_MARK = bytes.fromhex("28b52ffd")

#: With 16 added, zlib takes the frame of gzip around its stream.
GZIP_WINDOW = 16 + zlib.MAX_WBITS


class Machine(Protocol):
    """What decompresses one stream; the three of the standard library all do this."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


KINDS: tuple[tuple[bytes, str, Callable[[], Machine]], ...] = (
    (b"\x1f\x8b", "gzip", lambda: zlib.decompressobj(GZIP_WINDOW)),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", "xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)),
)


class Decompressor:
    """Takes a file's bytes in order and gives what they stand for."""

    def __init__(self, kind: str, make: Callable[[], Machine]) -> None:
        self._kind = kind
        self._make = make
        self._machine: Machine | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes of the file stand for, in pieces."""
        while True:
            if self._machine is None:
                data = data.lstrip(b"\0")  # what tapes and block devices fill up with
                if not data:
                    return
                self._machine = self._make()
            yield from self._stream(self._machine, data)
            if not self._machine.eof:
                return
            data, self._machine = self._machine.unused_data, None

    def end(self) -> None:
        """DataDamaged if the file ends within a stream."""
        if self._machine is not None:
            raise DataDamaged(f"the {self._kind} data end early")

    def _stream(self, machine: Machine, data: bytes) -> Iterator[bytes]:
        while not machine.eof:
            try:
                piece = machine.decompress(data, PIECE_BYTES)
            except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
                raise DataDamaged(f"these are no whole {self._kind} data: {error}") from None
            if piece:
                yield piece
            # zlib gives back what it has not looked at; the others keep it.
            data = getattr(machine, "unconsumed_tail", b"")
            if not data and len(piece) < PIECE_BYTES:
                return


def decompressor_of(beginning: bytes) -> Decompressor | None:
    """What makes a file that begins so plain; None if it is plain, as far as can be told."""
    if beginning.startswith(ZSTANDARD_MARK):
        raise RequestRefused("is compressed with zstd: use dolmen cat PATH | zstdcat")
    for mark, kind, make in KINDS:
        if beginning.startswith(mark):
            return Decompressor(kind, make)
    return None


async def decompressed(
    pieces: AsyncIterable[Buffer], machine: Decompressor
) -> AsyncGenerator[bytes, None]:
    """What `pieces` stand for."""
    async for piece in pieces:
        for plain in machine.feed(bytes(piece)):
            yield plain
    machine.end()
