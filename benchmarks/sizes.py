"""How much each benchmark does: the sizes of the figures in the documentation, and tiny ones."""

from dataclasses import dataclass

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True)
class Sizes:
    """One row of sizes. The whole run with `FULL` stays below 25 minutes on two cores."""

    rounds: int
    """Odd, so that the median is a round that was run."""
    file_bytes: int
    block_bytes: int
    rate_s: float
    """How long a rate of small things is measured: long enough for some group commits."""
    processes: tuple[int, ...]
    """How many create small files at once."""
    files: tuple[int, ...]
    """How many files the namenode holds, fewer first."""
    listed_files: int
    """How many a directory holds that is listed whole."""
    level_files: int
    """How many files of one block a namenode has that is to stay level."""
    many_files: int
    """How many files are made by real calls."""
    dead_after_ms: int
    stale_after_ms: int


FULL = Sizes(
    rounds=5,
    file_bytes=GIB,
    block_bytes=128 * MIB,
    rate_s=3.0,
    processes=(1, 8),
    files=(100_000, 1_000_000),
    listed_files=100_000,
    level_files=1_000_000,
    many_files=10_000_000,
    dead_after_ms=10_000,
    stale_after_ms=3000,
)

SMALL = Sizes(
    rounds=1,
    file_bytes=8 * MIB,
    block_bytes=2 * MIB,
    rate_s=0.2,
    processes=(1, 2),
    files=(300, 600),
    listed_files=1_100,
    level_files=1_100,
    many_files=400,
    dead_after_ms=1000,
    stale_after_ms=600,
)
"""Enough to see that everything runs; the figures mean nothing."""
