"""Which of a datanode's volumes a new replica goes to."""

from collections import Counter
from random import Random

import pytest

from datanode.core.volume_choice import draw


def test_volumes_are_drawn_in_proportion_to_their_room() -> None:
    random = Random(1)
    drawn = Counter(draw([300, 100, 50], 60, random) for _ in range(4000))
    assert drawn[2] == 0, "it has no room"
    assert drawn[0] / drawn[1] == pytest.approx(3, rel=0.2)


def test_a_volume_that_is_just_large_enough_is_taken() -> None:
    assert draw([59, 60], 60, Random(1)) == 1
    assert draw([0], 0, Random(1)) == 0


def test_without_room_anywhere_none_is_drawn() -> None:
    assert draw([59, 0], 60, Random(1)) is None
    assert draw([], 0, Random(1)) is None
