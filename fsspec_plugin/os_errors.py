"""Errors of Dolmen as the `OSError` that callers of files expect: one table.

The errno stands with each class of `dolmen.protocol.errors`, and picks the subclass of OSError
where Python has one for it (ENOENT: FileNotFoundError). The table has those for which fsspec's
users expect another one. The original error stays as `__cause__`.
"""

import asyncio
import errno
import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dolmen.protocol.errors import (
    DolmenError,
    InvalidRequest,
    LeaseConflict,
    NamenodeUnreachable,
    OutcomeUnknown,
    Overloaded,
    PeerLost,
    SafeMode,
    StandbyNamenode,
    Unreachable,
)

T = TypeVar("T")


class InvalidArgument(OSError, ValueError):
    """The request is malformed or not allowed: EINVAL, and a ValueError as fsspec has it."""


TABLE: dict[type[DolmenError], tuple[type[OSError], int]] = {
    InvalidRequest: (InvalidArgument, errno.EINVAL),
    LeaseConflict: (PermissionError, errno.EBUSY),
    SafeMode: (BlockingIOError, errno.EAGAIN),
    StandbyNamenode: (BlockingIOError, errno.EAGAIN),
    Overloaded: (BlockingIOError, errno.EAGAIN),
    NamenodeUnreachable: (ConnectionRefusedError, errno.ECONNREFUSED),
    # Not TimeoutError, though its errno says so: a program that asks "is the cluster there?"
    # catches ConnectionError, and no program may take this one for "nothing was done".
    OutcomeUnknown: (ConnectionAbortedError, errno.ECONNABORTED),
    PeerLost: (ConnectionResetError, errno.ECONNRESET),
    Unreachable: (ConnectionError, errno.ECONNREFUSED),
}


def to_os_error(error: DolmenError, asked: object = None) -> OSError:
    """Return `error` as an OSError about the path `asked` for, in the form of the question."""
    kind, number = TABLE.get(type(error), (OSError, type(error).errno))
    path = error.path
    message = error.message.removeprefix(f"{path}: ")  # OSError shows the path itself
    if isinstance(asked, str) and asked.endswith(path or ""):
        path = asked
    return kind(number, message, path)


@contextmanager
def translating(asked: object = None) -> Iterator[None]:
    """Raise errors of Dolmen as OSErrors about the path `asked` for."""
    try:
        yield
    except DolmenError as error:
        raise to_os_error(error, asked) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled us: something below was torn down. fsspec's `sync` would return None.
        message = "the operation was cut off: the client was closed meanwhile"
        raise OSError(errno.ECANCELED, message, str(asked)) from error


def translates_errors(
    method: Callable[..., Coroutine[Any, Any, T]],
) -> Callable[..., Coroutine[Any, Any, T]]:
    """Make an async method, whose first argument is a path, raise OSErrors."""

    @functools.wraps(method)
    async def translated(self: Any, path: Any, *args: Any, **kwargs: Any) -> T:
        with translating(path):
            return await method(self, path, *args, **kwargs)

    return translated
