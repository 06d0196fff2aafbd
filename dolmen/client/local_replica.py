"""A replica on our own host, open here: read without its datanode, verified like any other.

What is in memory is read at once, by any thread: an offset goes with each read, and nothing is
shared but the descriptor. The rest is read by a thread of the machine's while the event loop goes
on. Whoever gives a replica up lets go of its file, which is closed when the last read that is under
way has ended.
"""

import asyncio

from dolmen.client.core.block_read import BlockRead
from dolmen.client.core.read_plan import Run, checksums_of, runs
from dolmen.protocol.checksums import CHUNK_BYTES, first_bad_chunk
from dolmen.protocol.errors import ChecksumMismatch
from dolmen.runtime.file_passing import PassedFile

RUN_BYTES = 256 * 1024
"""Read, then verified while a core's own cache still has it."""


class LocalReplica:
    """One replica that its datanode has passed us."""

    def __init__(
        self, key: tuple[int, int], datanode_id: str, file: PassedFile, expires_s: float
    ) -> None:
        self.key = key
        """Block id and stamp."""
        self.datanode_id = datanode_id
        self.expires_s = expires_s
        """When the token ends that it was passed for."""
        self.length_bytes = 0
        self.was_used = False
        """Since somebody looked last. Set by any thread."""
        self.is_given_up = False
        self.expiry: asyncio.TimerHandle | None = None
        self._file: PassedFile | None = file
        self._content: tuple[PassedFile, bytes] | None = None

    def vouch(self, length_bytes: int, checksums: bytes) -> None:
        """Its checksums are those that the namenode vouches for: from now on it can be read."""
        if self._file is not None:
            self.length_bytes = length_bytes
            self._content = (self._file, checksums)

    def give_up(self) -> None:
        """Read nothing more of it."""
        self.is_given_up = True
        if self.expiry is not None:
            self.expiry.cancel()
        self._file = self._content = None

    def read_at_once(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` of the block on, as far as that is in memory and good; return
        how many bytes that is."""
        content = self._content
        if content is None:
            return 0
        self.was_used = True
        file, checksums = content
        done = 0
        try:
            for run in runs(offset, len(buffer), self.length_bytes, RUN_BYTES):
                place = _place(run, buffer[done:])
                if file.read_at_once(run.offset, place) < run.length:
                    break
                if _bad_chunk(place, checksums, run) is not None:
                    break
                _keep(run, place, buffer[done:])
                done += run.keep
        except OSError:
            pass  # who reads it otherwise meets the same, and says so
        return done

    async def fill(self, read: BlockRead) -> bool:
        """Bring all that is wanted; return False if the replica was given up meanwhile.

        ChecksumMismatch: it is not as it should be.
        """
        while not read.is_done:
            piece = read.first
            for run in runs(piece.offset, piece.length, self.length_bytes, RUN_BYTES):
                if self._content is None:
                    return False
                file, checksums = self._content
                place = _place(run, read.buffer)
                await _read_whole(file, run, place)
                bad = _bad_chunk(place, checksums, run)
                if bad is not None:
                    if run.is_whole:
                        read.got(bad * CHUNK_BYTES)
                    number = run.offset // CHUNK_BYTES + bad
                    raise ChecksumMismatch(f"chunk {number} fails its checksum, read locally")
                _keep(run, place, read.buffer)
                read.got(run.keep)
        return True


async def _read_whole(file: PassedFile, run: Run, place: memoryview) -> None:
    try:
        count = file.read_at_once(run.offset, place)
        if count < run.length:
            count += await file.read_into(run.offset + count, place[count:])
    except OSError as error:
        raise ChecksumMismatch(f"reading it locally failed: {error}") from error
    if count < run.length:
        raise ChecksumMismatch(f"read locally, the file ends at {run.offset + count}")


def _place(run: Run, buffer: memoryview) -> memoryview:
    """Return where a run is read to: where it belongs if every byte of it does."""
    return buffer[: run.length] if run.is_whole else memoryview(bytearray(run.length))


def _keep(run: Run, place: memoryview, buffer: memoryview) -> None:
    if not run.is_whole:
        buffer[: run.keep] = place[run.skip : run.skip + run.keep]


def _bad_chunk(place: memoryview, checksums: bytes, run: Run) -> int | None:
    return first_bad_chunk(place, checksums_of(checksums, run.offset, run.length))
