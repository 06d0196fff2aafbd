"""Local files and pipes as streams."""

import asyncio
import os
from io import FileIO
from pathlib import Path

import pytest
import xxhash

from dolmen.cli.streams import PIECE_BYTES, hash_of, in_own_thread, local_pieces, write_all
from dolmen.protocol.errors import RequestRefused


async def read_all(stream: FileIO) -> list[bytes]:
    return [piece async for piece in local_pieces(stream)]


@pytest.mark.parametrize("length", [0, 1, PIECE_BYTES, PIECE_BYTES + 1])
def test_a_file_is_read_whole_and_in_order(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(length))
    with FileIO(path) as stream:
        assert b"".join(asyncio.run(read_all(stream))) == path.read_bytes()


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))

    async def read_and_append() -> None:
        with FileIO(path) as stream:
            async for _ in local_pieces(stream):
                with path.open("ab") as more:
                    more.write(b"more")

    with pytest.raises(RequestRefused, match="changed while it was read"):
        asyncio.run(read_and_append())


def test_a_pipe_is_read_until_its_end() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"from a pipe")
    os.close(writing)
    with FileIO(reading) as stream:
        assert asyncio.run(read_all(stream)) == [b"from a pipe"]


def test_the_hash_is_of_all_bytes(tmp_path: Path) -> None:
    with FileIO(tmp_path / "file", "x+") as stream:
        write_all(stream, memoryview(b"abc" * 100))
        assert hash_of(stream) == xxhash.xxh3_128(b"abc" * 100).digest()


def test_an_error_in_a_thread_is_the_callers() -> None:
    def fail() -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError):
        asyncio.run(in_own_thread(fail))


def test_a_read_that_never_returns_does_not_hold_the_end_up() -> None:
    reading, writing = os.pipe()

    async def give_up() -> None:
        async with asyncio.timeout(0.01):
            await in_own_thread(lambda: os.read(reading, 1))

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    os.close(writing)
    os.close(reading)
