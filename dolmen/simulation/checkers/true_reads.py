"""Property 2: no read ever returns a byte that was not written there.

Every version of a file has bytes of its own. What a reader is told when it opens a path (hash,
length) must be one version's; that this version was at that path at some moment of the opening is
property 3's to say. Each range that it reads after that must be that version's bytes, whatever
happens to the path meanwhile: stale, torn or rotten bytes, and those of another file, differ. A
file that grows has the hash of the bytes that are read of it, or none (`growing_client`). Who
follows a file is given what it was at one moment, in order, and is told when it was cut below that.

It cannot see bytes that are read and not returned, nor wrong bytes in versions too short to differ.
"""

from collections.abc import Iterable

from dolmen.protocol.client_messages import FileInfo
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.versions import Versions


class TrueReads:
    """Compares what is read with what was written."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    def version_of(self, info: FileInfo) -> int:
        """Return the version that a file is said to be."""
        number = self._versions.number_of(info.content_hash)
        if number is None or self._versions.get(number).length_bytes != info.length_bytes:
            raise CheckFailed(
                f"{info.path}, inode {info.inode_id}, has a hash and length that nobody wrote",
                (info.path,),
            )
        return number

    def check_length(self, info: FileInfo, offset: int, wanted: int, count: int) -> None:
        """Raise unless as many bytes came as were wanted, or as there are."""
        if count != min(wanted, info.length_bytes - offset):
            raise CheckFailed(f"{info.path} ended early", (info.path,))

    def check_untouched(self, info: FileInfo, memory: bytearray) -> None:
        """Raise unless memory is as empty as it was left when reading into it was over."""
        if any(memory):
            raise CheckFailed(
                f"{info.path}: bytes came into the reader's memory after it had been read",
                (info.path,),
            )

    def check_followed(
        self, path: str, offset: int, got: bytes | bytearray, contents: Iterable[bytes]
    ) -> None:
        """Raise unless the bytes that came are those of the file, as it was at one moment."""
        if not any(one[offset : offset + len(got)] == got for one in contents):
            raise CheckFailed(
                f"{path}: who followed it from {offset} on was given {len(got)} bytes that are not"
                " what it was at any moment",
                (path,),
            )

    def check(self, info: FileInfo, offset: int, data: bytes | bytearray) -> None:
        """Raise unless these are the bytes of the opened version at this offset."""
        contents = self._versions.contents(self.version_of(info))
        if contents[offset : offset + len(data)] == data:
            return
        wrong = next(at for at, byte in enumerate(data) if byte != contents[offset + at])
        raise CheckFailed(
            f"{info.path}, inode {info.inode_id}: {len(data)} bytes were read at {offset} that"
            f" nobody wrote there, the first wrong one at {offset + wrong}",
            (info.path,),
        )
