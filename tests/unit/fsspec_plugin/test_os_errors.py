"""Every error of Dolmen has its OSError."""

import asyncio
import errno

import pytest

from dolmen.protocol import errors
from fsspec_plugin.os_errors import TABLE, to_os_error, translating


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.NoSuchPath, FileNotFoundError),
        (errors.PathExists, FileExistsError),
        (errors.NotADirectory, NotADirectoryError),
        (errors.IsADirectory, IsADirectoryError),
        (errors.AccessDenied, PermissionError),
        (errors.LeaseConflict, PermissionError),
        (errors.SafeMode, BlockingIOError),
        (errors.InvalidRequest, ValueError),
        (errors.NamenodeUnreachable, ConnectionError),
        (errors.OutcomeUnknown, ConnectionError),
        (errors.PeerLost, ConnectionError),
    ],
)
def test_errors_have_the_class_that_users_of_files_expect(
    error: type[errors.DolmenError], expected: type[Exception]
) -> None:
    assert isinstance(to_os_error(error("what happened", "/d")), expected)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.DirectoryNotEmpty, errno.ENOTEMPTY),
        (errors.NameTooLong, errno.ENAMETOOLONG),
        (errors.DirectoryFull, errno.ENOSPC),
        (errors.FileTooLarge, errno.EFBIG),
        (errors.StaleHandle, errno.ESTALE),
        (errors.TooFewDatanodes, errno.EIO),
        (errors.NoSpace, errno.ENOSPC),
        (errors.BlockMissing, errno.EIO),
        (errors.ChecksumMismatch, errno.EIO),
    ],
)
def test_errors_keep_their_number(error: type[errors.DolmenError], number: int) -> None:
    assert to_os_error(error("what happened", "/d")).errno == number


@pytest.mark.parametrize("kind", errors.KINDS.values())
def test_every_error_becomes_an_oserror_with_message_and_path(
    kind: type[errors.DolmenError],
) -> None:
    translated = to_os_error(kind("what happened", "/d/x"), "h:9870/d/x")
    assert isinstance(translated, OSError)
    assert translated.errno is not None
    assert (translated.strerror, translated.filename) == ("what happened", "h:9870/d/x")
    assert to_os_error(kind("what happened", "/other"), "/d/x").filename == "/other"


def test_the_path_is_named_once() -> None:
    told = str(to_os_error(errors.PathExists("/d/x: exists", "/d/x"), "h:9870/d/x"))
    assert told == f"[Errno {errno.EEXIST}] exists: 'h:9870/d/x'"


def test_the_table_names_each_class_once_and_none_that_is_not_there() -> None:
    assert set(TABLE) <= set(errors.KINDS.values())


def test_the_error_of_dolmen_stays_as_the_cause() -> None:
    error = errors.NoSuchPath("gone", "/d")
    with pytest.raises(FileNotFoundError) as caught, translating("/d"):
        raise error
    assert caught.value.__cause__ is error


def test_a_cancellation_that_nobody_asked_for_is_an_error_and_not_silence() -> None:
    async def torn_down() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        with translating("/d"):
            await future

    async def asked_for() -> bool:
        task = asyncio.create_task(wait_for_ever())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    async def wait_for_ever() -> None:
        with translating("/d"):
            await asyncio.get_running_loop().create_future()

    with pytest.raises(OSError, match="cut off"):
        asyncio.run(torn_down())
    assert asyncio.run(asked_for())
