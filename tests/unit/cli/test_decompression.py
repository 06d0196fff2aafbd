"""Compressed files are recognised by their content and made plain in pieces."""

import asyncio
import bz2
import gzip
import lzma
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmen.cli.decompression import MARK_BYTES, PIECE_BYTES, decompressed, decompressor_of
from dolmen.protocol.errors import DataDamaged, RequestRefused

Compress = Callable[[bytes], bytes]
FORMATS: tuple[Compress, ...] = (gzip.compress, bz2.compress, lzma.compress)


def plain_pieces(data: bytes, piece_bytes: int) -> list[bytes]:
    machine = decompressor_of(data[:MARK_BYTES])
    assert machine is not None

    async def cut() -> AsyncIterator[bytes]:
        for at in range(0, len(data), piece_bytes):
            yield data[at : at + piece_bytes]

    async def collect() -> list[bytes]:
        return [piece async for piece in decompressed(cut(), machine)]

    return asyncio.run(collect())


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    st.integers(1, 50),
    st.integers(0, 20),
)
def test_streams_one_after_the_other_come_out_as_they_went_in(
    compress: Compress, contents: list[bytes], piece_bytes: int, padding: int
) -> None:
    data = b"".join(compress(content) for content in contents) + bytes(padding)
    assert b"".join(plain_pieces(data, piece_bytes)) == b"".join(contents)


@pytest.mark.parametrize("compress", FORMATS)
def test_what_is_hugely_compressed_comes_in_pieces(compress: Compress) -> None:
    data = compress(bytes(20 << 20))
    pieces = plain_pieces(data, len(data))
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert sum(map(len, pieces)) == 20 << 20


@pytest.mark.parametrize("compress", FORMATS)
def test_what_ends_early_or_goes_on_otherwise_is_damaged(compress: Compress) -> None:
    data = compress(b"content" * 1000)
    with pytest.raises(DataDamaged, match="end early"):
        plain_pieces(data[:-5], 10)
    with pytest.raises(DataDamaged):
        plain_pieces(data + b"and more that is plain", 10)


@pytest.mark.parametrize("beginning", [b"", b"\x1f", b"text", b"PK\x03\x04", b"BZ"])
def test_the_rest_is_plain(beginning: bytes) -> None:
    assert decompressor_of(beginning) is None


def test_zstd_says_how_to_read_it() -> None:
    with pytest.raises(RequestRefused, match="zstdcat"):
        decompressor_of(bytes.fromhex("28b52ffd0458"))
