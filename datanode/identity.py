"""Who a datanode is: of which cluster, as which datanode, under which epoch.

The identity is on its disks, so that a datanode is the same one at another address, and outlives
all disks but one. The highest epoch seen is kept beside it (rule 23): a namenode of a lower one was
deposed. A directory that cannot be used costs what is on it; one that belongs to somebody else, or
is in use by another process, is a mistake of whoever started the datanode, which is then refused.
"""

import asyncio
import itertools
import logging
from random import Random

import msgspec

from datanode.home import Home, read_secret
from datanode.version_file import (
    FORMAT_VERSION,
    MAGIC,
    DirectoryUnusable,
    OtherDatanode,
    VolumeIdentity,
)
from dolmen.protocol.errors import StartRefused
from dolmen.protocol.tokens import ClusterKeys

_ID_BITS = 128

KEEP_S = 5.0
"""For one directory to keep the epoch: a disk that hangs must not keep the datanode away from its
namenode."""

LOG = logging.getLogger("datanode")


def draw_id(random: Random) -> str:
    """Return a new identity: 32 hexadecimal digits."""
    return f"{random.getrandbits(_ID_BITS):032x}"


async def open_homes(homes: list[Home]) -> None:
    """Open the directories; those that cannot be used are failed. StartRefused if none can."""
    for home in homes:
        try:
            await home.open()
        except DirectoryUnusable as error:
            _fail(home, error)
    check_some_left(homes)
    check_same_datanode([home for home in homes if not home.problem])


def check_some_left(homes: list[Home]) -> None:
    """StartRefused if no directory can be used."""
    if all(home.problem for home in homes):
        raise StartRefused("; ".join(home.problem for home in homes))


def check_same_datanode(homes: list[Home]) -> None:
    """StartRefused if the directories belong to different datanodes, or are the same one."""
    known = [(home, home.identity) for home in homes if home.identity is not None]
    for (first_home, first), (home, identity) in itertools.pairwise(known):
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
    homes_of: dict[str, Home] = {}
    for home, identity in known:
        other = homes_of.setdefault(identity.storage_id, home)
        if other is not home:
            raise StartRefused(
                f"{home.directory} and {other.directory} hold the same volume: one is a copy, and"
                " only one may be given"
            )


async def find_secret(homes: list[Home], secret_file: str | None) -> bytes:
    """Return the cluster's secret, from `secret_file` or as kept in a directory."""
    used = [home for home in homes if not home.problem]
    if secret_file is not None:
        return await read_secret(used[0].disk, secret_file)
    refusal: StartRefused | None = None
    for home in used:
        try:
            secret = await home.read_secret()
        except StartRefused as error:
            refusal = error
            continue
        if secret is not None:
            return secret
    raise refusal or StartRefused(
        "this datanode has no cluster secret: give --secret-file; the namenode keeps it in"
        " cluster.secret in its directory"
    )


class Membership:
    """Which cluster this datanode belongs to, as which datanode, and under which epoch."""

    def __init__(self, homes: list[Home], secret: bytes, random: Random) -> None:
        identities = [home.identity for home in homes if not home.problem and home.identity]
        known = identities[0] if identities else None
        self.homes = homes
        self.keys = ClusterKeys(secret)
        self.datanode_id = known.datanode_id if known else draw_id(random)
        self.cluster_id = known.cluster_id if known else ""
        """Empty until the namenode was first reached."""
        self.highest_epoch = max((one.highest_epoch for one in identities), default=0)
        self._secret = secret
        self._random = random

    @property
    def used(self) -> list[Home]:
        """The directories that are used now."""
        return [home for home in self.homes if not home.problem]

    async def keep_secret(self) -> None:
        """Keep the secret in every directory that has none: another one stays until a namenode has
        believed ours."""
        for home in self.used:
            try:
                if not await home.has_secret():
                    await home.keep_secret(self._secret)
            except OSError as error:
                if home.identity is None:
                    _fail(home, f"cannot keep the secret in {home.directory}: {error}")
                else:
                    LOG.error("cannot keep the secret in %s: %s", home.directory, error)
        check_some_left(self.homes)

    async def initialise(self, cluster_id: str) -> None:
        """Give every directory that is new its identity; StartRefused if none can be used."""
        for home in self.used:
            if home.identity is None:
                try:
                    await self.initialise_home(home, cluster_id)
                except OSError as error:
                    _fail(home, f"directory {home.directory} cannot be written: {error}")
        check_some_left(self.homes)
        self.cluster_id = cluster_id

    async def initialise_home(self, home: Home, cluster_id: str) -> None:
        """Give a new directory its identity, as a volume of this datanode."""
        storage_id = draw_id(self._random)
        await home.save(
            VolumeIdentity(
                MAGIC,
                FORMAT_VERSION,
                cluster_id,
                self.datanode_id,
                storage_id,
                self.highest_epoch,
            )
        )
        LOG.info("initialised volume %s of cluster %s", home.root, cluster_id)

    async def take_back(self, home: Home) -> None:
        """Open a directory that had failed, as a volume of this datanode.

        DirectoryUnusable, StartRefused or OSError if it cannot be one; OtherDatanode tells whose
        it is.
        """
        await home.open()
        try:
            if home.identity is not None:
                self._check_own(home, home.identity)
            else:
                await home.keep_secret(self._secret)
                await self.initialise_home(home, self.cluster_id)
        except BaseException:
            home.release()
            raise

    def _check_own(self, home: Home, identity: VolumeIdentity) -> None:
        if (identity.cluster_id, identity.datanode_id) != (self.cluster_id, self.datanode_id):
            raise OtherDatanode(
                f"{home.directory} belongs to datanode {identity.datanode_id} of cluster"
                f" {identity.cluster_id}"
            )
        check_same_datanode([home, *(one for one in self.used if one is not home)])

    async def adopt(self, epoch: int) -> None:
        """The namenode has registered us under `epoch`: keep it, and the secret it believed."""
        for home in self.used:
            try:
                async with asyncio.timeout(KEEP_S):
                    await self._keep(home, epoch)
            except OSError as error:  # its volume is looked after by whoever watches it
                LOG.error("cannot keep epoch %d in %s: %s", epoch, home.root, error)
        self.highest_epoch = max(epoch, self.highest_epoch)

    async def _keep(self, home: Home, epoch: int) -> None:
        identity = home.identity
        if identity is None or not await home.is_ours():
            return
        await home.keep_secret(self._secret)
        if identity.highest_epoch != epoch:
            await home.save(msgspec.structs.replace(identity, highest_epoch=epoch))


def _fail(home: Home, reason: object) -> None:
    LOG.error("%s; the datanode goes on without it", reason)
    home.fail(str(reason))
