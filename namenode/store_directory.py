"""A namenode's directory: whose it is, its lock, its marks, the cluster's secret.

    VERSION         cluster id, namespace id: written last, so that a directory without it is not
    yet one cluster.secret  0600 lock            held by the process that uses the directory running
    boot id: there while a namenode runs, gone after a clean stop rebuild         why the tables are
    not to be trusted: also there while they are being opened initialising    the directory is being
    made; whatever is in it can go edits/  checkpoints/  namespace/ (tables)  replicas/ (soft
    tables, made anew by each start)

Initialising may be cut off anywhere: until VERSION stands nothing was promised to anybody, and the
next start begins again.
"""

from posixpath import join
from random import Random
from typing import TypeVar

import msgspec

from dolmen.protocol.errors import DataDamaged, StartRefused, UnsupportedVersion
from dolmen.protocol.tokens import SECRET_BYTES, SECRET_LIMIT_BYTES
from dolmen.runtime.disk import DirectoryLock, Disk
from dolmen.runtime.machine import Machine
from namenode.core.edit_batches import START, make_batch
from namenode.core.edits import ClusterFormatted, encode_group
from namenode.core.stamped_file import decode_stamped, encode_stamped
from namenode.file_edit_log import open_file_edit_log

MAGIC = "dolmen-namenode"
VERSION = "VERSION"
SECRET = "cluster.secret"
LOCK = "lock"
RUNNING = "running"
REBUILD = "rebuild"
INITIALISING = "initialising"
NAMESPACE = "namespace"
REPLICAS = "replicas"
EDITS = "edits"
CHECKPOINTS = "checkpoints"
NEW_SUFFIX = ".new"  # of a write that did not come to its rename
HARMLESS = frozenset({LOCK, "lost+found", INITIALISING + NEW_SUFFIX})

NAMESPACE_ID_LIMIT = 1 << 16

C = TypeVar("C", bound=msgspec.Struct)


class Identity(msgspec.Struct, frozen=True):
    """Whose directory it is."""

    cluster_id: str
    namespace_id: int
    created_ms: int


class RunningMark(msgspec.Struct, frozen=True):
    """A namenode runs, or was killed.

    `trusting`: it goes on with tables that another left when it was killed, unread. If it is killed
    as well, they may be why: damage that is met late would end every namenode that trusts them.
    """

    boot_id: str
    trusting: bool = False


class RebuildMark(msgspec.Struct, frozen=True):
    """The tables are to be built anew."""

    reason: str


class StoreDirectory:
    """Reads and writes what stands at the top of a namenode's directory."""

    def __init__(self, machine: Machine, disk: Disk, path: str) -> None:
        self._machine = machine
        self._disk = disk
        self.path = path

    def join(self, name: str) -> str:
        return join(self.path, name)

    async def claim(self) -> DirectoryLock:
        """Make the directory if need be, and lock it. StartRefused: foreign, or in use."""
        await self._disk.make_directories(self.path)
        await self._check_ours()  # before the lock, which would put a file into it
        return self._disk.lock_directory(self.path)

    async def open(self, secret: bytes | None) -> tuple[Identity, bytes]:
        """Return identity and secret; initialise the directory if it has none."""
        if not await self._exists(VERSION):
            await self._initialise(secret)
        await self._remove(INITIALISING)
        identity = await self._read_stamped(VERSION, Identity)
        return identity, await self._check_secret(secret)

    async def reason_to_rebuild(self) -> str | None:
        """Return why the tables are not to be trusted, if so (rule 4)."""
        try:
            if await self._exists(REBUILD):
                return (await self._read_stamped(REBUILD, RebuildMark)).reason
            if not await self._exists(RUNNING):
                return None
            mark = await self._read_stamped(RUNNING, RunningMark)
        except DataDamaged as error:  # that there is a mark is enough to know
            return error.message
        if mark.boot_id != self._machine.boot_id:
            return "the machine stopped while the namenode ran"
        if mark.trusting:
            return "the second namenode in a row that was not stopped used them"
        return None

    async def was_running(self) -> bool:
        """Return whether the last namenode did not stop cleanly."""
        return await self._exists(RUNNING)

    async def mark_running(self, identity: Identity, *, trusting: bool = False) -> None:
        """From now on tables may hold what is not on the disk."""
        await self._write_mark(RUNNING, identity, RunningMark(self._machine.boot_id, trusting))

    async def mark_stopped(self) -> None:
        """The tables are synced."""
        await self._remove(RUNNING)

    async def mark_rebuild(self, identity: Identity, reason: str) -> None:
        """The tables are not to be trusted."""
        await self._write_mark(REBUILD, identity, RebuildMark(reason))

    async def clear_rebuild(self) -> None:
        """The tables are sound again."""
        await self._remove(REBUILD)

    async def _check_ours(self) -> None:
        names = await self._disk.list_directory(self.path)
        if VERSION in names or INITIALISING in names:
            return
        strangers = [name for name in names if name not in HARMLESS]
        if {EDITS, SECRET} <= set(strangers):
            raise StartRefused(
                f"{self.join(VERSION)} is missing, and the rest of a namenode's directory is there:"
                " put it back from a backup"
            )
        if strangers:
            raise StartRefused(
                f"directory {self.path} is not empty and not a namenode's: it holds"
                f" {strangers[0]!r}; give an empty or missing one"
            )

    async def _initialise(self, secret: bytes | None) -> None:
        random = self._machine.random
        identity = Identity(
            cluster_id=random.randbytes(16).hex(),
            namespace_id=random.randrange(1, NAMESPACE_ID_LIMIT),
            created_ms=self._machine.wall_clock_ms(),
        )
        await self._write_mark(INITIALISING, identity, identity)
        await self._clear()
        secret = secret or draw_secret(random)
        await self._disk.write_file(self.join(SECRET), secret + b"\n", mode=0o600)
        await self._begin_log(identity)
        await self._write_mark(VERSION, identity, identity)

    async def _clear(self) -> None:
        """Remove what an initialisation that was cut off has left."""
        self._machine.tables.remove(self.join(NAMESPACE))
        await self._disk.remove_tree(self.join(EDITS))
        await self._disk.sync_directory(self.path)

    async def _begin_log(self, identity: Identity) -> None:
        """From here on an empty log means that edits were lost."""
        formatted = ClusterFormatted(
            identity.cluster_id, identity.namespace_id, identity.created_ms
        )
        log = await open_file_edit_log(self._disk, self.join(EDITS), identity.cluster_id)
        try:
            await log.append(make_batch(START, 0, [encode_group((formatted,))]))
        finally:
            await log.close()

    async def _check_secret(self, given: bytes | None) -> bytes:
        if not await self._exists(SECRET):
            raise StartRefused(
                f"{self.join(SECRET)} is missing: put it back from a copy (every datanode has one)"
            )
        kept = check_secret(await self._read(SECRET), self.join(SECRET))
        if given is not None and given != kept:
            raise StartRefused(
                f"wrong secret: {self.join(SECRET)} is another one than that of --secret-file"
            )
        return kept

    async def _write_mark(self, name: str, identity: Identity, contents: msgspec.Struct) -> None:
        data = encode_stamped(MAGIC, identity.cluster_id, contents)
        await self._disk.write_file(self.join(name), data)

    async def _read_stamped(self, name: str, contents_type: type[C]) -> C:
        try:
            return decode_stamped(await self._read(name), MAGIC, contents_type)[1]
        except DataDamaged as error:
            advice = "; put it back from a backup" if name == VERSION else ""
            raise DataDamaged(f"{self.join(name)}: {error.message}{advice}") from None
        except UnsupportedVersion as error:
            raise UnsupportedVersion(f"{self.join(name)}: {error.message}") from None

    async def _read(self, name: str) -> bytes:
        return await self._disk.read_file(self.join(name))

    async def _exists(self, name: str) -> bool:
        return await self._disk.exists(self.join(name))

    async def _remove(self, name: str) -> None:
        if await self._exists(name):
            await self._disk.remove(self.join(name))
            await self._disk.sync_directory(self.path)


def draw_secret(random: Random) -> bytes:
    """Return a new secret, as text that survives every editor."""
    return random.randbytes(SECRET_BYTES).hex().encode()


def check_secret(content: bytes, path: str) -> bytes:
    """Return the secret in a file's content, without the white space around it. StartRefused."""
    secret = content.strip()
    if not secret or len(secret) > SECRET_LIMIT_BYTES:
        raise StartRefused(
            f"{path} holds no cluster secret: it has {len(secret)} bytes, 1 to"
            f" {SECRET_LIMIT_BYTES} are needed"
        )
    return secret
