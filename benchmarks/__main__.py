"""`python -m benchmarks`: runs them and prints the table."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import table
from benchmarks.catalogue import BENCHMARKS, UnknownBenchmark, chosen
from benchmarks.cluster import NotInTime
from benchmarks.figures import Line
from benchmarks.harness import Run
from benchmarks.machine import IN_MEMORY, TooLittleRoom, facts, file_system_of
from benchmarks.peers import PeerSilent
from benchmarks.sizes import FULL, SMALL, Sizes
from benchmarks.usage import Others

ON_DISK = Path("/var/tmp")
"""Where files outlive a restart: unlike /tmp it is on a disk nearly everywhere."""


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 if all of it could be measured."""
    asked = _parser().parse_args(words)
    if asked.list:
        for benchmark in BENCHMARKS:
            print(f"{benchmark.name:14}  {benchmark.question}")
        return 0
    try:
        return asyncio.run(_run(asked))
    except (NotInTime, PeerSilent, TooLittleRoom, UnknownBenchmark) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Dolmen beside what this machine could do at most.",
    )
    parser.add_argument("--only", metavar="NAME[,NAME]", default="", help="run these, and not all")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--small", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument("--rounds", type=int, choices=range(1, 100), metavar="N", help="[5]")
    parser.add_argument(
        "--files", type=int, metavar="N", help="so many for namenode-level and namenode-10m"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--dir", type=Path, default=ON_DISK, help=f"work in a fresh directory there [{ON_DISK}]"
    )
    parser.add_argument("--in-memory", action="store_true", help="--dir may be in memory")
    return parser


async def _run(asked: argparse.Namespace) -> int:
    benchmarks = chosen(asked.only)
    if not asked.in_memory and file_system_of(asked.dir) in IN_MEMORY:
        raise TooLittleRoom(f"{asked.dir} is in memory, which is no disk: --dir, or --in-memory")
    machine = facts(asked.dir)
    print("; ".join(f"{name} {fact}" for name, fact in machine.items()), flush=True)
    print(table.heading(), flush=True)
    others, lines = Others(), list[tuple[str, Line]]()
    with tempfile.TemporaryDirectory(prefix="dolmen-bench-", dir=asked.dir) as folder:
        run = Run(Path(folder), _sizes(asked), _say)
        for benchmark in benchmarks:
            async for line in run.lines(benchmark):
                print(table.row(line), flush=True)
                lines.append((benchmark.name, line))
    machine["others"] = f"{others.share():.0%} of the cores' time"
    print(
        f"took {others.elapsed_s / 60:.1f} min; all that is not of this run used"
        f" {machine['others']} meanwhile"
    )
    if asked.json is not None:
        asked.json.write_text(table.as_json(machine, lines))
    return 0


def _sizes(asked: argparse.Namespace) -> Sizes:
    sizes = SMALL if asked.small else FULL
    if asked.rounds is not None:
        sizes = replace(sizes, rounds=asked.rounds)
    if asked.files is not None:
        sizes = replace(sizes, level_files=asked.files, many_files=asked.files)
    return sizes


def _say(message: str) -> None:
    print(f"({message})", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
