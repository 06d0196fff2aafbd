"""Who a datanode is: its lock, its secret, and the VERSION file of each volume.

The identity is on the disks, so that a datanode is the same one at another address. An empty
directory gets its identity when the namenode was first reached, because the namenode knows the
cluster's id; until then nothing but the lock and the secret is written. The highest epoch seen is
kept beside it (rule 23): a namenode of a lower one was deposed. Whatever is not empty and not ours
is refused, and left as it is.
"""

import logging
from random import Random

import msgspec

from dolmen.protocol.errors import StartRefused
from dolmen.protocol.tokens import SECRET_LIMIT_BYTES, ClusterKeys
from dolmen.runtime.disk import DirectoryLock, Disk

MAGIC = "dolmen-volume"
FORMAT_VERSION = 1
_ID_BITS = 128
_SECRET_NAME = "cluster.secret"
_OWN_NAMES = frozenset({"lock", _SECRET_NAME, "volumes", "lost+found"})
"""What a directory may hold without identity: an earlier start reached no namenode."""

LOG = logging.getLogger("datanode")


class VolumeIdentity(msgspec.Struct, frozen=True):
    """The VERSION file of a volume, as JSON: people read it when something is wrong."""

    magic: str
    format_version: int
    cluster_id: str
    datanode_id: str
    storage_id: str
    highest_epoch: int


def volume_root(directory: str) -> str:
    """Return where the volume of a directory is."""
    return f"{directory}/volumes/0"


def draw_id(random: Random) -> str:
    """Return a new identity: 32 hexadecimal digits."""
    return f"{random.getrandbits(_ID_BITS):032x}"


class Home:
    """One directory of a datanode: locked, with its secret and the identity of its volume."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self.disk = disk
        self.directory = directory
        self.root = volume_root(directory)
        self.identity: VolumeIdentity | None = None
        self._lock: DirectoryLock | None = None

    async def open(self) -> None:
        """Lock the directory and read who it belongs to; StartRefused if it cannot be ours."""
        try:
            await self.disk.make_directories(self.directory)
            self._lock = self.disk.lock_directory(self.directory)
            self.identity = await self._read_identity()
            if self.identity is None:
                await self._check_empty()
        except OSError as error:
            self.release()
            raise StartRefused(f"directory {self.directory} cannot be used: {error}") from error
        except StartRefused:
            self.release()
            raise

    async def save(self, identity: VolumeIdentity) -> None:
        """Make `identity` the volume's, lasting."""
        await self.disk.make_directories(self.root)
        encoded = msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n"
        await self.disk.write_file(f"{self.root}/VERSION", encoded)
        self.identity = identity

    def release(self) -> None:
        """Give the directory up."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def read_secret(self) -> bytes | None:
        """Return the cluster's secret as kept here, if it is."""
        path = f"{self.directory}/{_SECRET_NAME}"
        return await _read_secret(self.disk, path) if await self.disk.exists(path) else None

    async def save_secret(self, secret: bytes) -> None:
        """Keep the cluster's secret here, readable by this user alone."""
        path = f"{self.directory}/{_SECRET_NAME}"
        try:
            await self.disk.write_file(path, secret + b"\n", mode=0o600)
        except OSError as error:
            raise StartRefused(f"cannot keep the secret in {path}: {error}") from error

    async def _read_identity(self) -> VolumeIdentity | None:
        path = f"{self.root}/VERSION"
        if not await self.disk.exists(path):
            return None
        try:
            identity = msgspec.json.decode(await self.disk.read_file(path), type=VolumeIdentity)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StartRefused(f"{path} is not a volume's VERSION file: {error}") from None
        if identity.magic != MAGIC:
            raise StartRefused(f"{path} does not belong to a Dolmen volume")
        if identity.format_version > FORMAT_VERSION:
            raise StartRefused(
                f"{self.root} has format {identity.format_version}, newer than this software's"
                f" {FORMAT_VERSION}: start it with the software that wrote it, or a newer one"
            )
        return identity

    async def _check_empty(self) -> None:
        strangers = [
            name
            for name in await self.disk.list_directory(self.directory)
            if name not in _OWN_NAMES and not name.startswith(_SECRET_NAME)
        ]
        if await self.disk.is_directory(self.root):
            names = await self.disk.list_directory(self.root)
            strangers += [name for name in names if not name.startswith("VERSION")]
        if strangers:
            raise StartRefused(
                f"directory {self.directory} is not empty and not a datanode's: it holds"
                f" {strangers[0]!r}; give an empty or missing one"
            )


def check_homes(homes: list[Home]) -> VolumeIdentity | None:
    """Return an identity that all homes share, None if all are new; StartRefused if they differ."""
    known = [(home, home.identity) for home in homes if home.identity is not None]
    if not known:
        return None
    first_home, first = known[0]
    for home, identity in known[1:]:
        if identity.cluster_id != first.cluster_id:
            raise StartRefused(
                f"{home.directory} belongs to cluster {identity.cluster_id}, and"
                f" {first_home.directory} to {first.cluster_id}: give one cluster's directories"
            )
        if identity.datanode_id != first.datanode_id:
            raise StartRefused(
                f"{home.directory} belongs to datanode {identity.datanode_id}, and"
                f" {first_home.directory} to {first.datanode_id}: give one datanode's directories"
            )
    return first


async def find_secret(homes: list[Home], secret_file: str | None) -> bytes:
    """Return the cluster's secret, from `secret_file` or as kept; keep it where none is kept."""
    kept = [secret for home in homes if (secret := await home.read_secret()) is not None]
    if secret_file is not None:
        secret = await _read_secret(homes[0].disk, secret_file)
    elif kept:
        secret = kept[0]
    else:
        raise StartRefused(
            "this datanode has no cluster secret: give --secret-file; the namenode keeps it in"
            " cluster.secret in its directory"
        )
    for home in homes:
        if await home.read_secret() is None:
            await home.save_secret(secret)
    return secret


async def keep_secret(homes: list[Home], secret: bytes) -> None:
    """Keep a secret that the namenode has accepted, in place of an older one."""
    for home in homes:
        if await home.read_secret() != secret:
            await home.save_secret(secret)


async def _read_secret(disk: Disk, path: str) -> bytes:
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


class Membership:
    """Which cluster this datanode belongs to, as which datanode, and under which epoch."""

    def __init__(self, homes: list[Home], secret: bytes, random: Random) -> None:
        known = check_homes(homes)
        self.homes = homes
        self.keys = ClusterKeys(secret)
        self.datanode_id = known.datanode_id if known else draw_id(random)
        self.cluster_id = known.cluster_id if known else ""
        """Empty until the namenode was first reached."""
        self.highest_epoch = max((one.highest_epoch for one in _identities(homes)), default=0)
        self._secret = secret
        self._random = random

    async def initialise(self, cluster_id: str) -> None:
        """Give every home that is new its identity."""
        for home in self.homes:
            if home.identity is None:
                storage_id = draw_id(self._random)
                identity = VolumeIdentity(
                    MAGIC,
                    FORMAT_VERSION,
                    cluster_id,
                    self.datanode_id,
                    storage_id,
                    self.highest_epoch,
                )
                await home.save(identity)
                LOG.info("initialised volume %s of cluster %s", home.root, cluster_id)
        self.cluster_id = cluster_id

    async def adopt(self, epoch: int) -> None:
        """The namenode has registered us under `epoch`: keep it, and the secret it believed."""
        await keep_secret(self.homes, self._secret)
        if epoch == self.highest_epoch:
            return
        for home in self.homes:
            if home.identity is not None:
                await home.save(msgspec.structs.replace(home.identity, highest_epoch=epoch))
        self.highest_epoch = epoch


def _identities(homes: list[Home]) -> list[VolumeIdentity]:
    return [home.identity for home in homes if home.identity is not None]
