"""Fills a namenode's directory with files, faster than clients could: straight into its journal.

Each file gets the edits that a client's writing it makes (created, block allocated, block
committed, published), so that tables and log are what they would be; only the recorded answers,
which go after ten minutes, are left out, and many files go into one group of edits. Checkpoints are
written, and the log is trimmed, as a namenode does it. Nobody holds the blocks: a namenode started
on the directory stays in safe mode, and answers what is asked.
"""

import asyncio
from collections.abc import Iterator
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
"""Ids, as a file's blocks name them."""


def load(pipe: Connection, directory: Path, files: range) -> None:
    """Add these files, and say so after each part of them; the last part comes with a
    checkpoint."""
    asyncio.run(_load(pipe, directory, files))


def file_path(number: int) -> str:
    """Return the path of a file that was loaded."""
    return f"/directory-{number // FILES_PER_DIRECTORY:05d}/part-{number:07d}.parquet"


async def _load(pipe: Connection, directory: Path, files: range) -> None:
    machine = real_machine()
    store = await open_store(machine, StoreOptions(str(directory)))
    journal = Journal(store, apply_group, machine.wall_clock_ms, lambda _: None)
    working = asyncio.create_task(journal.run())
    checkpointer = store.checkpointer(Settings().checkpoint_every)
    part = FILES_PER_GROUP * GROUPS_IN_FLIGHT
    for start in range(files.start, files.stop, part):
        stop = min(start + part, files.stop)
        await _submit(journal, range(start, stop))
        await checkpointer.run_if_due()
        if stop < files.stop:
            pipe.send(stop)
    journal.close()
    await working
    await checkpointer.run()
    await store.close_clean()
    pipe.send(files.stop)


async def _submit(journal: Journal, files: range) -> None:
    """Have the journal take some files, a group of edits for each FILES_PER_GROUP of them."""

    async def submit(group: range) -> None:
        await journal.submit(
            lambda view, now_ms: Outcome(Done(), edits=tuple(_edits(view, now_ms, group)))
        )

    async with asyncio.TaskGroup() as tasks:
        for start in range(files.start, files.stop, FILES_PER_GROUP):
            tasks.create_task(submit(range(start, min(start + FILES_PER_GROUP, files.stop))))


def _edits(view: View, now_ms: int, files: range) -> Iterator[AnyEdit]:
    """Return the edits of files in one directory, which is made with its first file."""
    meta = load_meta(view)
    inode_id = meta.next_inode_id
    directory, _, _ = file_path(files.start)[1:].partition("/")
    if files.start % FILES_PER_DIRECTORY == 0:
        parent_id = inode_id
        inode_id += 1
        yield DirectoryMade(parent_id, ROOT_INODE_ID, directory, 0o755, "bench", "bench", now_ms)
    else:  # the group before was this directory's, and its files the last inodes
        parent_id = inode_id - files.start % FILES_PER_DIRECTORY - 1
    for place, number in enumerate(files):
        yield from _file(meta, (inode_id + place, parent_id), place, (number, now_ms))


def _file(
    meta: Meta, inodes: tuple[int, int], place: int, when: tuple[int, int]
) -> Iterator[AnyEdit]:
    """Return the edits of one file: inode and parent, its place in the group, number and time."""
    (inode_id, parent_id), (number, now_ms) = inodes, when
    path = file_path(number)
    block_id = make_block_id(meta.namespace_id, meta.next_block_number + place)
    digest = number.to_bytes(DIGEST_BYTES, "big")
    yield FileCreated(
        *(inode_id, bytes(CLIENT_ID_BYTES), path, 0o644, "bench", "bench"),
        *(3, 128 * MIB, now_ms),
    )
    yield BlockAllocated(inode_id, 0, block_id, meta.next_stamp + place, DATANODES)
    yield BlockCommitted(block_id, LENGTH_BYTES, digest)
    name = path.rpartition("/")[2]
    yield FilePublished(*(inode_id, parent_id, name, LENGTH_BYTES, digest, now_ms, now_ms, now_ms))
