"""What is left of a read of one block, of which replicas have given parts."""

from hypothesis import given
from hypothesis import strategies as st

from dolmen.client.core.block_read import BlockRead, Part, Twin
from dolmen.client.core.read_plan import Piece
from dolmen.protocol.checksums import CHUNK_BYTES


def read_of(*pieces: tuple[int, int]) -> tuple[BlockRead, list[bytearray]]:
    buffers = [bytearray(length) for _, length in pieces]
    parts = [
        Part(Piece(7, offset, length), memoryview(buffer))
        for (offset, length), buffer in zip(pieces, buffers, strict=True)
    ]
    return BlockRead(parts), buffers


def fill(read: BlockRead, count: int) -> None:
    """Have the next bytes of a read arrive, each telling its offset."""
    while count and not read.is_done:
        piece = read.wanted[0]
        length = min(count, piece.length)
        read.buffer[:length] = bytes(at % 251 for at in range(piece.offset, piece.offset + length))
        read.got(length)
        count -= length


def content(offset: int, length: int) -> bytes:
    return bytes(at % 251 for at in range(offset, offset + length))


def test_what_has_arrived_is_not_asked_for_again() -> None:
    read, [buffer] = read_of((10, 3 * CHUNK_BYTES))
    read.buffer[:2] = b"ab"
    read.got(2)
    assert read.wanted == [Piece(7, 12, 3 * CHUNK_BYTES - 2)]
    read.buffer[:1] = b"c"
    assert buffer[:3] == b"abc"
    read.got(3 * CHUNK_BYTES - 2)
    assert read.is_done


def test_chunk_by_chunk_it_asks_up_to_the_next_boundary() -> None:
    read, _ = read_of((CHUNK_BYTES + 10, 2 * CHUNK_BYTES))
    assert read.narrow()
    assert read.wanted == [Piece(7, CHUNK_BYTES + 10, CHUNK_BYTES - 10)]
    assert not read.narrow(), "less than a chunk is not asked for"
    read.got(CHUNK_BYTES - 10)
    assert read.wanted == [Piece(7, 2 * CHUNK_BYTES, CHUNK_BYTES)]
    read.got(CHUNK_BYTES)
    assert read.wanted == [Piece(7, 3 * CHUNK_BYTES, 10)]


def test_what_is_within_one_chunk_cannot_be_asked_for_in_less() -> None:
    read, _ = read_of((5, 10))
    assert not read.narrow()


def test_a_part_that_cannot_be_had_is_left_out() -> None:
    read, buffers = read_of((0, 10), (CHUNK_BYTES, 20), (3 * CHUNK_BYTES, 5))
    fill(read, 12)
    assert read.narrow()
    read.skip_part()
    assert read.wanted == [Piece(7, 3 * CHUNK_BYTES, 5)]
    fill(read, 100)
    assert read.is_done
    assert buffers[2] == content(3 * CHUNK_BYTES, 5)


PIECES = st.lists(st.tuples(st.integers(0, 999), st.integers(1, 30)), min_size=1, max_size=5)


@given(PIECES, st.integers(0, 40), st.integers(0, 40), st.integers(0, 200), st.booleans())
def test_a_twin_gives_what_is_missing_and_nothing_twice(
    pieces: list[tuple[int, int]], before: int, meanwhile: int, come: int, narrowed: bool
) -> None:
    read, buffers = read_of(*pieces)
    fill(read, before)
    if read.is_done:
        return
    if narrowed:
        read.narrow()
    twin = Twin(read)
    assert [piece.length for piece in twin.wanted] == [piece.length for piece in read.wanted]
    untouched = [bytes(buffer) for buffer in buffers]
    fill(twin, come)
    assert [bytes(buffer) for buffer in buffers] == untouched, "it has memory of its own"
    fill(read, meanwhile)
    left = min(read.left_bytes, sum(length for _, length in pieces) - before - come)
    twin.give(read)
    if not narrowed:
        assert read.left_bytes == max(0, left)
    fill(read, 1000)
    assert [bytes(buffer) for buffer in buffers] == [content(*piece) for piece in pieces]
