"""What of an open file can be read in any thread, without its event loop: blocks that are open on
our own host, as far as they are in memory.

The event loop notes the blocks that it has read locally; threads look at the last note, which is
never changed but replaced. A place is believed as long as the reader would believe it without
asking the namenode: then a read goes through the event loop, which renews it, and so has the file's
blocks kept (rule 22). Whatever else is missing or wrong is left to the event loop too.

Short reads are cut from the chunk that was verified last: who reads in small steps, or lines,
verifies each chunk once.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from dolmen.client.local_replica import LocalReplica
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.client_messages import LocatedBlock


@dataclass(frozen=True)
class _Place:
    """An open block of the file: where it begins and ends, and until when that is believed."""

    start: int
    end: int
    replica: LocalReplica
    until_s: float


@dataclass(frozen=True)
class _Chunk:
    """The bytes of a chunk, verified."""

    replica: LocalReplica
    offset: int
    content: bytes


class AtHand:
    """The open blocks of one file."""

    def __init__(self, now_s: Callable[[], float], count: Callable[[int], None]) -> None:
        self._now_s = now_s
        self._count = count
        self._known: tuple[list[int], list[_Place]] = ([], [])
        self._last: _Chunk | None = None

    def note(self, block: LocatedBlock, replica: LocalReplica, until_s: float) -> None:
        """A block of the file is open. Called by the event loop alone."""
        start = block.offset_bytes
        found = self._find(start)
        if found is not None and found.replica is replica and found.until_s == until_s:
            return
        place = _Place(start, start + block.length_bytes, replica, until_s)
        others = [
            one for one in self._known[1] if one.start != start and not one.replica.is_given_up
        ]
        places = sorted([*others, place], key=lambda one: one.start)
        self._known = ([one.start for one in places], places)

    def forget(self) -> None:
        """The file is closed."""
        self._known, self._last = ([], []), None

    def read(self, offset: int, length: int) -> bytes | None:
        """Return the bytes of a short range that lies within one chunk; None if they are not at
        hand."""
        place = self._find(offset)
        if place is None:
            return None
        within = offset - place.start
        start = within - within % CHUNK_BYTES
        last = self._last
        if last is None or last.offset != start or last.replica is not place.replica:
            last = self._read_chunk(place, start)
            if last is None:
                return None
            self._last = last
        skip = within - start
        if skip + length > len(last.content):
            return None
        self._count(length)
        return last.content[skip : skip + length]

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` on, as far as that is at hand; return how far."""
        done = 0
        while done < len(buffer):
            place = self._find(offset + done)
            if place is None:
                break
            wanted = min(len(buffer) - done, place.end - offset - done)
            part = buffer[done : done + wanted]
            got = place.replica.read_at_once(offset + done - place.start, part)
            done += got
            if got < wanted:
                break
        if done:
            self._count(done)
        return done

    def _find(self, offset: int) -> _Place | None:
        starts, places = self._known
        index = bisect_right(starts, offset) - 1
        if index < 0:
            return None
        place = places[index]
        return place if offset < place.end and self._now_s() < place.until_s else None

    def _read_chunk(self, place: _Place, start: int) -> _Chunk | None:
        content = bytearray(min(CHUNK_BYTES, place.end - place.start - start))
        if place.replica.read_at_once(start, memoryview(content)) < len(content):
            return None
        return _Chunk(place.replica, start, bytes(content))
