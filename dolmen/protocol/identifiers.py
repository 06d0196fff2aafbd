"""Identifiers, addresses and paths: their form, their limits, and how they are parsed."""

import re
from typing import NewType

from dolmen.protocol.errors import InvalidRequest, NameTooLong

ClusterId = NewType("ClusterId", str)
"""32 lower-case hexadecimal digits, drawn when a namenode initialises an empty directory."""

DatanodeId = NewType("DatanodeId", str)
"""32 lower-case hexadecimal digits, drawn when a datanode initialises its first volume."""

ROOT_INODE_ID = 1
FIRST_INODE_ID = 16385
"""The first identity given to a file or directory; smaller ones are reserved (as in HDFS)."""

NAME_LIMIT_BYTES = 255
PATH_LIMIT_BYTES = 8000
DEPTH_LIMIT = 1000
DIRECTORY_ENTRIES_LIMIT = 1_048_576
FILE_BLOCKS_LIMIT = 10_000
LISTING_LIMIT = 1000
"""The limits of HDFS, so that a tree that fits there fits here."""

INFOS_LIMIT = 100
"""Paths asked about at once: as many of the longest fit into a message."""

_HOST_NAME = re.compile(r"[\w.-]+")
_IPV6_HOST = re.compile(r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[\w.-]+)?\]")

_NUMBER_BITS = 44
_UNIT_BITS = 4
BLOCK_NUMBER_LIMIT = 1 << _NUMBER_BITS


def make_block_id(namespace_id: int, number: int, unit: int = 0) -> int:
    """Return a block id: namespace 16 bits, number 44 bits, unit of an erasure-coding group 4."""
    return (namespace_id << _NUMBER_BITS | number) << _UNIT_BITS | unit


def block_namespace(block_id: int) -> int:
    """Return the id of the namespace that `block_id` belongs to."""
    return block_id >> (_NUMBER_BITS + _UNIT_BITS)


def block_number(block_id: int) -> int:
    """Return the number of `block_id` within its namespace."""
    return block_id >> _UNIT_BITS & (BLOCK_NUMBER_LIMIT - 1)


def format_block_id(block_id: int) -> str:
    """Return `block_id` as people and file names see it: 16 hexadecimal digits."""
    return f"{block_id:016x}"


def parse_address(address: str) -> tuple[str, int]:
    """Split `host:port`; an IPv6 host stands in brackets. Raise InvalidRequest if it is neither."""
    host, colon, port = address.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    if not colon or not host or not is_port:
        raise InvalidRequest(f"{address!r} is not an address of the form host:port")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise InvalidRequest(f"{address!r}: an IPv6 host must stand in brackets: [::1]:9870")
    if not (_IPV6_HOST if host.startswith("[") else _HOST_NAME).fullmatch(host):
        raise InvalidRequest(f"{address!r}: {host!r} is no name or address of a host")
    try:
        host.encode("idna")  # as a resolver does
    except UnicodeError:
        raise InvalidRequest(
            f"{address!r}: a part between the dots of a host's name has 1 to 63 characters"
        ) from None
    return host.strip("[]"), int(port)


def format_address(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_name(name: str, path: str) -> None:
    """Raise unless `name` can be one component of a path."""
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"name {name!r} is not valid UTF-8", path) from None
    if "\0" in name:
        raise InvalidRequest(f"name {name!r} has a NUL character", path)
    if name in (".", ".."):
        raise InvalidRequest(f"a path may not have a component {name!r}", path)
    if size_bytes > NAME_LIMIT_BYTES:
        raise NameTooLong(
            f"name of {size_bytes} bytes is longer than {NAME_LIMIT_BYTES} bytes of UTF-8", path
        )


def parse_path(path: str) -> tuple[str, ...]:
    """Return the components of an absolute namespace path; `//` counts as `/`.

    Raise InvalidRequest for a relative path, `.`, `..`, NUL or invalid UTF-8, and NameTooLong
    for a name, path or depth above its limit.
    """
    if not path.startswith("/"):
        raise InvalidRequest(f"{path!r} is relative: a path starts with '/'", path)
    names = tuple(filter(None, path.split("/")))
    plain = len(path) <= NAME_LIMIT_BYTES and path.isascii() and "\0" not in path
    if not plain or "." in names or ".." in names:
        _check_names(names, path)
    return names


def _check_names(names: tuple[str, ...], path: str) -> None:
    for name in names:
        check_name(name, path)
    size_bytes = sum(len(name.encode()) + 1 for name in names)
    if size_bytes > PATH_LIMIT_BYTES:
        raise NameTooLong(
            f"path of {size_bytes} bytes is longer than {PATH_LIMIT_BYTES} bytes", path
        )
    if len(names) > DEPTH_LIMIT:
        raise NameTooLong(f"path of {len(names)} names is deeper than {DEPTH_LIMIT}", path)


def format_path(names: tuple[str, ...]) -> str:
    """Return the canonical absolute path of `names`."""
    return "/" + "/".join(names)
