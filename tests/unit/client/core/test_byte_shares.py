"""Shares of bounded memory: never more than promised together, and never nothing for one alone."""

from hypothesis import given
from hypothesis import strategies as st

from dolmen.client.core.byte_shares import LEAST_BYTES, UNIT_BYTES, ByteShares

MIB = 1 << 20
STEPS = st.lists(
    st.tuples(
        st.integers(0, 9), st.integers(1, 4 * MIB), st.sampled_from(["take", "give", "close"])
    ),
    max_size=80,
)


@given(STEPS, st.sampled_from([0, MIB, 8 * MIB, 64 * MIB]))
def test_whatever_files_take_and_give_back_the_limit_holds(
    steps: list[tuple[int, int, str]], limit: int
) -> None:
    shares = ByteShares(limit)
    files = [shares.open() for _ in range(10)]
    for number, length, step in steps:
        file = files[number]
        held = file.held_bytes
        if step == "close":
            file.close()
        elif step == "give":
            file.give_back(min(length, held))
        else:
            granted = file.take(length)
            assert granted in (0, length, min(length, LEAST_BYTES))
            assert file.held_bytes == held + granted
            assert granted >= min(length, LEAST_BYTES) or held
        together = sum(each.held_bytes for each in files)
        assert together <= limit // 2 + len(files) * LEAST_BYTES
        taken = limit // 2 // UNIT_BYTES * UNIT_BYTES - shares.spare_bytes
        beyond = sum(max(0, each.held_bytes - LEAST_BYTES) for each in files)
        assert beyond <= taken < beyond + len(files) * UNIT_BYTES
    for file in files:
        file.close()
    assert shares.spare_bytes == limit // 2 // UNIT_BYTES * UNIT_BYTES


def test_as_many_files_as_fit_stay_within_the_limit() -> None:
    limit = 64 * MIB
    shares = ByteShares(limit)
    files = [shares.open() for _ in range(limit // 2 // LEAST_BYTES)]
    for _ in range(3):
        for file in files:
            file.take(4 * MIB)
    assert len(files) >= 200
    assert sum(file.held_bytes for file in files) <= limit
    assert all(file.held_bytes for file in files)


def test_one_file_alone_gets_half_the_limit_and_its_least() -> None:
    file = ByteShares(64 * MIB).open()
    while file.take(UNIT_BYTES):
        pass
    assert file.held_bytes == 32 * MIB + LEAST_BYTES
