"""Property 1: every acknowledged byte is readable and equal while at least one of the replicas that
acknowledged it survives.

Two ways to look. What a datanode had finalized when its machine lost power is on its disk when the
machine is back, byte by byte: a file may be in its earlier place, if the process that moved it died
before it could make that last. And in the end, when all faults are over, every file that the
namespace has is read whole by a client that takes no error for an answer.

During a run a read may fail only if the plan has faults that are a reason (`Work.may_fail`). What
was lost and deleted before the end is not seen, nor bytes that only unfinished files had: nothing
acknowledges those for good yet.
"""

from datanode.core.layout import Place, block_directory, checksums_name, data_name
from datanode.node import Datanode
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.simulation.checkers.disks import volumes_of
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.lives import Lives
from dolmen.simulation.recorded_client import RecordedClient


class Lasting:
    """What a datanode had finalized is on its disk after a loss of power."""

    def __init__(self, lives: Lives) -> None:
        """Remember what must last, just before the power is lost."""
        self._lives = lives
        self._files: dict[tuple[int, str], bytes] = {}
        if isinstance(lives.process, Datanode):
            for block_id, stamp in lives.process.settled_replicas():
                for name in (data_name(block_id), checksums_name(block_id, stamp)):
                    for data in self._find(Place.FINALIZED, block_id, name):
                        self._files[block_id, name] = data

    def check(self) -> None:
        """Compare, before the datanode starts again."""
        for (block_id, name), data in self._files.items():
            places = (Place.FINALIZED, Place.BEING_WRITTEN)
            if not any(data in self._find(place, block_id, name) for place in places):
                raise CheckFailed(
                    f"{self._lives.machine.name} lost {name} with the power", (f"{block_id:016x}",)
                )

    def _find(self, place: Place, block_id: int, name: str) -> list[bytes]:
        """Return what files of this name hold, on all volumes."""
        storage = self._lives.machine.storage
        found = []
        for volume in volumes_of(self._lives):
            try:
                file = storage.file(f"{volume}/{block_directory(place, block_id)}/{name}")
            except OSError:
                continue
            found.append(bytes(file.data))
        return found


class AcknowledgedBytes:
    """Every file can be read."""

    async def check(self, client: RecordedClient, entries: list[FileInfo]) -> None:
        """Read all files there are, whole."""
        for entry in entries:
            if entry.kind is EntryKind.FILE and await client.read(entry.path) is None:
                raise CheckFailed(
                    f"{entry.path} was acknowledged and cannot be read", (entry.path,)
                )
