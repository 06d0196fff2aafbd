"""Which short blocks at a file's end are written again, and what is kept of them."""

from random import Random

import pytest

from dolmen.client.core.short_tail import ShortTail, is_short, repeated_bytes

BLOCK_BYTES = 1000


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ((), 0),
        ((5,), 0),
        ((5, 4), 0),
        ((5, 5), 10),
        ((7, 3, 3), 6),
        ((7, 3, 2, 2), 14),
        ((1, 900), 901),
        ((900, 2, 1), 0),
    ],
)
def test_a_block_is_written_again_when_those_behind_it_are_as_long(
    lengths: tuple[int, ...], expected: int
) -> None:
    assert repeated_bytes(lengths) == expected


@pytest.mark.parametrize("seed", range(20))
def test_what_is_shown_again_is_what_the_short_blocks_hold(seed: int) -> None:
    random = Random(seed)
    tail = ShortTail(0, BLOCK_BYTES)
    content = bytearray()
    blocks: list[int] = []
    for _ in range(200):
        again = tail.start()
        assert content[tail.start_bytes :] == again
        while sum(blocks) > tail.start_bytes:
            blocks.pop()
        assert sum(blocks) == tail.start_bytes
        more = random.randbytes(random.choice((1, 10, 100, 999, 1000, 1001, 2500)))
        shown = memoryview(again + more)
        while shown:
            count = random.randint(1, 600)
            tail.add(shown[:count])
            shown = shown[count:]
        tail.end()
        content += more
        whole, rest = divmod(len(again) + len(more), BLOCK_BYTES)
        blocks += [BLOCK_BYTES] * whole + [rest] * (rest > 0)
    assert sum(not is_short(length, BLOCK_BYTES) for length in blocks) >= len(blocks) / 3
