"""The VERSION file of a volume: whose it is.

It is read again and again while the datanode runs: where a disk was unmounted there is an empty
directory, which can be written, and in which every replica seems to be lost. Only the VERSION file
tells it from the volume.
"""

import msgspec

from dolmen.protocol.errors import StartRefused
from dolmen.runtime.disk import Disk

MAGIC = "dolmen-volume"
FORMAT_VERSION = 1
NAME = "VERSION"


class VolumeIdentity(msgspec.Struct, frozen=True):
    """The VERSION file of a volume, as JSON: people read it when something is wrong."""

    magic: str
    format_version: int
    cluster_id: str
    datanode_id: str
    storage_id: str
    highest_epoch: int


class DirectoryUnusable(Exception):
    """This directory cannot hold a volume now; the message says why. Others may."""


class OtherDatanode(DirectoryUnusable):
    """It holds a volume of another datanode."""


async def read_identity(disk: Disk, root: str) -> VolumeIdentity | None:
    """Return whose the volume is, None if it is nobody's.

    DirectoryUnusable if the file is damaged, StartRefused if newer software wrote it; OSError.
    """
    path = f"{root}/{NAME}"
    try:
        data = await disk.read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        identity = msgspec.json.decode(data, type=VolumeIdentity)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DirectoryUnusable(f"{path} is not a volume's VERSION file: {error}") from None
    if identity.magic != MAGIC:
        raise DirectoryUnusable(f"{path} does not belong to a Dolmen volume")
    if identity.format_version > FORMAT_VERSION:
        raise StartRefused(
            f"{root} has format {identity.format_version}, newer than this software's"
            f" {FORMAT_VERSION}: start it with the software that wrote it, or a newer one"
        )
    return identity


async def write_identity(disk: Disk, root: str, identity: VolumeIdentity) -> None:
    """Make `identity` that of the volume, lasting."""
    encoded = msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n"
    await disk.write_file(f"{root}/{NAME}", encoded)
