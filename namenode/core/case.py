"""One request as it is decided: who asks, when, in which state, and what else is known."""

import msgspec

from dolmen.protocol.errors import InvalidRequest, TooFewDatanodes
from dolmen.protocol.tokens import ClusterKeys
from namenode.core.knowledge import Knowledge
from namenode.core.leases import LeaseTable
from namenode.core.lookup import load_meta
from namenode.core.records import Meta
from namenode.core.tables import View

PIPELINE_LIMIT = 100
"""Targets of one pipeline: a longer chain is slower than repair, and its tokens fill an edit."""

OWNER_LIMIT_BYTES = 128
"""Longest owner or group: a thousand parents made in one group still fit a batch of the log."""

MODE_LIMIT = 0o7777

TIME_LIMIT_MS = 1 << 53
"""Times up to here are exact in every language's numbers."""


class NamesystemSettings(msgspec.Struct, frozen=True):
    """The settings that decisions about the namespace need."""

    block_size_bytes: int = 128 * 1024 * 1024
    inline_limit_bytes: int = 8 * 1024
    replication: int = 3
    min_replicas: int = 2
    delete_after_ms: int = 60_000
    lease_soft_limit_ms: int = 60_000
    lease_hard_limit_ms: int = 20 * 60_000
    block_token_life_ms: int = 10 * 60_000
    answered_life_ms: int = 10 * 60_000


class World(msgspec.Struct, frozen=True):
    """What all requests share."""

    settings: NamesystemSettings
    keys: ClusterKeys
    knowledge: Knowledge
    leases: LeaseTable

    def required_replicas(self, replication: int) -> int:
        """Return how many replicas make a block of this replication durable (rule 17)."""
        registered = self.knowledge.registered_count()
        wanted = min(self.settings.min_replicas, replication, registered, PIPELINE_LIMIT)
        return max(1, wanted)

    def check_targets(self, found: int, replication: int) -> None:
        """Raise TooFewDatanodes unless `found` targets are enough for a block."""
        required = self.required_replicas(replication)
        if found < required:
            raise TooFewDatanodes(
                f"{found} of {self.knowledge.registered_count()} registered datanodes can take the "
                f"block now; at least {required} must"
            )


class Case:
    """One request: nothing in here changes while it is decided."""

    def __init__(self, world: World, view: View, now_ms: int, caller: "Caller") -> None:
        self.world = world
        self.view = view
        self.now_ms = now_ms
        self.client_id = caller.client_id
        self.user = caller.user
        self._meta: Meta | None = None

    @property
    def meta(self) -> Meta:
        """The counters, from which new ids are drawn."""
        if self._meta is None:  # a cached_property takes a lock
            self._meta = load_meta(self.view)
        return self._meta

    @property
    def next_txid(self) -> int:
        """The transaction id that the outcome will get, if it has edits."""
        return self.meta.applied_txid + 1

    @property
    def due_ms(self) -> int:
        """When the blocks of a file deleted now may go, if nobody reads it."""
        return self.now_ms + self.world.settings.delete_after_ms


class Caller(msgspec.Struct, frozen=True):
    """Who asks."""

    client_id: bytes
    user: str


def check_mode(mode: int, path: str) -> None:
    """Raise unless `mode` is one."""
    if not 0 <= mode <= MODE_LIMIT:
        raise InvalidRequest(f"mode {mode:o} is not between 0 and {MODE_LIMIT:o}", path)


def check_owner(name: str, kind: str) -> None:
    """Raise unless `name` can be an owner or a group."""
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"{kind} {name!r} is not valid UTF-8") from None
    if size_bytes > OWNER_LIMIT_BYTES or "\0" in name:
        raise InvalidRequest(f"a {kind} has at most {OWNER_LIMIT_BYTES} bytes and no NUL")


def check_time(time_ms: int, path: str) -> None:
    """Raise unless `time_ms` can be a time of an inode."""
    if not -TIME_LIMIT_MS < time_ms < TIME_LIMIT_MS:
        raise InvalidRequest(f"time {time_ms} is out of range", path)
