"""The envelope of every control call, and the greeting that opens a connection.

A control connection carries calls: one `Call` in, one reply out, many in flight (the transport
numbers them). Every struct is an array on the wire, with fields only ever added at the end, so that
an older peer ignores what it does not know. `ClientCall` carries the identity that makes a mutation
happen exactly once: a repeated (client id, number) is answered with its first reply (rule 7).
"""

import msgspec

from dolmen.protocol.client_messages import ClientReply, ClientRequest
from dolmen.protocol.datanode_messages import DatanodeReply, DatanodeRequest
from dolmen.protocol.errors import (
    MALFORMED,
    DolmenError,
    InvalidRequest,
    Refusal,
    to_error,
    to_refusal,
)

PROTOCOL_VERSION = 2

MESSAGE_LIMIT_BYTES = 1024 * 1024
"""No control message is larger: listings, reports and located blocks go in pages (rule 26)."""

CLIENT_ID_BYTES = 16


class Greet(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first call on a connection. An empty cluster id means: whatever cluster you are."""

    protocol_version: int
    role: str  # "client" or "datanode"
    cluster_id: str
    nonce: bytes


class ClientCall(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A client's request. `number` is 0 for a read, else grows by one with each new mutation."""

    client_id: bytes
    number: int
    user: str
    request: ClientRequest


class DatanodeCall(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A datanode's request."""

    request: DatanodeRequest


class Greeting(msgspec.Struct, frozen=True, array_like=True, tag=90):
    """The namenode's answer to Greet. `proof` is its own proof of membership (empty for
    clients)."""

    protocol_version: int
    software_version: str
    cluster_id: str
    epoch: int
    nonce: bytes
    proof: bytes
    block_size_bytes: int
    replication: int
    min_replicas: int
    lease_soft_limit_ms: int
    block_token_life_ms: int
    inline_limit_bytes: int = 0


Call = Greet | ClientCall | DatanodeCall
Reply = Greeting | Refusal | ClientReply | DatanodeReply

_ENCODER = msgspec.msgpack.Encoder()
_CALL_DECODER: msgspec.msgpack.Decoder[Call] = msgspec.msgpack.Decoder(Call)
_REPLY_DECODER: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode_call(call: Call) -> bytes:
    """Return `call` as it goes over the wire; InvalidRequest if a text in it is no UTF-8."""
    try:
        return _ENCODER.encode(call)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{error.object!r} is not valid UTF-8") from None


def decode_call(payload: bytes) -> Call:
    """Return the call in `payload`; raise InvalidRequest if it is none."""
    try:
        return _CALL_DECODER.decode(payload)
    except MALFORMED as error:
        raise InvalidRequest(f"malformed call: {error}") from None


def encode_reply(reply: Reply) -> bytes:
    """Return `reply` as it goes over the wire."""
    return _ENCODER.encode(reply)


def encode_error(error: DolmenError) -> bytes:
    """Return the refusal that carries `error`."""
    return _ENCODER.encode(to_refusal(error))


def decode_reply(payload: bytes) -> Reply:
    """Return the reply in `payload`, or raise the error that it carries."""
    try:
        reply = _REPLY_DECODER.decode(payload)
    except MALFORMED as error:
        raise InvalidRequest(f"malformed reply: {error}") from None
    if isinstance(reply, Refusal):
        raise to_error(reply)
    return reply
