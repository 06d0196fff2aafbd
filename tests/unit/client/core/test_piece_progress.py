"""What is left of a piece of which one replica has given a part."""

from dolmen.client.core.piece_progress import PieceProgress
from dolmen.client.core.read_plan import Piece
from dolmen.protocol.checksums import CHUNK_BYTES


def progress_of(offset: int, length: int) -> tuple[PieceProgress, bytearray]:
    buffer = bytearray(length)
    return PieceProgress(Piece(7, offset, length), memoryview(buffer)), buffer


def test_what_has_arrived_is_not_asked_for_again() -> None:
    progress, buffer = progress_of(10, 3 * CHUNK_BYTES)
    progress.buffer[:2] = b"ab"
    progress.got(2)
    assert progress.wanted == Piece(7, 12, 3 * CHUNK_BYTES - 2)
    progress.buffer[:1] = b"c"
    assert buffer[:3] == b"abc"
    progress.got(3 * CHUNK_BYTES - 2)
    assert progress.is_done
    assert len(progress.buffer) == 0


def test_chunk_by_chunk_it_asks_up_to_the_next_boundary() -> None:
    progress, _ = progress_of(CHUNK_BYTES + 10, 2 * CHUNK_BYTES)
    assert progress.narrow()
    assert progress.wanted == Piece(7, CHUNK_BYTES + 10, CHUNK_BYTES - 10)
    assert not progress.narrow(), "less than a chunk is not asked for"
    progress.got(CHUNK_BYTES - 10)
    assert progress.wanted == Piece(7, 2 * CHUNK_BYTES, CHUNK_BYTES)
    progress.got(CHUNK_BYTES)
    assert progress.wanted == Piece(7, 3 * CHUNK_BYTES, 10)


def test_what_is_within_one_chunk_cannot_be_asked_for_in_less() -> None:
    progress, _ = progress_of(5, 10)
    assert not progress.narrow()
