"""Which benchmarks there are, in the order in which they run."""

from benchmarks import (
    namenode_10m,
    namenode_level,
    namenode_size,
    namespace_calls,
    read_file,
    repair,
    small_files,
    startup,
    stat_calls,
    write_file,
)
from benchmarks.harness import Benchmark

BENCHMARKS: tuple[Benchmark, ...] = (
    small_files.BENCHMARK,  # before many large files have come and gone
    stat_calls.BENCHMARK,
    namespace_calls.BENCHMARK,
    namenode_size.BENCHMARK,
    write_file.BENCHMARK,
    read_file.BENCHMARK,
    repair.BENCHMARK,
    startup.BENCHMARK,
    namenode_level.BENCHMARK,
    namenode_10m.BENCHMARK,
)


class UnknownBenchmark(Exception):
    """There is none of that name."""


def chosen(names: str) -> tuple[Benchmark, ...]:
    """Return the benchmarks that `names` lists, separated by commas; if it is empty, all but those
    that must be named."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {benchmark.name for benchmark in BENCHMARKS}
    for name in wanted:
        if name not in known:
            raise UnknownBenchmark(f"there is no {name!r}; there are {', '.join(sorted(known))}")
    if not wanted:
        return tuple(one for one in BENCHMARKS if not one.only_named)
    return tuple(one for one in BENCHMARKS if one.name in wanted)
