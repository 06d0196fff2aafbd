"""Whatever comes over the wire: what newer software adds is ignored, and what is cut, flipped or
forged is an error of ours or a message of the right kind, never a crash and never a long wait."""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from dolmen.protocol import block_messages, control_messages
from dolmen.protocol.block_messages import decode_block_reply, decode_request, encode_head
from dolmen.protocol.control_messages import (
    ClientCall,
    DatanodeCall,
    Greet,
    decode_call,
    decode_reply,
    encode_call,
    encode_reply,
)
from dolmen.protocol.errors import AccessDenied, DolmenError, InvalidRequest, Refusal
from dolmen.protocol.tokens import MAC_BYTES, Access, BlockToken, ClusterKeys, Target
from namenode.core.edits import AnyEdit, decode_group, encode_group

T = TypeVar("T")

#: Integers that msgpack can carry.
st.register_type_strategy(int, st.integers(-(1 << 63), (1 << 64) - 1))
#: Not a number is not equal to itself.
st.register_type_strategy(float, st.floats(allow_nan=False))
FEW = settings(max_examples=40)


def any_of(union: Any, *without: type) -> st.SearchStrategy[Any]:
    return st.one_of(*(st.from_type(kind) for kind in get_args(union) if kind not in without))


CALLS = st.one_of(st.from_type(Greet), st.from_type(DatanodeCall), st.from_type(ClientCall))
REPLIES = any_of(control_messages.Reply, Refusal)
HEADS = any_of(block_messages.BlockRequest)
BLOCK_REPLIES = any_of(block_messages.BlockReply, Refusal)
GROUPS = st.lists(any_of(AnyEdit), min_size=1, max_size=3).map(tuple)
WIRE: list[tuple[st.SearchStrategy[Any], Callable[[Any], bytes], Callable[[bytes], Any]]] = [
    (CALLS, encode_call, decode_call),
    (REPLIES, encode_reply, decode_reply),
    (HEADS, encode_head, decode_request),
    (BLOCK_REPLIES, encode_head, decode_block_reply),
]
NAMES = ["call", "reply", "block request", "block reply"]
WIRES = pytest.mark.parametrize(("messages", "encode", "decode"), WIRE, ids=NAMES)
KEYS = ClusterKeys(b"a secret")
TOKENS = st.builds(
    BlockToken,
    block_id=st.integers(0, (1 << 64) - 1),
    stamp=st.integers(0, (1 << 63) - 1),
    access=st.sampled_from(Access),
    user=st.text(max_size=20),
    expires_ms=st.integers(0, 1 << 50),
    length_limit_bytes=st.integers(0, 1 << 40),
    targets=st.lists(st.builds(Target, st.text(), st.text()), max_size=4).map(tuple),
    key_id=st.integers(0, (1 << 64) - 1),
)


@WIRES
@FEW
@given(data=st.data())
def test_a_message_with_fields_that_newer_software_adds_is_what_it_was(
    messages: st.SearchStrategy[Any],
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    data: st.DataObject,
) -> None:
    message = data.draw(messages)
    fields = msgspec.msgpack.decode(encode(message))
    added = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 9), st.text(), st.binary())))
    assert decode(msgspec.msgpack.encode([*fields, *added])) == message


@WIRES
@FEW
@given(data=st.data())
def test_a_cut_message_is_an_error(
    messages: st.SearchStrategy[Any],
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    data: st.DataObject,
) -> None:
    payload = encode(data.draw(messages))
    cut = data.draw(st.integers(0, len(payload) - 1))
    for broken in (payload[:cut], payload + b"\0"):
        with pytest.raises(InvalidRequest):
            decode(broken)


@WIRES
@settings(max_examples=100)
@given(data=st.data())
def test_a_message_with_other_bytes_is_an_error_or_another_message(
    messages: st.SearchStrategy[Any],
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    data: st.DataObject,
) -> None:
    payload = bytearray(encode(data.draw(messages)))
    for place in data.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=4)):
        payload[place] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(payload))
    except DolmenError:
        return
    assert encode(decode(encode(found))) == encode(found)


#: Nests deeper than any stack, and claims more than any memory holds.
BOMBS = (
    b"\x91" * 100_000,
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
)


@WIRES
@FEW
@given(data=st.data())
def test_what_nests_without_end_or_claims_to_be_endless_is_an_error(
    messages: st.SearchStrategy[Any],
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    data: st.DataObject,
) -> None:
    fields = msgspec.msgpack.decode(encode(data.draw(messages)))
    at = data.draw(st.integers(0, len(fields)))
    parts = [msgspec.msgpack.encode(field) for field in fields]
    parts[at : at + 1] = [data.draw(st.sampled_from(BOMBS))]
    head = b"\xdc" + len(parts).to_bytes(2, "big")
    with pytest.raises(InvalidRequest):
        decode(head + b"".join(parts))


@WIRES
@FEW
@given(data=st.binary(max_size=200))
def test_bytes_of_a_stranger_are_an_error_or_a_message(
    messages: st.SearchStrategy[Any],
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    data: bytes,
) -> None:
    try:
        found = decode(data)
    except InvalidRequest:
        return
    assert decode(encode(found)) == found


@given(st.binary(max_size=200), st.sampled_from((b"", *BOMBS)))
def test_bytes_of_a_stranger_are_no_token(data: bytes, more: bytes) -> None:
    with pytest.raises(AccessDenied):
        KEYS.open_token(data + more, now_ms=0)


@given(TOKENS)
def test_a_token_comes_back_as_it_was_signed(token: BlockToken) -> None:
    signed = KEYS.sign(token)
    assert KEYS.open_token(signed, token.expires_ms) == token
    with pytest.raises(AccessDenied, match="expired"):
        KEYS.open_token(signed, token.expires_ms + 1)


@given(TOKENS, st.data())
def test_a_token_that_is_cut_lengthened_or_changed_is_refused(
    token: BlockToken, data: st.DataObject
) -> None:
    signed = KEYS.sign(token)
    place = data.draw(st.integers(0, len(signed) - 1))
    flipped = signed[place] ^ (1 << data.draw(st.integers(0, 7)))
    changed = signed[:place] + bytes((flipped,)) + signed[place + 1 :]
    longer = signed + data.draw(st.binary(min_size=1, max_size=20))
    for forged in (signed[:place], changed, longer):
        with pytest.raises(AccessDenied):
            KEYS.open_token(forged, now_ms=0)


@given(TOKENS, TOKENS)
def test_the_seal_of_one_token_opens_no_other(one: BlockToken, other: BlockToken) -> None:
    mixed = KEYS.sign(one)[:MAC_BYTES] + KEYS.sign(other)[MAC_BYTES:]
    if one == other:
        return
    with pytest.raises(AccessDenied):
        KEYS.open_token(mixed, now_ms=0)


@given(GROUPS, st.data())
def test_a_group_of_edits_comes_back_and_a_cut_or_unknown_one_does_not(
    group: tuple[AnyEdit, ...], data: st.DataObject
) -> None:
    payload = encode_group(group)
    assert decode_group(payload) == group
    with pytest.raises(msgspec.DecodeError):
        decode_group(payload[: data.draw(st.integers(0, len(payload) - 1))])
    with pytest.raises(msgspec.DecodeError):
        decode_group(msgspec.msgpack.encode([[data.draw(st.integers(1000, 9999)), 1]]))
