"""A queue of blocks against a dictionary, which does the same and pauses to grow."""

from random import Random

from dolmen.protocol.identifiers import make_block_id
from namenode.core.block_queue import CHUNK_BLOCKS, BlockQueue


def ids(*numbers: int) -> list[int]:
    return [make_block_id(7, number) for number in numbers]


def queue_of(*numbers: int) -> BlockQueue:
    queue = BlockQueue()
    queue.update(ids(*numbers))
    return queue


def test_blocks_come_in_the_order_in_which_they_were_added() -> None:
    assert list(queue_of(5, 3, 9)) == ids(5, 3, 9)


def test_a_block_that_is_there_keeps_its_place() -> None:
    queue = queue_of(5, 3)
    queue.update(ids(5))
    assert list(queue) == ids(5, 3)
    assert len(queue) == 2


def test_those_that_had_their_turn_go_to_the_end() -> None:
    queue = queue_of(1, 2, 3)
    assert queue.take_turn(2) == ids(1, 2)
    assert queue.take_turn(2) == ids(3, 1)
    assert list(queue) == ids(2, 3, 1)


def test_a_turn_takes_no_block_twice_when_there_are_few() -> None:
    assert queue_of(1, 2).take_turn(64) == ids(1, 2)


def test_what_was_taken_out_is_not_there_and_may_be_missing_already() -> None:
    queue = queue_of(1, 2)
    for _ in range(2):
        queue.discard(*ids(1))
    assert list(queue) == ids(2)
    assert ids(1)[0] not in queue
    assert ids(2)[0] in queue


def test_a_queue_over_many_chunks_is_what_a_dictionary_is() -> None:
    random, queue, model = Random(1), BlockQueue(), dict[int, None]()
    for block_id in ids(*range(3 * CHUNK_BLOCKS)):
        queue.add(block_id)
        model[block_id] = None
    for _ in range(4000):
        number = random.randrange(4 * CHUNK_BLOCKS)
        (block_id,) = ids(number)
        match random.randrange(3):
            case 0:
                queue.discard(block_id)
                model.pop(block_id, None)
            case 1:
                queue.add(block_id)
                model.setdefault(block_id)
            case _:
                taken = queue.take_turn(5)
                assert taken == list(model)[:5] if number % 50 == 0 else taken
                for one in taken:
                    del model[one]
                    model[one] = None
        assert (block_id in queue) == (block_id in model)
    assert list(queue) == list(model)
    assert len(queue) == len(model)


def test_an_emptied_queue_holds_no_memory_of_its_blocks() -> None:
    queue = queue_of(*range(2 * CHUNK_BLOCKS))
    for block_id in list(queue):
        queue.discard(block_id)
    assert list(queue) == []
    assert len(queue) == 0
    queue.update(ids(4))
    assert queue.take_turn(1) == ids(4)
