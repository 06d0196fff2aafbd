"""A file of a simulated disk keeps one copy of what lasts, and what does not last is apart."""

from random import Random

from dolmen.simulation.sim_inode import Keeps, SimInode


def synced(data: bytes) -> SimInode:
    inode = SimInode()
    inode.write(0, data)
    inode.sync()
    return inode


def test_what_is_written_after_a_sync_does_not_last() -> None:
    inode = synced(b"lasts")
    inode.write(2, b"ter lost")
    assert inode.readable_data() == b"later lost"
    inode.crash(Random(1), Keeps.NOTHING)
    assert inode.readable_data() == b"lasts"


def test_what_a_failed_sync_dropped_does_not_last_after_the_next_one() -> None:
    inode = synced(b"lasts")
    inode.write(5, b", dropped")
    inode.fail_sync()
    inode.sync()
    assert inode.readable_data() == b"lasts, dropped"
    inode.crash(Random(1), Keeps.EVERYTHING)
    assert inode.readable_data() == b"lasts"


def test_a_bit_flips_once_where_it_is_read_and_where_it_lasts() -> None:
    whole, torn = synced(b"A"), synced(b"A")
    torn.write(1, b"...")
    for inode in (whole, torn):
        inode.rot(0)
        assert inode.readable_data(0, 1) == b"@"
        inode.crash(Random(1), Keeps.NOTHING)
        assert inode.readable_data() == b"@"


def test_a_file_that_was_synced_is_kept_once() -> None:
    inode = synced(bytes(100_000))
    kept = inode.data
    inode.crash(Random(1), Keeps.NOTHING)
    assert inode.data is kept
