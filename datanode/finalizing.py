"""Bringing a replica that has all its bytes into its final form, in one go.

The order is rule 19's. The data is synced first; then the records are replaced by the final form,
which says what the data must be, and only then the files move: whatever a crash leaves after that,
`core.restart` finishes.
"""

from datanode.core.checksum_file import FinalizedContents, encode_finalized
from datanode.core.layout import Place
from datanode.open_files import ReplicaFiles
from datanode.volume import Volume, lasting, sync_bytes


async def finalize(volume: Volume, files: ReplicaFiles, contents: FinalizedContents) -> None:
    """Make a replica's files final and lasting, and close them. They stay open if this fails."""
    await volume.make_directory(Place.FINALIZED, contents.block_id)
    await volume.make_last(_steps(volume, files, contents))


async def _steps(volume: Volume, files: ReplicaFiles, contents: FinalizedContents) -> None:
    block_id, stamp, written = contents.block_id, contents.stamp, Place.BEING_WRITTEN
    if await files.data.size() != contents.length_bytes:  # bytes that never were acknowledged
        await files.data.truncate(contents.length_bytes)
    await sync_bytes(files.data)
    path = volume.checksums_path(written, block_id, stamp)
    await lasting(volume.disk.write_file(path, encode_finalized(contents)))
    await volume.move(block_id, stamp, written, written)
    await files.close()
