"""A file being read: pinned to the inode and the blocks it had when it was opened."""

from typing import TYPE_CHECKING

from dolmen.protocol.client_messages import FileInfo

if TYPE_CHECKING:
    from dolmen.client.client import Client


class Reader:
    """Reads any range, from any number of tasks at once.

    Each read is verified against the checksums that the namenode vouches for, and goes on with
    another replica when one fails. BlockMissing lists the replicas that were tried in vain;
    StaleHandle: the file was deleted or replaced, and its blocks are no longer kept.
    """

    info: FileInfo
    """The file as it was when it was opened."""

    @property
    def length_bytes(self) -> int:
        """The file's length."""
        return self.info.length_bytes

    async def read_at(self, offset: int, length: int) -> bytearray:
        """Return the bytes of a range, fewer (or none) where the file ends before."""

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` on, blocks in parallel; return how many bytes there were."""

    async def close(self) -> None:
        """Forget the file. Idempotent."""


async def open_reader(client: "Client", path: str) -> Reader:
    """Open the file at `path`."""
