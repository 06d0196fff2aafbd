"""Where a path is: `dolmen://host:port/path`, `/path`, and what stands in for what is not said.

The order is the same for the command line and for Python: the path's own URL, then the option given
beside it (`--at`, an instance's host and port), then DOLMEN_URL, then `dolmen://127.0.0.1:9870`.
Nothing is percent-decoded: a path means its bytes, `#`, `?` and `%` included.
"""

import getpass
from collections.abc import Mapping
from dataclasses import dataclass

from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.identifiers import format_address, parse_address, parse_path

SCHEME = "dolmen://"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9870
URL_VARIABLE = "DOLMEN_URL"
USER_VARIABLE = "DOLMEN_USER"


@dataclass(frozen=True)
class Location:
    """A path of the namespace, and the address of its cluster if the text named one."""

    address: str | None
    path: str


def parse_location(text: str) -> Location:
    """Split `dolmen://host:port/path` or `/path`; InvalidRequest for anything else.

    The port may be left out; the path is canonical: one slash between names, none at the end.
    """
    if not text.startswith(SCHEME):
        if "://" in text:
            raise InvalidRequest(f"{text!r} is no URL of Dolmen: it must start with {SCHEME}")
        return Location(None, canonical_path(text))
    authority, slash, rest = text.removeprefix(SCHEME).partition("/")
    address = complete_address(authority) if authority else None
    return Location(address, canonical_path(slash + rest or "/"))


def canonical_path(path: str) -> str:
    """Return an absolute path with one slash between names; raise as `parse_path` does."""
    return "/" + "/".join(parse_path(path))


def complete_address(authority: str) -> str:
    """Return `host:port` for `host:port` or `host` alone; an IPv6 host stands in brackets."""
    bracketed = authority.startswith("[") and authority.endswith("]")
    if bracketed or ":" not in authority:
        authority = f"{authority}:{DEFAULT_PORT}"
    host, port = parse_address(authority)
    if port == 0:
        raise InvalidRequest(f"{authority!r}: port 0 is no place to connect to")
    return format_address(host, port)


def choose_address(explicit: str | None, option: str | None, environment: Mapping[str, str]) -> str:
    """Return the namenode's address: of the path's URL, else the option's, else DOLMEN_URL's.

    `option` is `host`, `host:port` or a URL of Dolmen.
    """
    if explicit:
        return explicit
    return (
        _address_in(option)
        or _address_in(environment.get(URL_VARIABLE))
        or format_address(DEFAULT_HOST, DEFAULT_PORT)
    )


def _address_in(text: str | None) -> str | None:
    if not text:
        return None
    if text.startswith(SCHEME):
        return parse_location(text).address
    return complete_address(text)


def choose_user(option: str | None, environment: Mapping[str, str]) -> str:
    """Return who we say we are: the option, else DOLMEN_USER, else the login name."""
    return option or environment.get(USER_VARIABLE) or login_name()


def login_name() -> str:
    """Return the name of the process's user, or `nobody` where the system has none for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "nobody"


def format_url(address: str, path: str = "") -> str:
    """Return the URL of `path` on the cluster at `address`."""
    return f"{SCHEME}{address}{path}"
