"""One directory of a datanode: its lock, the cluster's secret, and whose its volume is.

An empty directory gets its identity when the namenode was first reached, because the namenode knows
the cluster's id; until then nothing but the lock and the secret is written. Whatever is not empty
and not ours is not used, and left as it is.

A disk may vanish while the datanode runs, and another one take its place. The directory on which it
was mounted is empty then, and looks like a new disk; so it is remembered which file system lies
underneath, and nothing is made there.
"""

import contextlib
import logging

from datanode.version_file import (
    DirectoryUnusable,
    VolumeIdentity,
    read_identity,
    write_identity,
)
from dolmen.protocol.errors import StartRefused
from dolmen.protocol.tokens import SECRET_LIMIT_BYTES
from dolmen.runtime.disk import DirectoryLock, Disk

_SECRET_NAME = "cluster.secret"
PROBE_NAME = "probe"
_OWN_NAMES = frozenset({"lock", _SECRET_NAME, "volumes", "lost+found"})
"""What a directory may hold without identity: an earlier start reached no namenode."""

LOG = logging.getLogger("datanode")


class Home:
    """One directory. `problem` says why it is not used, and is empty while it is."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self.disk = disk
        self.directory = directory
        self.root = f"{directory}/volumes/0"
        self.identity: VolumeIdentity | None = None
        self.problem = ""
        self._lock: DirectoryLock | None = None
        self._underneath: int | None = None

    async def open(self) -> None:
        """Lock the directory and read whose it is, also again after it had failed.

        DirectoryUnusable if it cannot be ours now, StartRefused if it is somebody else's.
        """
        self.release()
        try:
            await self._check_plugged_in()
            await self.disk.make_directories(self.directory)
            self._lock = self.disk.lock_directory(self.directory)
            self.identity = await read_identity(self.disk, self.root)
            if self.identity is None:
                await self._check_empty()
            self._underneath = await _device_below(self.disk, self.directory)
        except OSError as error:
            self.release()
            raise DirectoryUnusable(
                f"directory {self.directory} cannot be used: {error}"
            ) from error
        except (DirectoryUnusable, StartRefused):
            self.release()
            raise
        self.problem = ""

    def fail(self, problem: str) -> None:
        """The directory is not used from now on; it is open to whoever repairs it."""
        self.problem = problem
        self.release()

    def release(self) -> None:
        """Give the directory up."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def save(self, identity: VolumeIdentity) -> None:
        """Make `identity` the volume's, lasting: for the first time, or in place of its own."""
        if self.identity is None:
            await self.disk.make_directories(self.root, below=self.directory)
        elif not await self.is_ours():
            raise FileNotFoundError(f"volume {self.root} is not there")
        await write_identity(self.disk, self.root, identity)
        self.identity = identity

    async def is_ours(self) -> bool:
        """Return whether the volume that was opened is still there."""
        try:
            found = await read_identity(self.disk, self.root)
        except DirectoryUnusable:
            return False
        assert self.identity is not None, "it was opened"
        return found is not None and found.storage_id == self.identity.storage_id

    # ------------------------------------------------------------ the secret

    async def read_secret(self) -> bytes | None:
        """Return the cluster's secret as kept here, if it is."""
        if not await self.has_secret():
            return None
        return await read_secret(self.disk, f"{self.directory}/{_SECRET_NAME}")

    async def has_secret(self) -> bool:
        """Return whether a secret is kept here."""
        return await self.disk.exists(f"{self.directory}/{_SECRET_NAME}")

    async def keep_secret(self, secret: bytes) -> None:
        """Keep the cluster's secret here, readable by this user alone; OSError."""
        with contextlib.suppress(StartRefused):  # a damaged one is replaced
            if await self.read_secret() == secret:
                return
        path = f"{self.directory}/{_SECRET_NAME}"
        await self.disk.write_file(path, secret + b"\n", mode=0o600)

    # ------------------------------------------------------------ checks

    async def _check_empty(self) -> None:
        strangers = [
            name
            for name in await self.disk.list_directory(self.directory)
            if name not in _OWN_NAMES and not name.startswith(_SECRET_NAME)
        ]
        if await self.disk.is_directory(self.root):
            names = await self.disk.list_directory(self.root)
            strangers += [name for name in names if not name.startswith(("VERSION", PROBE_NAME))]
        if strangers:
            raise DirectoryUnusable(
                f"directory {self.directory} is not empty and not a datanode's: it holds"
                f" {strangers[0]!r}; give an empty or missing one"
            )

    async def _check_plugged_in(self) -> None:
        if self._underneath is not None:
            device = await _nearest_device(self.disk, self.directory)
            if device == self._underneath:
                raise DirectoryUnusable(f"no disk is mounted for {self.directory}")


async def read_secret(disk: Disk, path: str) -> bytes:
    """Return the secret in a file; StartRefused."""
    try:
        secret = (await disk.read_file(path)).strip()
    except OSError as error:
        raise StartRefused(f"cannot read the cluster secret {path}: {error.strerror}") from None
    if not secret or len(secret) > SECRET_LIMIT_BYTES:
        raise StartRefused(
            f"{path} holds no cluster secret: it has {len(secret)} bytes, 1 to"
            f" {SECRET_LIMIT_BYTES} are needed"
        )
    return secret


async def _device_below(disk: Disk, path: str) -> int | None:
    """Return which file system would show if the one that holds `path` vanished, if any."""
    device = await disk.device(path)
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        above = await disk.device(path)
        if above != device:
            return above
    return None


async def _nearest_device(disk: Disk, path: str) -> int:
    """Return which file system holds `path`, or would hold it if it were made."""
    while True:
        try:
            return await disk.device(path)
        except (FileNotFoundError, NotADirectoryError):
            path = path.rpartition("/")[0] or "/"
