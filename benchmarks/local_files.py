"""The limits that the local disk sets: the same bytes, written and read by plain system calls.

They sync what Dolmen syncs, as Dolmen does it: each file's data before it gets its name, and then
the directory.
"""

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.sizes import MIB, Sizes

PIECE_BYTES = MIB
COPIES = 3

DATA = random.Random(1).randbytes(16 * MIB)
"""What files are made of, again and again: more than a core's own cache holds."""


def pieces(length_bytes: int, piece_bytes: int = PIECE_BYTES) -> Iterator[memoryview]:
    """Yield `length_bytes` of DATA, over and over, in pieces."""
    view = memoryview(DATA)
    for at in range(0, length_bytes, piece_bytes):
        start = at % len(DATA)
        yield view[start : start + min(piece_bytes, length_bytes - at)]


def write_copies(folder: Path, sizes: Sizes) -> None:
    """Write a file's worth of blocks three times, each copy by a thread, until it is durable."""
    with ThreadPoolExecutor(COPIES) as threads:
        places = [folder / f"copy-{number}" for number in range(COPIES)]
        list(threads.map(lambda place: write_blocks(place, sizes), places))


def write_blocks(folder: Path, sizes: Sizes) -> None:
    """Write one file's worth of blocks, each durable before the next begins."""
    folder.mkdir(parents=True)
    for index, start in enumerate(range(0, sizes.file_bytes, sizes.block_bytes)):
        length_bytes = min(sizes.block_bytes, sizes.file_bytes - start)
        write_durable(folder / f"{index}.block", pieces(length_bytes))


def write_durable(path: Path, content: Iterator[memoryview]) -> None:
    """Write a file so that it, and its name, outlive a loss of power."""
    unfinished = path.with_suffix(".unfinished")
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        for piece in content:
            written = 0
            while written < len(piece):
                written += os.write(descriptor, piece[written:])
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    unfinished.rename(path)
    sync_directory(path.parent)


def sync_directory(folder: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_files(paths: list[Path]) -> None:
    """Read files from beginning to end, into one buffer that is used again."""
    buffer = bytearray(PIECE_BYTES)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def copy_files(sources: list[Path], folder: Path) -> None:
    """Copy files as durably as they were written; `folder` is made."""
    folder.mkdir()
    for source in sources:
        write_durable(folder / source.name, _content(source))


def _content(path: Path) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(PIECE_BYTES))
    with path.open("rb", buffering=0) as file:
        while length := file.readinto(buffer):
            yield buffer[:length]


def make_small_files(folder: Path, content: bytes, for_s: float) -> int:
    """Make small files, each three times and durably, for a while; return how many."""
    copies = [folder / f"copy-{number}" for number in range(COPIES)]
    for copy in copies:
        copy.mkdir(parents=True)
    made, until_s = 0, time.perf_counter() + for_s
    while time.perf_counter() < until_s:
        for copy in copies:
            write_durable(copy / f"{made}.block", iter((memoryview(content),)))
        made += 1
    return made
