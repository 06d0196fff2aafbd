"""How fast is a large file written, with three replicas, until it is durable?

The limit writes the same blocks three times on the same disk, by three threads at once: that is
what the disk and the cores of this machine can do about three copies. Dolmen computes and verifies
checksums besides, and carries each byte over three connections; the notes say what that costs.
"""

from collections.abc import AsyncIterator
from itertools import count

from benchmarks.figures import (
    MIB_PER_S,
    SECONDS,
    Line,
    Reading,
    compare,
    cpu_notes,
    total_cpu,
)
from benchmarks.harness import Benchmark, Workshop
from benchmarks.local_files import COPIES, pieces, write_copies
from benchmarks.machine import Room
from benchmarks.sizes import GIB, MIB, Sizes
from benchmarks.usage import own_meter
from dolmen.client import Client

WRITTEN_BYTES = 4 * MIB
"""What the program hands over at a time."""


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""
    sizes, numbers = workshop.sizes, count()
    folder = workshop.folder("local")
    length_mib, gib = sizes.file_bytes / MIB, sizes.file_bytes / GIB

    async with workshop.cluster() as cluster:

        async def dolmen() -> Reading:
            meter = cluster.meter()
            await write(cluster.client, f"/file-{next(numbers)}", sizes.file_bytes)
            return Reading(length_mib / meter.elapsed_s, meter.cpu_s_per(gib))

        async def local() -> Reading:
            meter = own_meter()
            write_copies(folder / f"round-{next(numbers)}", sizes)
            return Reading(length_mib / meter.elapsed_s, meter.cpu_s_per(gib))

        ours, bare = await workshop.interleave(dolmen, local)
    yield compare(
        f"write {length_mib:,.0f} MiB, 3 replicas, durable",
        MIB_PER_S,
        ours,
        ("three local copies, fdatasync, 3 threads", bare),
        cpu_notes(ours, bare, "s/GiB"),
    ).aiming_at(ratio=0.8)
    spent, bare_spent = [total_cpu(each) for each in ours], [total_cpu(each) for each in bare]
    yield compare(
        f"write {length_mib:,.0f} MiB, 3 replicas: CPU",
        SECONDS,
        spent,
        ("three local copies, fdatasync, 3 threads", bare_spent),
        "processor seconds for a GiB, over client and daemons",
    ).aiming_at(figure=2.2)


async def write(client: Client, path: str, length_bytes: int) -> None:
    """Write a file; it is durable when this returns."""
    async with await client.open_writer(path) as writer:
        for piece in pieces(length_bytes, WRITTEN_BYTES):
            await writer.write(piece)


def _room(sizes: Sizes) -> Room:
    files = 2 * COPIES * (sizes.rounds + 1)
    return Room(files * sizes.file_bytes + GIB // 2, GIB)


BENCHMARK = Benchmark(
    "write",
    "how fast a large file is written, with three replicas, until it is durable",
    run,
    _room,
    fills_page_cache=True,
)
