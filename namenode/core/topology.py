"""Which datanode is in which rack, as the operator's file says it.

A line names a datanode and its rack, separated by spaces: `stone-17 /hall-2/rack-5`. A datanode is
named by its id, its address (host:port), its host label or the host of its address, and the first
of these that the file has counts. One that the file does not have is in the rack that it says
itself. What follows a # is a comment.
"""

import msgspec

from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.identifiers import parse_address

FILE_LIMIT_BYTES = 16 * 1024 * 1024
"""Some hundred thousand lines: more datanodes than a cluster has."""

LABEL_LIMIT_BYTES = 255
"""As when a datanode registers: a host name is not longer."""


class Topology(msgspec.Struct, frozen=True):
    """Racks by the name of their datanodes."""

    racks: dict[str, str] = {}

    def rack_of(self, datanode_id: str, address: str, host: str) -> str | None:
        """Return the rack of this datanode, None if the file leaves that to it."""
        names = (datanode_id, address, host, parse_address(address)[0])
        return next((self.racks[name] for name in names if name in self.racks), None)


def parse_topology(content: bytes) -> Topology:
    """Return what a topology file says; InvalidRequest names the line that is wrong."""
    if len(content) > FILE_LIMIT_BYTES:
        raise InvalidRequest(f"it has {len(content)} bytes, more than {FILE_LIMIT_BYTES}")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        broken = content[: error.start].count(b"\n") + 1
        raise InvalidRequest(f"line {broken}: it is no UTF-8") from None
    racks: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.partition("#")[0].split()
        if words:
            name, rack = _checked(words, number)
            if racks.get(name, rack) != rack:
                raise InvalidRequest(
                    f"line {number}: {name} is in rack {rack} here and in rack {racks[name]} in"
                    f" line {lines[name]}"
                )
            racks[name] = rack
            lines[name] = number
    return Topology(racks)


def _checked(words: list[str], number: int) -> tuple[str, str]:
    if len(words) != 2:
        raise InvalidRequest(
            f"line {number}: a datanode and its rack are wanted, as in `stone-17 /rack-5`, and"
            f" there {'is one word' if len(words) == 1 else f'are {len(words)} words'}"
        )
    for word in words:
        if "\0" in word or len(word.encode()) > LABEL_LIMIT_BYTES:
            raise InvalidRequest(
                f"line {number}: a name has at most {LABEL_LIMIT_BYTES} bytes and no NUL"
            )
    return words[0], words[1]
