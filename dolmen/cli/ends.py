"""Which bytes of a file `head` and `tail` print, found by reading as little of it as may be.

A line ends with its newline; what stands behind the last newline is a line too. Where the first
lines end is found from the front; where the last lines begin is found from the end, in pieces, so
that the tail of a large file costs as little as that of a small one. Nothing is kept but the piece
at hand, however long a line is.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from dolmen.client.in_order import Ranges, read_in_order
from dolmen.protocol.checksums import Buffer

#: Ten lines are mostly within the first; the next ones grow, so that many lines need few of them.
FIRST_PIECE_BYTES = 64 * 1024
LAST_PIECE_BYTES = 4 * 1024 * 1024

NEWLINE = 0x0A

#: The suffixes of coreutils, of which more than these are longer than any file.
UNITS = {"": 1, "b": 512, "k": 1024, "kB": 1000}
for _power, _letter in enumerate("KMGTPE", 1):
    UNITS |= {_letter: 1024**_power, f"{_letter}iB": 1024**_power, f"{_letter}B": 1000**_power}


@dataclass(frozen=True)
class Part:
    """So many lines or bytes; `sign` is the one that stood before the number, or nothing."""

    number: int
    sign: str = ""
    bytes_meant: bool = False


def parse_part(text: str, *, bytes_meant: bool) -> Part | None:
    """`10`, `+3`, `-2`, `64K`; None for what is no number."""
    found = re.fullmatch(r"([+-]?)([0-9]{1,18})([A-Za-z]*)", text)
    if found is None or found[3] not in UNITS:
        return None
    return Part(int(found[2]) * UNITS[found[3]], found[1], bytes_meant)


async def head_pieces(file: Ranges, part: Part) -> AsyncGenerator[Buffer, None]:
    """The first `number` lines or bytes; with "-" all but the last so many."""
    if part.bytes_meant:
        end = file.length_bytes - part.number if part.sign == "-" else part.number
    elif part.sign == "-":
        end = await start_of_last_lines(file, part.number)
    else:
        async with aclosing(_first_lines(file, part.number)) as pieces:
            async for piece in pieces:
                yield piece
        return
    async with aclosing(read_in_order(file, 0, max(0, end))) as rest:
        async for data in rest:
            yield data


async def tail_pieces(file: Ranges, part: Part) -> AsyncGenerator[Buffer, None]:
    """The last `number` lines or bytes; with "+" all from that one on, counted from 1."""
    start = await tail_start(file, part)
    async with aclosing(read_in_order(file, start, file.length_bytes)) as pieces:
        async for data in pieces:
            yield data


async def tail_start(file: Ranges, part: Part) -> int:
    """The offset at which the tail begins."""
    if part.sign == "+":
        skipped = max(0, part.number - 1)
        return skipped if part.bytes_meant else await _end_of_first_lines(file, skipped)
    if part.bytes_meant:
        return max(0, file.length_bytes - part.number)
    return await start_of_last_lines(file, part.number)


async def start_of_last_lines(file: Ranges, number: int) -> int:
    """The offset at which the last `number` lines begin."""
    end = file.length_bytes
    if not number or not end:
        return end
    # The newline that ends the last line begins no other one.
    wanted = number + (1 if await _read(file, end - 1, end) == b"\n" else 0)
    piece_bytes = FIRST_PIECE_BYTES
    while end:
        start = max(0, end - piece_bytes)
        data = await _read(file, start, end)
        found = data.count(NEWLINE)
        if found >= wanted:
            return start + _nth_last_newline(data, wanted) + 1
        wanted -= found
        end, piece_bytes = start, min(2 * piece_bytes, LAST_PIECE_BYTES)
    return 0


async def _end_of_first_lines(file: Ranges, number: int) -> int:
    """The offset behind the first `number` lines."""
    end = 0
    async with aclosing(_first_lines(file, number)) as pieces:
        async for piece in pieces:
            end += len(piece)
    return end


async def _first_lines(file: Ranges, number: int) -> AsyncGenerator[bytearray, None]:
    left = number
    if not left:
        return
    async with aclosing(_growing_pieces(file)) as pieces:
        async for piece in pieces:
            found = piece.count(NEWLINE)
            if found >= left:
                del piece[_nth_newline(piece, left) + 1 :]
                yield piece
                return
            left -= found
            yield piece


async def _growing_pieces(file: Ranges) -> AsyncGenerator[bytearray, None]:
    at, piece_bytes = 0, FIRST_PIECE_BYTES
    while at < file.length_bytes:
        piece = await _read(file, at, min(at + piece_bytes, file.length_bytes))
        at += len(piece)
        yield piece
        piece_bytes = min(2 * piece_bytes, LAST_PIECE_BYTES)


async def _read(file: Ranges, start: int, end: int) -> bytearray:
    data = bytearray(end - start)
    await file.read_into(start, memoryview(data))
    return data


def _nth_newline(data: bytearray, number: int) -> int:
    at = -1
    for _ in range(number):
        at = data.find(NEWLINE, at + 1)
    return at


def _nth_last_newline(data: bytearray, number: int) -> int:
    at = len(data)
    for _ in range(number):
        at = data.rfind(NEWLINE, 0, at)
    return at
