"""How much of its disk a namenode takes for each of its files, beside what is told of one."""

from pathlib import Path

from benchmarks.figures import BYTES, Line, Reading, compare

LEAST_BYTES = 131
"""Of a file: its name (20), inode, parent and block id, stamp, length (8 each), two times and the
time of the change (8 each), block and file digest (16 each), owner and group (5 each)."""

AIM_BYTES = 300.0


def taken_bytes(directory: Path) -> int:
    """Return what all files below a directory take of the disk."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def tables_line(name: str, directory: Path, files: int) -> Line:
    """Compare the tables in a namenode's directory with what they have to hold of as many files."""
    tables_bytes = taken_bytes(directory / "namespace") / files
    least = ("names, ids, times, digests", [Reading(LEAST_BYTES)])
    notes = f"log and checkpoints {taken_bytes(directory) / files - tables_bytes:,.0f}"
    line = compare(f"{name}: on disk, each", BYTES, [Reading(tables_bytes)], least, notes)
    return line.aiming_at(figure=AIM_BYTES)
