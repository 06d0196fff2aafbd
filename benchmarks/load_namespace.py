"""Fills a namenode's directory with files, faster than clients could: straight into its journal.

Each file gets the edits that a client's writing it makes (created, block allocated, block
committed, published), so that tables and log are what they would be; only the recorded answers,
which go after ten minutes, are left out, and many files go into one group of edits. Checkpoints are
written, and the log is trimmed, as a namenode does it. Nobody holds the blocks: a namenode started
on the directory stays in safe mode, and answers what is asked.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.sizes import MIB
from dolmen.protocol.checksums import DIGEST_BYTES
from dolmen.protocol.client_messages import Done
from dolmen.protocol.control_messages import CLIENT_ID_BYTES
from dolmen.protocol.identifiers import ROOT_INODE_ID, make_block_id
from dolmen.runtime.real_machine import real_machine
from dolmen.runtime.settings import Settings
from namenode.core.apply import apply_group
from namenode.core.edits import (
    AnyEdit,
    BlockAllocated,
    BlockCommitted,
    DatanodeRegistered,
    DirectoryMade,
    FileCreated,
    FilePublished,
)
from namenode.core.lookup import load_meta
from namenode.core.outcome import Outcome
from namenode.core.records import Meta
from namenode.core.tables import View
from namenode.journal import Journal
from namenode.store import StoreOptions, open_store

FILES_PER_DIRECTORY = 1000
FILES_PER_GROUP = 100
GROUPS_IN_FLIGHT = 50

LENGTH_BYTES = 100 * MIB
DATANODES = tuple(f"{number:032x}" for number in range(3))
"""Their ids."""


def load(pipe: Connection, directory: Path, files: range, replication: int = 3) -> None:
    """Add these files, and say so after each part of them; the last part comes with a
    checkpoint."""
    asyncio.run(_load(pipe, directory, files, replication))


def file_path(number: int) -> str:
    """Return the path of a file that was loaded."""
    return f"/directory-{number // FILES_PER_DIRECTORY:05d}/part-{number:07d}.parquet"


def block_digest_of(number: int) -> bytes:
    """Return the digest of a file's block."""
    return number.to_bytes(DIGEST_BYTES, "big")


async def _load(pipe: Connection, directory: Path, files: range, replication: int) -> None:
    machine = real_machine()
    store = await open_store(machine, StoreOptions(str(directory)))
    journal = Journal(store, apply_group, machine.wall_clock_ms, lambda _: None)
    working = asyncio.create_task(journal.run())
    checkpointer = store.checkpointer(Settings().checkpoint_every)
    part = FILES_PER_GROUP * GROUPS_IN_FLIGHT
    for start in range(files.start, files.stop, part):
        stop = min(start + part, files.stop)
        await _submit(journal, range(start, stop), replication)
        await checkpointer.run_if_due()
        if stop < files.stop:
            pipe.send(stop)
    journal.close()
    await working
    await checkpointer.run()
    await store.close_clean()
    pipe.send(files.stop)


async def _submit(journal: Journal, files: range, replication: int) -> None:
    """Have the journal take some files, a group of edits for each FILES_PER_GROUP of them."""

    async def submit(group: range) -> None:
        def decide(view: View, now_ms: int) -> Outcome:
            made = _made(view, now_ms, group)
            return Outcome(Done(), edits=tuple(_edits(made, group, replication)))

        await journal.submit(decide)

    async with asyncio.TaskGroup() as tasks:
        for start in range(files.start, files.stop, FILES_PER_GROUP):
            tasks.create_task(submit(range(start, min(start + FILES_PER_GROUP, files.stop))))


@dataclass(frozen=True)
class _Made:
    """What a group of files goes into: ids and stamps from here on, below this directory."""

    meta: Meta
    now_ms: int
    inode_id: int
    parent_id: int
    directory: str
    is_new: bool


def _made(view: View, now_ms: int, files: range) -> _Made:
    """Return where files of one directory go, which is made with its first file."""
    meta = load_meta(view)
    directory, _, _ = file_path(files.start)[1:].partition("/")
    before = files.start % FILES_PER_DIRECTORY
    next_id = meta.next_inode_id
    if before == 0:
        return _Made(meta, now_ms, next_id + 1, next_id, directory, is_new=True)
    # the group before was this directory's, and its files the last inodes
    return _Made(meta, now_ms, next_id, next_id - before - 1, directory, is_new=False)


def _edits(made: _Made, files: range, replication: int) -> Iterator[AnyEdit]:
    """Return the edits of a group of files, and of their directory if it is new."""
    if files.start == 0:
        for number, datanode_id in enumerate(DATANODES, made.meta.next_datanode_number):
            yield DatanodeRegistered(datanode_id, number, f"127.0.0.1:{1 + number}", "bench", "/")
    if made.is_new:
        where = (made.parent_id, ROOT_INODE_ID, made.directory)
        yield DirectoryMade(*where, 0o755, "bench", "bench", made.now_ms)
    for place, number in enumerate(files):
        yield from _file(made, place, number, replication)


def _file(made: _Made, place: int, number: int, replication: int) -> Iterator[AnyEdit]:
    """Return the edits of one file, at its place in the group."""
    meta, now_ms = made.meta, made.now_ms
    inode_id = made.inode_id + place
    path = file_path(number)
    block_id = make_block_id(meta.namespace_id, meta.next_block_number + place)
    digest = block_digest_of(number)
    yield FileCreated(
        *(inode_id, bytes(CLIENT_ID_BYTES), path, 0o644, "bench", "bench"),
        *(replication, 128 * MIB, now_ms),
    )
    targets = DATANODES[:replication]
    yield BlockAllocated(inode_id, 0, block_id, meta.next_stamp + place, targets)
    yield BlockCommitted(block_id, LENGTH_BYTES, digest)
    name = path.rpartition("/")[2]
    times = (now_ms, now_ms, now_ms)
    yield FilePublished(inode_id, made.parent_id, name, LENGTH_BYTES, digest, *times)
