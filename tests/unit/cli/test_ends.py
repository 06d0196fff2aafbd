"""`head` and `tail` print what coreutils print, byte for byte, and read no more than they need."""

import asyncio
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmen.cli import ends
from dolmen.cli.ends import Part, head_pieces, parse_part, tail_pieces
from dolmen.client.core.byte_shares import ByteShares
from dolmen.client.in_order import Ranges
from dolmen.protocol.checksums import Buffer

Cut = Callable[[Ranges, Part], AsyncGenerator[Buffer, None]]
CUTS: dict[str, Cut] = {"head": head_pieces, "tail": tail_pieces}


class Bytes:
    """A file in memory that counts what is read of it."""

    piece_bytes = 64 * 1024

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.memory = ByteShares(64 * 1024 * 1024)
        self.read_bytes = 0

    @property
    def length_bytes(self) -> int:
        return len(self.content)

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        found = self.content[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        self.read_bytes += len(found)
        return len(found)


class Zeros(Bytes):
    """So many zeros, without having them, and a few lines at the end."""

    END = b"\nlast but one\nlast\n"

    def __init__(self, length_bytes: int) -> None:
        super().__init__(b"")
        self._length_bytes = length_bytes

    @property
    def length_bytes(self) -> int:
        return self._length_bytes + len(self.END)

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        buffer[:] = bytes(len(buffer))
        end = self.END[max(0, offset - self._length_bytes) :]
        if offset + len(buffer) > self._length_bytes:
            start = max(0, self._length_bytes - offset)
            buffer[start:] = end[: len(buffer) - start]
        self.read_bytes += len(buffer)
        return len(buffer)


def cut(verb: str, file: Ranges, part: Part) -> bytes:
    async def collect() -> bytes:
        async with aclosing(CUTS[verb](file, part)) as pieces:
            return b"".join([bytes(piece) async for piece in pieces])

    return asyncio.run(collect())


def coreutils(verb: str, option: str, number: str, content: bytes) -> bytes:
    done = subprocess.run([verb, option, number], input=content, capture_output=True, check=True)
    return done.stdout


lines = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=12)
contents = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda lines, end: b"\n".join(lines) + end, lines, st.sampled_from([b"", b"\n"])),
    # Lines longer than a piece, and ends of lines where pieces end.
    st.builds(
        lambda shift, lines: b"x" * (ends.FIRST_PIECE_BYTES + shift) + b"\n" + b"\n".join(lines),
        st.integers(-2, 2),
        lines,
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    verb=st.sampled_from(["head", "tail"]),
    option=st.sampled_from(["-n", "-c"]),
    sign=st.sampled_from(["", "+", "-"]),
    number=st.integers(0, 14),
    content=contents,
)
def test_they_print_what_coreutils_print(
    verb: str, option: str, sign: str, number: int, content: bytes
) -> None:
    text = f"{sign}{number}"
    part = parse_part(text, bytes_meant=option == "-c")
    assert part is not None
    assert cut(verb, Bytes(content), part) == coreutils(verb, option, text, content)


@pytest.mark.parametrize("verb", ["head", "tail"])
@pytest.mark.parametrize("number", ["100000", "+100000", "-100000", "1"])
def test_they_do_in_large_files_too(verb: str, number: str) -> None:
    content = b"".join(b"%d\n" % (index * 7919) for index in range(200_000)) + b"no newline"
    part = parse_part(number, bytes_meant=False)
    assert part is not None
    assert cut(verb, Bytes(content), part) == coreutils(verb, "-n", number, content)


def test_the_tail_of_a_huge_file_reads_its_end_only() -> None:
    file = Zeros(10 << 40)
    assert cut("tail", file, Part(2)) == b"last but one\nlast\n"
    assert file.read_bytes < 2 * ends.FIRST_PIECE_BYTES


def test_the_head_of_a_file_reads_its_beginning_only() -> None:
    file = Bytes(b"line\n" * 1_000_000)
    assert cut("head", file, Part(10)) == b"line\n" * 10
    assert file.read_bytes <= ends.FIRST_PIECE_BYTES


def test_no_lines_read_nothing() -> None:
    file = Bytes(b"line\n" * 10)
    for verb in CUTS:
        assert cut(verb, file, Part(0)) == b""
        assert cut(verb, file, Part(0, bytes_meant=True)) == b""
    assert file.read_bytes == 0


@pytest.mark.parametrize(
    ("text", "number"),
    [("10", 10), ("1k", 1024), ("2K", 2048), ("1kB", 1000), ("3MiB", 3 << 20), ("2MB", 2_000_000),
     ("4b", 2048), ("1G", 1 << 30)],
)  # fmt: skip
def test_suffixes_are_those_of_coreutils(text: str, number: int, tmp_path: Path) -> None:
    part = parse_part(text, bytes_meant=True)
    assert part is not None
    assert part.number == number
    with (tmp_path / "zeros").open("wb") as stream:
        stream.truncate(number + 5)
    if number < 1 << 24:
        with (tmp_path / "zeros").open("rb") as stream:
            said = subprocess.run(["head", "-c", text], stdin=stream, capture_output=True)
        assert len(said.stdout) == number


@pytest.mark.parametrize("text", ["", "x", "1x", "--1", "1.5", "0x10", "1 ", "٣", "9" * 19])
def test_what_is_no_number_is_none(text: str) -> None:
    assert parse_part(text, bytes_meant=False) is None
