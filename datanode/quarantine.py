"""The quarantine of a volume: what was found damaged or cannot be explained, kept for people.

Nothing that damage handling meets is deleted by it: files are moved here, by renames on the same
disk, and stay until they are old or take too much space. The data file goes last, so that a crash
in between never leaves checksums alone, which a restart would take for a deletion that was cut
off. A disk that is too full for the description takes the files all the same.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from datanode.core.layout import DATA_SUFFIX, Place
from datanode.core.quarantine_entry import (
    DESCRIPTION_NAME,
    About,
    Description,
    Held,
    Limits,
    entry_name,
    overdue,
    parse_entry_name,
)
from dolmen.protocol.identifiers import format_block_id
from dolmen.runtime.disk import Disk

SWEEP_INTERVAL_S = 60.0
"""Between two looks for what is too old; what is too much is looked for after each new entry."""

LOG = logging.getLogger("datanode")


class Quarantine:
    """The entries of one volume."""

    def __init__(self, disk: Disk, volume_root: str) -> None:
        self.root = f"{volume_root}/{Place.QUARANTINE.value}"
        self._disk = disk
        self._volume_root = volume_root
        self._held: dict[str, Held] = {}
        self._arriving: set[str] = set()

    @property
    def count(self) -> int:
        """The number of entries."""
        return len(self._held)

    @property
    def size_bytes(self) -> int:
        """What they take on disk."""
        return sum(held.size_bytes for held in self._held.values())

    async def load(self) -> None:
        """Read what is there."""
        self._held.clear()
        if not await self._disk.is_directory(self.root):
            return
        for name in await self._disk.list_directory(self.root):
            parsed = parse_entry_name(name)
            if parsed is not None:
                size_bytes = await _size_of(self._disk, f"{self.root}/{name}")
                self._held[name] = Held(name, parsed[0], size_bytes)

    async def put(self, source: str, names: Sequence[str], about: About, now_ms: int) -> None:
        """Move those of `names` that there are out of `source` (relative to the volume), lasting.

        OSError if the disk does not let them go.
        """
        directory = f"{self._volume_root}/{source}"
        found = [name for name in names if await self._disk.exists(f"{directory}/{name}")]
        if not found:
            return
        while self._has(entry := entry_name(about.block_id, now_ms)):
            now_ms += 1
        self._arriving.add(entry)
        try:
            await self._move(directory, entry, _describe(about, now_ms, source, found))
            size_bytes = await _size_of(self._disk, f"{self.root}/{entry}")
            self._held[entry] = Held(entry, now_ms, size_bytes)
        finally:
            self._arriving.discard(entry)

    async def sweep(self, limits: Limits, now_ms: int) -> None:
        """Remove what is too old, or too much."""
        for held, reason in overdue(self._held.values(), limits, now_ms):
            try:
                await self._disk.remove_tree(f"{self.root}/{held.name}")
            except OSError as error:
                LOG.error("%s cannot be removed from %s: %s", held.name, self.root, error)
                return
            self._held.pop(held.name, None)
            LOG.warning(
                "removed %s, %d bytes, from %s: %s", held.name, held.size_bytes, self.root, reason
            )

    def _has(self, entry: str) -> bool:
        return entry in self._held or entry in self._arriving

    async def _move(self, directory: str, entry: str, description: Description) -> None:
        target = f"{self.root}/{entry}"
        await self._disk.make_directories(target)
        encoded = msgspec.json.format(msgspec.json.encode(description), indent=2) + b"\n"
        try:
            await self._disk.write_file(f"{target}/{DESCRIPTION_NAME}", encoded)
        except OSError as error:
            LOG.warning("%s stays without description: %s", target, error)
        for name in sorted(description.files, key=lambda name: name.endswith(DATA_SUFFIX)):
            with contextlib.suppress(FileNotFoundError):
                await self._disk.rename(f"{directory}/{name}", f"{target}/{name}")
        await self._disk.sync_directory(target)
        await self._disk.sync_directory(directory)


@dataclass(frozen=True)
class Quarantined:
    """One entry as people are shown it."""

    path: str
    size_bytes: int
    description: Description


async def list_quarantine(disk: Disk, directory: str) -> list[Quarantined]:
    """Return what the quarantines below a datanode's directory hold, the oldest first.

    FileNotFoundError if the directory has no volumes.
    """
    found = []
    for volume in await disk.list_directory(f"{directory}/volumes"):
        root = f"{directory}/volumes/{volume}/{Place.QUARANTINE.value}"
        if not await disk.is_directory(root):
            continue
        for name in await disk.list_directory(root):
            if parse_entry_name(name) is not None:
                found.append(await _look_at(disk, root, name))
    return sorted(found, key=lambda one: (one.description.quarantined_ms, one.path))


async def sweep_regularly(
    quarantines: Callable[[], Iterable[tuple[Quarantine, int]]],
    limits: Limits,
    wall_clock_ms: Callable[[], int],
) -> None:
    """Keep the quarantines (each with the capacity of its volume) within their limits, until
    cancelled."""
    interval_s = min(SWEEP_INTERVAL_S, max(limits.age_ms / 1000 / 4, 0.1))
    while True:
        for quarantine, capacity_bytes in quarantines():
            await quarantine.sweep(limits.within(capacity_bytes), wall_clock_ms())
        await asyncio.sleep(interval_s)


def _describe(about: About, now_ms: int, source: str, files: Sequence[str]) -> Description:
    block = "" if about.block_id is None else format_block_id(about.block_id)
    return Description(
        block, about.stamp, about.length_bytes, about.reason, now_ms, source, tuple(files)
    )


async def _look_at(disk: Disk, root: str, name: str) -> Quarantined:
    path = f"{root}/{name}"
    size_bytes = await _size_of(disk, path)
    try:
        text = await disk.read_file(f"{path}/{DESCRIPTION_NAME}")
        return Quarantined(path, size_bytes, msgspec.json.decode(text, type=Description))
    except (OSError, msgspec.DecodeError):
        parsed = parse_entry_name(name)
        assert parsed is not None, "only entries are looked at"
        files = tuple(await disk.list_directory(path))
        unknown = Description(parsed[1], 0, -1, "the description is lost", parsed[0], "", files)
        return Quarantined(path, size_bytes, unknown)


async def _size_of(disk: Disk, directory: str) -> int:
    """Return the bytes of a directory's files; what cannot be opened is not counted."""
    total_bytes = 0
    for name in await disk.list_directory(directory):
        with contextlib.suppress(OSError):
            file = await disk.open(f"{directory}/{name}", writable=False)
            try:
                total_bytes += await file.size()
            finally:
                await file.close()
    return total_bytes
