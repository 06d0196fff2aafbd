"""The connection to a datanode on our own host: it passes open replicas, and takes them back.

What is passed is noted as soon as it arrives, so that a revocation that comes right behind it is
not missed. The end of the connection revokes everything.
"""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dolmen.client.local_replica import LocalReplica
from dolmen.protocol.client_messages import LocatedBlock
from dolmen.protocol.errors import DolmenError, InvalidRequest, PeerLost, to_error
from dolmen.protocol.passing_messages import (
    OpenReplica,
    ReplicaPassed,
    ReplicaRefused,
    ReplicaRevoked,
    decode_from_datanode,
    encode_message,
    name_of,
)
from dolmen.protocol.tokens import prove_token
from dolmen.runtime.file_passing import Channel, FilePassing, PassedFile

ANSWER_S = 0.5
"""Opening two files takes a millisecond; a datanode that stands still is left to the network, where
others can be asked."""


@dataclass(frozen=True)
class Opened:
    """A replica that was passed, and the file that has its checksums."""

    replica: LocalReplica
    length_bytes: int
    checksums: PassedFile
    checksums_offset: int


class LocalDatanode:
    """One datanode on our own host. `revoked` hears of replicas to give up, `ended` of its end."""

    def __init__(
        self,
        datanode_id: str,
        revoked: Callable[[LocalReplica], None],
        ended: Callable[["LocalDatanode"], None],
    ) -> None:
        self.datanode_id = datanode_id
        self._revoked = revoked
        self._ended = ended
        self._channel: Channel | None = None
        self._last_number = 0
        self._asked: dict[int, _Asked] = {}
        self._passed: weakref.WeakValueDictionary[tuple[int, int], LocalReplica] = (
            weakref.WeakValueDictionary()
        )

    async def connect(self, passing: FilePassing) -> None:
        """Find the datanode; PeerLost if it is not on this host."""
        async with asyncio.timeout(ANSWER_S):
            self._channel = await passing.connect(name_of(self.datanode_id), self)

    async def open(self, block: LocatedBlock) -> Opened:
        """Have a replica passed. PeerLost: the datanode is silent, or gone; else what it said."""
        if self._channel is None:
            raise PeerLost("the connection is gone")
        self._last_number += 1
        key = (block.block_id, block.stamp)
        answer: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self._asked[self._last_number] = _Asked(key, _now_s(), answer)
        request = OpenReplica(self._last_number, prove_token(block.token), *key)
        self._channel.send(encode_message(request))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            self.close()
            self.lost()
            raise PeerLost(f"silent for {ANSWER_S:g} s") from None
        finally:
            self._asked.pop(request.number, None)

    def close(self) -> None:
        """End the connection, and give up what came over it."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._give_up_all()

    def received(self, payload: bytes, files: Sequence[PassedFile]) -> None:
        """See Receiver."""
        try:
            message = decode_from_datanode(payload)
            if isinstance(message, ReplicaPassed):
                self._take(message, files)
            elif isinstance(message, ReplicaRevoked):
                self._give_up((message.block_id, message.stamp))
            else:
                self._refuse(message)
        except InvalidRequest:
            self.close()
            self.lost()

    def lost(self) -> None:
        """See Receiver."""
        self._channel = None
        self._give_up_all()
        for asked in self._asked.values():
            asked.fail(PeerLost("the connection is gone"))
        self._ended(self)

    def _take(self, message: ReplicaPassed, files: Sequence[PassedFile]) -> None:
        if len(files) != 2:
            raise InvalidRequest("a replica is passed as two files")
        asked = self._asked.get(message.number)
        if asked is None or asked.answer.done():
            return  # nobody waits for it any more
        data, checksums = files
        expires_s = asked.at_s + message.life_ms / 1000
        replica = LocalReplica(asked.key, self.datanode_id, data, expires_s)
        self._passed[asked.key] = replica
        asked.answer.set_result(
            Opened(replica, message.length_bytes, checksums, message.checksums_offset)
        )

    def _refuse(self, message: ReplicaRefused) -> None:
        if asked := self._asked.get(message.number):
            asked.fail(to_error(message.refusal))

    def _give_up(self, key: tuple[int, int]) -> None:
        replica = self._passed.pop(key, None)
        if replica is not None:
            replica.give_up()
            self._revoked(replica)

    def _give_up_all(self) -> None:
        for key in list(self._passed):
            self._give_up(key)


@dataclass(frozen=True)
class _Asked:
    """A replica that was asked for, and when."""

    key: tuple[int, int]
    at_s: float
    answer: "asyncio.Future[Opened]"

    def fail(self, error: DolmenError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
