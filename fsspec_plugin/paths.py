"""Paths as fsspec's users write them, and the form in which they are answered.

The canonical form of a path keeps the authority of its URL: `dolmen://h:9870/d/x` is `h:9870/d/x`,
so that a path that was cut from a URL and glued to `dolmen://` again still means the same cluster.
`/d/x` is a path of whichever cluster a filesystem belongs to. Answers have the form of the
question. What comes before the first slash is always an authority: a filesystem refuses one that is
not its own, and with it every relative path. Nothing is percent-decoded or parsed as a query: a
name may hold `%`, `#`, `?`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dolmen.client.url import (
    DEFAULT_PORT,
    SCHEME,
    choose_address,
    complete_address,
)
from dolmen.protocol.errors import DolmenError
from dolmen.protocol.identifiers import parse_address

ROOT = "/"
_MARKS = (SCHEME, "dolmen::")


@dataclass(frozen=True)
class AskedPath:
    """A path of the namespace, and the authority it was asked with (`""`: none)."""

    authority: str
    path: str

    def answer(self, path: str) -> str:
        """Return `path`, of the namespace, in the form of the question."""
        return self.authority if self.authority and path == ROOT else self.authority + path


def strip_protocol(text: str) -> str:
    """Return the canonical form: without scheme, repeated slashes and a slash at the end."""
    for mark in _MARKS:
        if text.startswith(mark):
            text = text.removeprefix(mark)
            break
    names = "/".join(name for name in text.split("/") if name)
    return ROOT + names if text.startswith("/") or not names else names


def ask(text: str, own_address: str) -> AskedPath:
    """Return what `text` means to the filesystem of `own_address`; ValueError if nothing."""
    authority, slash, rest = strip_protocol(text).partition("/")
    if authority and not _is_same(authority, own_address):
        raise ValueError(_refusal(text, authority, own_address))
    return AskedPath(authority, slash + rest or ROOT)


def parent_of(path: str) -> str:
    """Return the parent of a canonical path; the root, with or without authority, is its own."""
    above, slash, _ = path.rpartition("/")
    return above or (ROOT if slash else path)


def authority_of(url: str) -> str | None:
    """Return `host:port` of a URL, None if it has no authority; ValueError if it is malformed."""
    if not url.startswith(SCHEME):
        return None
    authority = url.removeprefix(SCHEME).partition("/")[0]
    if "@" in authority:
        raise ValueError(f"{url!r}: a URL of Dolmen names no user; give the option `user` instead")
    return _checked(authority) if authority else None


def names_port(url: str) -> bool:
    """Whether the URL itself says the port."""
    authority = url.removeprefix(SCHEME).partition("/")[0]
    return authority != "" and not authority.endswith("]") and ":" in authority


def resolve_address(
    host: str | None, port: int | str | None, environment: Mapping[str, str] = os.environ
) -> str:
    """Return `host:port` of the options, else of DOLMEN_URL, else the default; ValueError."""
    otherwise = _chosen(environment)
    if not host and port in (None, ""):
        return otherwise
    if not host:
        host, _ = parse_address(otherwise)
    elif host.startswith(SCHEME):
        host = authority_of(host) or otherwise
    if host.count(":") > 1 and "[" not in host:
        host = f"[{host}]"
    if port in (None, ""):
        return _checked(host)
    with_port = f"{host}:{port}" if _lacks_port(host) else host
    if (address := _checked(with_port)).rpartition(":")[2] != str(port).lstrip("0"):
        raise ValueError(f"host {host!r} and port {port!r} name two different ports")
    return address


def _chosen(environment: Mapping[str, str]) -> str:
    try:
        return choose_address(None, None, environment)
    except DolmenError as error:
        raise ValueError(f"DOLMEN_URL cannot be used: {error.message}") from error


def _lacks_port(host: str) -> bool:
    return host.endswith("]") or ":" not in host


def _checked(authority: str) -> str:
    try:
        return complete_address(authority)
    except DolmenError as error:
        raise ValueError(error.message) from error


def _is_same(authority: str, own_address: str) -> bool:
    try:
        return complete_address(authority).lower() == own_address.lower()
    except DolmenError:
        return False


def _refusal(text: str, authority: str, own_address: str) -> str:
    inside = strip_protocol(text)
    if text.startswith(SCHEME):
        port = "" if ":" in authority else f" (without a port: {DEFAULT_PORT})"
        return (
            f"{text!r} belongs to the cluster {authority!r}{port}, and this filesystem to"
            f" {own_address!r}: open it with fsspec.filesystem('dolmen', host=..., port=...)"
        )
    return (
        f"{text!r} is a relative path, or one of a cluster {authority!r}, and this filesystem is"
        f" that of {own_address!r}: write '/{inside}' or '{SCHEME}{own_address}/{inside}'"
    )
