"""Reads the operator's topology file, at the start and again whenever it was changed.

A file that cannot be read, or has an error, changes nothing: what was read before stays.
"""

from dolmen.protocol.errors import InvalidRequest
from dolmen.runtime.disk import Disk
from namenode.core.topology import Topology, parse_topology


async def read_topology(disk: Disk, path: str | None) -> Topology:
    """Return what the file at `path` says; InvalidRequest says which file, and what is wrong."""
    if path is None:
        raise InvalidRequest(
            "this namenode has no topology file: start it with --topology FILE, or give each"
            " datanode its --rack"
        )
    try:
        return parse_topology(await disk.read_file(path))
    except OSError as error:
        raise InvalidRequest(f"the topology file {path} cannot be read: {error.strerror}") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"the topology file {path}, {error.message}") from None
