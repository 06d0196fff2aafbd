"""The machine under the figures: what it is, what it has room for, and its page cache."""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.sizes import GIB, MIB

IN_MEMORY = ("tmpfs", "ramfs")

FILL_LEAVES_BYTES = 2 * GIB
"""What filling the page cache leaves free, for the processes of a benchmark."""

PIECE_BYTES = MIB


class TooLittleRoom(Exception):
    """The disk or the memory cannot take what a benchmark does."""


@dataclass(frozen=True)
class Room:
    """What a benchmark needs at most."""

    disk_bytes: int
    memory_bytes: int


def facts(directory: Path) -> dict[str, str]:
    """Say what a reader of the figures must know of the machine; no name, no path."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": platform.release(),
        "cores": f"{len(os.sched_getaffinity(0))} ({_processor()})",
        "memory": f"{_memory('MemTotal') / GIB:.0f} GiB",
        "disk": f"{file_system_of(directory)} on {_device_kind(directory)}",
        "python": platform.python_version(),
        "load before": load,
    }


def check_room(directory: Path, room: Room) -> None:
    """Raise TooLittleRoom unless there is what a benchmark needs."""
    status = os.statvfs(directory)
    for what, needed, free in (
        ("disk", room.disk_bytes, status.f_bavail * status.f_frsize),
        ("memory", room.memory_bytes, _memory("MemAvailable")),
    ):
        if free < needed:
            raise TooLittleRoom(
                f"it needs {needed / GIB:.1f} GiB of {what}, and {free / GIB:.1f} GiB are free:"
                " give it another --dir, or try --small"
            )


def file_system_of(directory: Path) -> str:
    """Return the kind of file system that `directory` is on, such as ext4 or tmpfs."""
    path, found = directory.resolve(), ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if path.is_relative_to(place) and len(place) >= len(found[0]):
            found = (place, kind)
    return found[1]


def fill_page_cache(directory: Path, wanted_bytes: int) -> None:
    """Have the kernel take memory from the host, for files, up to `wanted_bytes`.

    Reading a file that is one hole fills the cache and costs no disk. The file stays, so that its
    pages do; they are clean, and go when others need them.
    """
    length_bytes = min(wanted_bytes, _memory("MemFree") - FILL_LEAVES_BYTES)
    with (directory / "page-cache").open("wb+", buffering=0) as file:
        file.truncate(max(0, length_bytes))
        buffer = bytearray(PIECE_BYTES)
        while file.readinto(buffer):
            pass


def make_cold(paths: Iterable[Path]) -> None:
    """Drop files from the page cache. What is not on the disk yet would stay: they are synced."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def make_warm(paths: Iterable[Path]) -> None:
    """Bring files into the page cache."""
    buffer = bytearray(PIECE_BYTES)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _memory(name: str) -> int:
    """Return a line of /proc/meminfo, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _device_kind(directory: Path) -> str:
    """Say what kind of block device is below: by its driver's name, and whether it rotates."""
    number = directory.stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not device.exists():
        return "no block device"
    device = device.resolve()
    disk = device if (device / "queue").exists() else device.parent
    prefixes = {"vd": "a virtual disk", "nvme": "NVMe", "md": "a RAID", "dm": "a mapped device"}
    for prefix, kind in prefixes.items():
        if disk.name.startswith(prefix):
            return kind
    rotates = (disk / "queue" / "rotational").read_text().strip() == "1"
    return "a rotating disk" if rotates else "a solid-state disk"
