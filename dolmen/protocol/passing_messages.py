"""What a client and a datanode of one host say to each other when replicas are read locally.

The client shows that it has a READ token for a block, without giving it away: whoever listens may
only pretend to be the datanode. The answer comes with two open files, the data and the checksums.
Later the datanode says which replica it has given up, by itself. A client that loses the connection
gives up all that it was passed over it.
"""

import msgspec

from dolmen.protocol.errors import MALFORMED, InvalidRequest, Refusal


def name_of(datanode_id: str) -> str:
    """Return the name under which a datanode listens on its host."""
    return f"datanode-{datanode_id}"


class OpenReplica(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """→ ReplicaPassed or ReplicaRefused, of the same number. `proof` is of a READ token."""

    number: int
    proof: bytes
    block_id: int
    stamp: int


class ReplicaPassed(msgspec.Struct, frozen=True, array_like=True, tag=101):
    """With two files: the replica's data, and the file that has its packed chunk checksums at
    `checksums_offset`. They may be read for `life_ms`, and then asked for again."""

    number: int
    length_bytes: int
    checksums_offset: int
    life_ms: int


class ReplicaRefused(msgspec.Struct, frozen=True, array_like=True, tag=102):
    """Nothing is passed."""

    number: int
    refusal: Refusal


class ReplicaRevoked(msgspec.Struct, frozen=True, array_like=True, tag=103):
    """What was passed of this replica is not to be read any more: it is deleted, damaged, or
    written again."""

    block_id: int
    stamp: int


FromDatanode = ReplicaPassed | ReplicaRefused | ReplicaRevoked

_ENCODER = msgspec.msgpack.Encoder()
_FROM_CLIENT = msgspec.msgpack.Decoder(OpenReplica)
_FROM_DATANODE: msgspec.msgpack.Decoder[FromDatanode] = msgspec.msgpack.Decoder(FromDatanode)


def encode_message(message: OpenReplica | FromDatanode) -> bytes:
    """Return a message as it is sent."""
    return _ENCODER.encode(message)


def decode_open(payload: bytes) -> OpenReplica:
    """Return what a client asks for; InvalidRequest if it is nothing that is known."""
    try:
        return _FROM_CLIENT.decode(payload)
    except MALFORMED as error:
        raise InvalidRequest(f"malformed request: {error}") from None


def decode_from_datanode(payload: bytes) -> FromDatanode:
    """Return what a datanode says; InvalidRequest if it is nothing that is known."""
    try:
        return _FROM_DATANODE.decode(payload)
    except MALFORMED as error:
        raise InvalidRequest(f"malformed message: {error}") from None
