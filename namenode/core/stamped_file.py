"""Small text files that say what they are, of which format and cluster, and whether they are whole.

Three lines: magic, format version and cluster id; the contents as JSON; the digest of both lines.
"""

from typing import TypeVar

import msgspec
import xxhash

from dolmen.protocol.errors import DataDamaged, UnsupportedVersion

FORMAT = 1

C = TypeVar("C", bound=msgspec.Struct)


def encode_stamped(magic: str, cluster_id: str, contents: msgspec.Struct) -> bytes:
    """Return the file that holds `contents`."""
    text = b"%s %d %s\n%s\n" % (
        magic.encode(),
        FORMAT,
        cluster_id.encode(),
        msgspec.json.encode(contents),
    )
    return text + xxhash.xxh3_128_hexdigest(text).encode() + b"\n"


def decode_stamped(data: bytes, magic: str, contents_type: type[C]) -> tuple[str, C]:
    """Return (cluster id, contents). DataDamaged, UnsupportedVersion."""
    _check_format(data, magic)
    text, _, digest = data.removesuffix(b"\n").rpartition(b"\n")
    text += b"\n"
    if digest.decode("ascii", "replace") != xxhash.xxh3_128_hexdigest(text):
        raise DataDamaged(f"the file is no {magic} file, or it is damaged")
    head, contents, _ = text.split(b"\n")
    found, _, cluster_id = head.decode().split(" ")
    if found != magic:
        raise DataDamaged(f"the file is a {found} file, not a {magic} file")
    return cluster_id, msgspec.json.decode(contents, type=contents_type)


def _check_format(data: bytes, magic: str) -> None:
    """UnsupportedVersion for a newer format: what follows the first line is known to it alone."""
    found, _, rest = data.partition(b"\n")[0].partition(b" ")
    version = rest.partition(b" ")[0]
    if found == magic.encode() and version.isdigit() and int(version[:9]) > FORMAT:
        raise UnsupportedVersion(
            f"the {magic} file has format {version[:9].decode()};"
            f" this software knows {FORMAT}: start a newer one"
        )
