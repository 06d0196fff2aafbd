"""Reads the operator's topology file, at the start and again whenever it was changed.

A file that cannot be read, or has an error, changes nothing: what was read before stays.
"""

from dataclasses import dataclass

from dolmen.protocol.errors import InvalidRequest
from dolmen.runtime.disk import Disk
from namenode.core.topology import Topology, parse_topology


@dataclass(frozen=True)
class TopologyFile:
    """Where the file is, if there is one."""

    disk: Disk
    path: str | None

    async def read(self) -> Topology:
        """Return what it says; InvalidRequest says which file, and what is wrong with it."""
        if self.path is None:
            raise InvalidRequest(
                "this namenode has no topology file: start it with --topology FILE, or give each"
                " datanode its --rack"
            )
        try:
            return parse_topology(await self.disk.read_file(self.path))
        except OSError as error:
            raise InvalidRequest(
                f"the topology file {self.path} cannot be read: {error.strerror}"
            ) from None
        except InvalidRequest as error:
            raise InvalidRequest(f"the topology file {self.path}, {error.message}") from None
