"""Every error that crosses a process boundary or a public call, in one tree.

DolmenError
 ├─ RequestRefused   the caller must change its request (no such path, limits, lease, access)
 ├─ TryAgain         the same request may succeed later or elsewhere (safe mode, too few datanodes)
 ├─ DataDamaged      a replica is wrong: report it and read another one
 ├─ Unreachable      nobody answered: the message says who, and whether the outcome is known
 └─ StartRefused     a daemon cannot start on what it was given; one line, exit code 4

An error travels as a `Refusal` (kind, message, path) and is raised again on the other side as the
same class. Translation to `OSError` happens once, at the edge that needs it
(`fsspec_plugin/os_errors.py`, `dolmen/cli`), from the `errno` that each class names.
"""

import errno
from typing import ClassVar

import msgspec


class DolmenError(Exception):
    """The root of all errors of Dolmen. `path` is the namespace path concerned, if any."""

    errno: ClassVar[int] = errno.EIO

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class RequestRefused(DolmenError):
    """The request can never succeed as it stands."""

    errno = errno.EINVAL


class InvalidRequest(RequestRefused):
    """The request is malformed, or asks for something that is not allowed."""


class NoSuchPath(RequestRefused):
    """The path, or its parent, does not exist."""

    errno = errno.ENOENT


class PathExists(RequestRefused):
    """The target exists already and may not be replaced."""

    errno = errno.EEXIST


class NotADirectory(RequestRefused):
    """A component that must be a directory is a file."""

    errno = errno.ENOTDIR


class IsADirectory(RequestRefused):
    """A file was needed and the path is a directory."""

    errno = errno.EISDIR


class DirectoryNotEmpty(RequestRefused):
    """The directory has entries and the request was not recursive."""

    errno = errno.ENOTEMPTY


class NameTooLong(RequestRefused):
    """A name, a path or a depth is above its limit, which the message names."""

    errno = errno.ENAMETOOLONG


class DirectoryFull(RequestRefused):
    """The directory has as many entries as one may have."""

    errno = errno.ENOSPC


class FileTooLarge(RequestRefused):
    """The file has as many blocks as one may have."""

    errno = errno.EFBIG


class NeedsBlocks(RequestRefused):
    """The namenode keeps the bytes of a file itself, and they must be in blocks for this."""


class LeaseConflict(RequestRefused):
    """Somebody else holds the lease, or the caller's lease has ended."""

    errno = errno.EBUSY


class AccessDenied(RequestRefused):
    """The token or the proof does not allow this."""

    errno = errno.EACCES


class StaleHandle(RequestRefused):
    """The file that was open has been deleted or replaced, and its grace period is over."""

    errno = errno.ESTALE


class WrongCluster(RequestRefused):
    """The peer belongs to another cluster."""


class UnsupportedVersion(RequestRefused):
    """The peer, or a file on disk, speaks a format that this software does not know."""


class TryAgain(DolmenError):
    """The same request may succeed later, or at another namenode."""

    errno = errno.EAGAIN


class SafeMode(TryAgain):
    """The namenode still collects block reports: it answers reads and changes nothing."""


class TooFewDatanodes(TryAgain):
    """Not enough datanodes can take, or have stored, the block."""

    errno = errno.EIO


class NoSpace(TryAgain):
    """No datanode, or not the namenode, has room for this."""

    errno = errno.ENOSPC


class StandbyNamenode(TryAgain):
    """This namenode is not the active one."""


class Overloaded(TryAgain):
    """A limit on queued work is reached."""


class DataDamaged(DolmenError):
    """A replica, or a file of ours on disk, is not what it must be."""


class ChecksumMismatch(DataDamaged):
    """Bytes do not have the checksum that was recorded for them."""


class StaleGeneration(DataDamaged):
    """The replica, or the request, has an older generation stamp."""


class NoSuchReplica(DataDamaged):
    """The datanode does not hold this replica."""


class BlockMissing(DataDamaged):
    """No replica of the block could be read; the message lists those that were tried."""


class Unreachable(DolmenError):
    """Nobody answered in time."""

    errno = errno.ECONNREFUSED


class NamenodeUnreachable(Unreachable):
    """The namenode could not be reached; the operation was not done."""


class OutcomeUnknown(Unreachable):
    """The namenode was lost after the request left: it may or may not have been done."""

    errno = errno.ETIMEDOUT


class PeerLost(Unreachable):
    """A connection was refused, broke, or fell silent beyond its deadline."""

    errno = errno.ECONNRESET


class StartRefused(DolmenError):
    """A daemon cannot start: port in use, locked or foreign directory, wrong secret."""


def _tree(root: type[DolmenError]) -> dict[str, type[DolmenError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


KINDS: dict[str, type[DolmenError]] = _tree(DolmenError)


MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no message: also for text that is not UTF-8, and for
arrays nested too deep in a field that this software does not know."""


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """An error on the wire: the name of its class, its message, the path concerned."""

    kind: str
    message: str
    path: str | None = None


def to_refusal(error: DolmenError) -> Refusal:
    """Return `error` as it goes over the wire."""
    return Refusal(type(error).__name__, error.message, error.path)


def to_error(refusal: Refusal) -> DolmenError:
    """Return the error that `refusal` stands for; a kind from newer software becomes its root."""
    return KINDS.get(refusal.kind, DolmenError)(refusal.message, refusal.path)
