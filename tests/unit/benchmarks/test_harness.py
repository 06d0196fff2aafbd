"""How benchmarks are chosen and run: in turn, in fresh directories, only where there is room."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.catalogue import BENCHMARKS, UnknownBenchmark, chosen
from benchmarks.figures import PER_S, Line, Reading, compare
from benchmarks.harness import Benchmark, Run, Workshop
from benchmarks.machine import Room, TooLittleRoom
from benchmarks.sizes import SMALL

NOTHING = Room(0, 0)


async def measure(workshop: Workshop) -> AsyncIterator[Line]:
    (workshop.folder("local") / "file").write_text("here")
    yield compare("nothing", PER_S, [Reading(1)], ("nothing", [Reading(1)]))


def run(directory: Path, benchmark: Benchmark) -> list[Line]:
    async def collect() -> list[Line]:
        return [line async for line in Run(directory, SMALL, print).lines(benchmark)]

    return asyncio.run(collect())


def test_sides_take_turns_after_a_round_that_does_not_count(tmp_path: Path) -> None:
    order: list[str] = []

    async def side(name: str) -> Reading:
        order.append(name)
        return Reading(len(order))

    workshop = Workshop(tmp_path, SMALL)
    first, second = asyncio.run(workshop.interleave(lambda: side("A"), lambda: side("B")))
    assert order == ["A", "B"] * (SMALL.rounds + 1)
    assert first[0].value == 3
    assert second[0].value == 4


def test_a_benchmark_leaves_nothing_behind(tmp_path: Path) -> None:
    benchmark = Benchmark("nothing", "how fast is nothing", measure, lambda _: NOTHING)
    (line,) = run(tmp_path, benchmark)
    assert line.name == "nothing"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", [Room(1 << 60, 0), Room(0, 1 << 60)])
def test_a_benchmark_that_does_not_fit_is_not_begun(tmp_path: Path, room: Room) -> None:
    benchmark = Benchmark("huge", "how fast is everything", measure, lambda _: room)
    with pytest.raises(TooLittleRoom, match=r"huge: it needs 1073741824\.0 GiB of (disk|memory)"):
        run(tmp_path, benchmark)
    assert list(tmp_path.iterdir()) == []


def test_benchmarks_are_chosen_by_name_and_run_in_the_order_of_the_list() -> None:
    assert chosen("") == tuple(one for one in BENCHMARKS if not one.only_named)
    assert [one.name for one in chosen("namenode-10m")] == ["namenode-10m"]
    assert [one.name for one in chosen("write, stat")] == ["stat", "write"]
    with pytest.raises(UnknownBenchmark, match=r"no 'speed'; there are .*small-files"):
        chosen("write,speed")
