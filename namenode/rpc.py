"""Control connections: greeted once, then calls of a client or of a datanode.

Mutations go through the one door and the journal; reads are answered from a snapshot of what is
durable. A refused call is answered with a Refusal and the connection goes on. The namenode has no
bulk exchanges.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from dolmen import __version__
from dolmen.protocol.block_messages import refusal_of
from dolmen.protocol.client_messages import (
    MUTATIONS,
    OPERATOR_READS,
    Done,
    ReportCorruptReplica,
)
from dolmen.protocol.control_messages import (
    MESSAGE_LIMIT_BYTES,
    PROTOCOL_VERSION,
    Call,
    ClientCall,
    DatanodeCall,
    Greet,
    Greeting,
    Reply,
    decode_call,
    encode_error,
    encode_reply,
)
from dolmen.protocol.errors import (
    DolmenError,
    InvalidRequest,
    UnsupportedVersion,
    WrongCluster,
)
from dolmen.protocol.tokens import NONCE_BYTES
from dolmen.runtime.metrics import Timings
from dolmen.runtime.settings import Settings
from dolmen.runtime.transport import Incoming, Outgoing
from namenode.checkpoint_calls import CheckpointCalls
from namenode.datanode_calls import DatanodeConnection, Membership
from namenode.operator_calls import OperatorCalls
from namenode.topology_file import TopologyFile
from namenode.waiting import Request

CLIENT = "client"
DATANODE = "datanode"
NOT_GREETED = "not greeted"

UNREADABLE = "unreadable"
"""What cannot be decoded, among the names of calls."""

WAIT_S = 10.0
"""How long a mutation may wait inside: below the time a client gives a call, which then repeats it
until its own deadline."""


@dataclass(frozen=True)
class Office:
    """What calls are answered with."""

    membership: Membership
    cluster_id: str
    settings: Settings
    wall_clock_ms: Callable[[], int]
    random: Random
    topology: TopologyFile
    checkpoints: CheckpointCalls


@dataclass(frozen=True)
class RpcFigures:
    """Calls since the start, and connections by role."""

    calls: Timings = field(default_factory=Timings)
    roles: Counter[str] = field(default_factory=lambda: Counter({NOT_GREETED: 0}))


class NamenodeService:
    """What listens on the namenode's port."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self.figures = RpcFigures()

    def open_session(self, peer_host: str) -> "NamenodeSession":
        """See Service."""
        return NamenodeSession(self._office, self.figures)

    async def exchange(self, incoming: Incoming) -> Outgoing:
        """See Service: a namenode holds no blocks."""
        error = InvalidRequest("this is a namenode: blocks are with the datanodes")
        return Outgoing(refusal_of(error))


class NamenodeSession:
    """One control connection."""

    def __init__(self, office: Office, figures: "RpcFigures") -> None:
        self._office = office
        self._membership = office.membership
        self._figures = figures
        self._figures.roles[NOT_GREETED] += 1
        self._role: str | None = None
        self._datanode: DatanodeConnection | None = None
        self._clock = asyncio.get_running_loop().time

    def answer(self, payload: bytes) -> bytes | Awaitable[bytes]:
        """See Session: a read of the namespace waits for nothing."""
        begun_s = self._clock()
        try:
            call = decode_call(payload)
        except DolmenError as error:
            return self._refused(UNREADABLE, begun_s, error)
        if self._role == CLIENT and isinstance(call, ClientCall):
            if type(call.request) in MUTATIONS:
                return self._change(call, begun_s)
            if type(call.request) not in OPERATOR_READS:
                return self._answer_now(call, begun_s)
        return self._answer_later(call, begun_s)

    def _answer_now(self, call: ClientCall, begun_s: float) -> bytes:
        name = type(call.request).__name__
        try:
            return self._told(name, begun_s, self._read(call))
        except DolmenError as error:
            return self._refused(name, begun_s, error)

    def _change(self, call: ClientCall, begun_s: float) -> bytes | Awaitable[bytes]:
        """Have a change made. The journal answers into the future: most are made in batches, and a
        task for each would cost as much as all else that is done for it here."""
        name = type(call.request).__name__

        def form(result: Reply | DolmenError) -> bytes:
            if isinstance(result, DolmenError):
                return self._refused(name, begun_s, result)
            try:
                return self._told(name, begun_s, result)
            except DolmenError as error:
                return self._refused(name, begun_s, error)

        handle, journal = self._membership.namesystem.handle, self._membership.journal
        request = Request(lambda view, now_ms: handle(call, view, now_ms), begun_s + WAIT_S, form)
        try:
            journal.take(request)
        except DolmenError as error:
            return self._refused(name, begun_s, error)
        return request.future

    async def _answer_later(self, call: Call, begun_s: float) -> bytes:
        name = type(call if isinstance(call, Greet) else call.request).__name__
        try:
            return self._told(name, begun_s, await self._answer(call))
        except DolmenError as error:
            return self._refused(name, begun_s, error)

    def _told(self, name: str, begun_s: float, reply: Reply) -> bytes:
        """Return a reply as it goes over the wire, and note how long it took."""
        payload = encode_reply(reply)
        if len(payload) > MESSAGE_LIMIT_BYTES:
            raise InvalidRequest(
                f"the reply has {len(payload)} bytes, more than {MESSAGE_LIMIT_BYTES}:"
                " ask for less at a time"
            )
        self._figures.calls.took(name, self._clock() - begun_s)
        return payload

    def _refused(self, name: str, begun_s: float, error: DolmenError) -> bytes:
        self._figures.calls.failed(name, error)
        self._figures.calls.took(name, self._clock() - begun_s)
        return encode_error(error)

    def closed(self) -> None:
        """See Session."""
        self._figures.roles[self._role or NOT_GREETED] -= 1
        if self._datanode is not None:
            self._datanode.closed()

    async def _answer(self, call: Call) -> Reply:
        if isinstance(call, Greet):
            return self._greet(call)
        if isinstance(call, ClientCall) and self._role == CLIENT:
            return await self._operate(call)
        if isinstance(call, DatanodeCall) and self._datanode is not None:
            return await self._datanode.answer(call.request)
        raise InvalidRequest(
            "greet first" if self._role is None else f"this is no call of a {self._role}"
        )

    def _greet(self, greet: Greet) -> Greeting:
        office, membership = self._office, self._membership
        _check_greeting(greet, office.cluster_id)
        if self._role is not None:
            raise InvalidRequest("a connection is greeted once")
        nonce, proof = office.random.randbytes(NONCE_BYTES), b""
        if greet.role == DATANODE:
            proof = membership.keys.prove_membership("namenode", nonce, greet.nonce)
            self._datanode = DatanodeConnection(membership, nonce, greet.nonce)
        self._figures.roles[NOT_GREETED] -= 1
        self._figures.roles[greet.role] += 1
        self._role = greet.role
        return Greeting(
            protocol_version=PROTOCOL_VERSION,
            software_version=__version__,
            cluster_id=office.cluster_id,
            epoch=membership.epoch,
            nonce=nonce,
            proof=proof,
            block_size_bytes=office.settings.block_size_bytes,
            replication=office.settings.replication,
            min_replicas=office.settings.min_replicas,
            lease_soft_limit_ms=office.settings.lease_soft_limit_ms,
            block_token_life_ms=office.settings.block_token_life_ms,
            inline_limit_bytes=office.settings.inline_limit_bytes,
        )

    async def _operate(self, call: ClientCall) -> Reply:
        office = self._office
        calls = OperatorCalls(office.membership, office.topology, office.checkpoints)
        return await calls.answer(call)

    def _read(self, call: ClientCall) -> Reply:
        membership = self._membership
        if isinstance(call.request, ReportCorruptReplica):
            hint = call.request
            membership.cluster.take_hint(hint.block_id, hint.stamp, hint.datanode_id)
            return Done()
        with membership.journal.snapshot() as view:
            return membership.namesystem.read(call, view, self._office.wall_clock_ms())


def _check_greeting(greet: Greet, cluster_id: str) -> None:
    if greet.protocol_version != PROTOCOL_VERSION:
        raise UnsupportedVersion(
            f"this namenode (dolmen {__version__}) speaks protocol {PROTOCOL_VERSION} and the"
            f" {greet.role} protocol {greet.protocol_version}: install the same dolmen on both"
        )
    if greet.role not in (CLIENT, DATANODE):
        raise InvalidRequest(f"{greet.role!r} is no role: a client or a datanode may greet")
    if greet.role == DATANODE and len(greet.nonce) != NONCE_BYTES:
        raise InvalidRequest(f"a datanode's nonce has {NONCE_BYTES} bytes")
    if greet.cluster_id not in ("", cluster_id):
        raise WrongCluster(
            f"this namenode serves cluster {cluster_id} and the {greet.role} belongs to cluster"
            f" {greet.cluster_id}: give it the address of its own namenode, or, if it is to join"
            " this cluster, an empty directory"
        )
