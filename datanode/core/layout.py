"""Where the files of a block stand on a volume, and what their names say (rule 19).

`<place>/<namespace>/<2 hex>/<2 hex>/<block id>.block` is the data, `<block id>.<stamp>.checksums`
beside it the checksums: a new stamp is one rename of the small file. `<block id>.<stamp>.damaged`
marks a finalized replica that failed its checksums (rule 21), and says why. 256 blocks with
neighbouring numbers share a directory, so that a young volume has few, and 65,536 directories take
sequential numbers in turn.
"""

import enum

from dolmen.protocol.identifiers import block_namespace, block_number, format_block_id

DATA_SUFFIX = ".block"
CHECKSUMS_SUFFIX = ".checksums"
MARKER_SUFFIX = ".damaged"
NEW_SUFFIX = ".new"  #: of a file that is being replaced, until its rename
_BLOCK_ID_DIGITS = 16
_BLOCKS_IN_DIRECTORY_BITS = 8


class Place(enum.Enum):
    """The three trees of a volume."""

    BEING_WRITTEN = "being_written"
    FINALIZED = "finalized"
    QUARANTINE = "quarantine"


def group_of(block_id: int) -> str:
    """Return the directory of a block's files below its place."""
    group = block_number(block_id) >> _BLOCKS_IN_DIRECTORY_BITS
    return f"{block_namespace(block_id):04x}/{group >> 8 & 0xFF:02x}/{group & 0xFF:02x}"


def block_directory(place: Place, block_id: int) -> str:
    """Return the directory of a block's files, relative to the volume."""
    return f"{place.value}/{group_of(block_id)}"


def data_name(block_id: int) -> str:
    """Return the name of a block's data file."""
    return format_block_id(block_id) + DATA_SUFFIX


def checksums_name(block_id: int, stamp: int) -> str:
    """Return the name of the checksum file of a replica of this stamp."""
    return f"{format_block_id(block_id)}.{stamp}{CHECKSUMS_SUFFIX}"


def marker_name(block_id: int, stamp: int) -> str:
    """Return the name of the file that marks a replica of this stamp as DAMAGED."""
    return f"{format_block_id(block_id)}.{stamp}{MARKER_SUFFIX}"


def parse_marker(name: str) -> tuple[int, int] | None:
    """Return (block id, stamp) of a marker; None for any other name."""
    parsed = parse_name(name.removesuffix(MARKER_SUFFIX) + CHECKSUMS_SUFFIX)
    if parsed is None or parsed[1] is None or name != marker_name(parsed[0], parsed[1]):
        return None
    return parsed[0], parsed[1]


def parse_name(name: str) -> tuple[int, int | None] | None:
    """Return (block id, stamp), with None as stamp for data; None for a name of no kind."""
    digits, dot, rest = name.partition(".")
    if len(digits) != _BLOCK_ID_DIGITS or not dot or not _is_hexadecimal(digits):
        return None
    block_id = int(digits, 16)
    if name == data_name(block_id):
        return block_id, None
    stamp = rest.removesuffix(CHECKSUMS_SUFFIX)
    if not (stamp.isascii() and stamp.isdigit()):
        return None
    return (block_id, int(stamp)) if name == checksums_name(block_id, int(stamp)) else None


def _is_hexadecimal(text: str) -> bool:
    return all(digit in "0123456789abcdef" for digit in text)


def is_cut_off_write(name: str) -> bool:
    """Return whether a file of a block did not come to its rename."""
    if not name.endswith(NEW_SUFFIX):
        return False
    whole = name.removesuffix(NEW_SUFFIX)
    return parse_marker(whole) is not None or parse_name(whole) is not None
