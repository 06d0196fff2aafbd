"""How much of a file is fetched for a read: little at random, ahead of the reader in sequence.

The store answers within a millisecond or so, so bytes cost more than requests. A read that starts
anywhere is answered with exactly its bytes, unless it is small, when the page around it comes
along. A file up to WHOLE_FILE_BYTES comes at once. From the third read in sequence on, the next
window is fetched while the caller works on what it has, and each is twice as large as the one
before. The last windows are kept, within a limit, for readers that step back. Fixed read-ahead,
fsspec's default, fetched ten times the bytes of a Parquet file's two columns; no read-ahead at all
sent a request for each line of a text.

All open files of a client share the memory for windows (`read_memory`). When there is none left a
file fetches nothing ahead, smaller pages, and keeps one of these; what is larger than that goes to
whoever asked for it and is not kept.

Any number of threads may read: what they wait for is decided under a lock and awaited outside of
it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from dolmen.client.core.byte_shares import LEAST_BYTES, Share

KIB = 1024
MIB = 1024 * KIB

WHOLE_FILE_BYTES = 1 * MIB
SMALL_READ_BYTES = 64 * KIB
PAGE_BYTES = 256 * KIB
FIRST_WINDOW_BYTES = 256 * KIB
WINDOW_BYTES_MAX = 8 * MIB
"""Enough that the datanodes stream while the caller works; larger ones only cost memory."""

KEPT_WINDOWS_MAX = 4
KEPT_BYTES_MAX = 16 * MIB
"""For each open file: the window being read and the one being fetched."""

STREAK_FOR_READAHEAD = 2
"""One read that begins where the last one ended may be chance: columns of a Parquet file touch."""

Begin = Callable[[int, int], "Future[bytes]"]


@dataclass(frozen=True, eq=False)
class Window:
    """A range of the file that has been asked for."""

    start: int
    end: int
    coming: "Future[bytes]"

    def part(self, start: int, end: int) -> bytes:
        """Return what it has of a range, which begins in it; waits for it."""
        data = self.coming.result()
        if start == self.start and end >= self.end:
            return data
        return data[start - self.start : end - self.start]


class Readahead:
    """The windows of one open file, in its share of the memory.

    `begin(start, end)` starts to fetch a range.
    """

    def __init__(self, length_bytes: int, begin: Begin, share: Share) -> None:
        self._length_bytes = length_bytes
        self._begin = begin
        self._share = share
        self._lock = threading.Lock()
        self._windows: list[Window] = []  # last used last
        self._expected = 0
        self._streak = -1  # the very first read is not in sequence with anything
        self._window_bytes = FIRST_WINDOW_BYTES

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes of a range, which the file has."""
        if start >= end:
            return b""
        with self._lock:
            windows = self._cover(start, end)
        positions = [start, *(window.end for window in windows)]
        try:
            parts = [w.part(at, end) for w, at in zip(windows, positions, strict=False)]
        except (OSError, CancelledError):
            # It may have been asked for long ago, when the cluster was away: ask once now.
            with self._lock:
                self._keep([kept for kept in self._windows if kept not in windows])
            return self._begin(start, end).result()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Drop everything; what is being fetched is cancelled."""
        with self._lock:
            windows = self._windows
            self._keep([])
        for window in windows:
            window.coming.cancel()

    def _cover(self, start: int, end: int) -> list[Window]:
        """Return windows that hold the range one after the other, begun where there was none."""
        if self._length_bytes <= WHOLE_FILE_BYTES and not self._windows:
            self._open(0, self._length_bytes)
        self._notice(start, end)
        covering = []
        position = start
        while position < end:
            window = self._holding(position) or self._fetch(position, end)
            covering.append(window)
            position = window.end
        used = [window for window in covering if window in self._windows]
        self._windows = [kept for kept in self._windows if kept not in used] + used
        if self._streak >= STREAK_FOR_READAHEAD:
            self._prefetch(end)
        self._trim()
        return covering

    def _notice(self, start: int, end: int) -> None:
        if start == self._expected:
            self._streak += 1
        else:
            self._streak = 0
            self._window_bytes = FIRST_WINDOW_BYTES
        self._expected = end

    def _extent(self, position: int, end: int) -> tuple[int, int]:
        """What to fetch for bytes from `position` to `end` that no window holds at `position`."""
        stop = min([end, *(kept.start for kept in self._windows if kept.start > position)])
        if end - position >= SMALL_READ_BYTES:
            return position, stop
        page = position - position % PAGE_BYTES
        stop = max(stop, min(page + PAGE_BYTES, self._length_bytes))
        return (page if self._holding(page) is None else position), stop

    def _prefetch(self, position: int) -> None:
        """Fetch the next window when less than half a window lies ahead of the reader."""
        ahead = position
        while window := self._holding(ahead):
            ahead = window.end
        if ahead < self._length_bytes and ahead - position <= self._window_bytes // 2:
            wanted = min(self._window_bytes, self._length_bytes - ahead)
            if granted := self._share.take_ahead(wanted):
                self._begin_window(ahead, ahead + granted)
                self._window_bytes = min(2 * self._window_bytes, WINDOW_BYTES_MAX)

    def _holding(self, position: int) -> Window | None:
        for window in self._windows:
            if window.start <= position < window.end:
                return window
        return None

    def _fetch(self, position: int, end: int) -> Window:
        """Begin a window that holds `position`, as large as it should be or can be."""
        start, stop = self._extent(position, end)
        if window := self._open(start, stop):
            return window
        self._keep([])
        if window := self._open(start, stop):
            return window
        if end - position <= LEAST_BYTES:
            stop = min(position + LEAST_BYTES, self._length_bytes)
            if window := self._open(position, stop):
                return window
        return Window(position, end, self._begin(position, end))

    def _open(self, start: int, end: int) -> Window | None:
        """Begin a window, and keep it, if there is memory for it."""
        granted = self._share.take_ahead(end - start)
        if granted < end - start:
            self._share.give_back(granted)
            return None
        return self._begin_window(start, end)

    def _begin_window(self, start: int, end: int) -> Window:
        window = Window(start, end, self._begin(start, end))
        self._windows.append(window)
        return window

    def _keep(self, windows: list[Window]) -> None:
        """Keep these of the windows, and give back the memory of the others."""
        self._windows = windows
        held_bytes = sum(window.end - window.start for window in windows)
        self._share.give_back(self._share.held_bytes - held_bytes)

    def _trim(self) -> None:
        """Keep the windows that were used or begun last, within the limits."""
        kept: list[Window] = []
        size = 0
        for window in reversed(self._windows):
            size += window.end - window.start
            if len(kept) == KEPT_WINDOWS_MAX or size > KEPT_BYTES_MAX:
                break
            kept.append(window)
        self._keep(kept[::-1])
