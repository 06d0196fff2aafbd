"""Messages come back as they went, and bytes that are none are an error, never a crash."""

from collections.abc import Callable
from typing import get_args

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from dolmen.protocol import block_messages, client_messages, control_messages, datanode_messages
from dolmen.protocol.block_messages import decode_block_reply, decode_request, encode_head
from dolmen.protocol.control_messages import (
    ClientCall,
    DatanodeCall,
    Greet,
    decode_call,
    decode_reply,
    encode_call,
    encode_error,
    encode_reply,
)
from dolmen.protocol.errors import (
    KINDS,
    DolmenError,
    InvalidRequest,
    NoSuchPath,
    Refusal,
    to_error,
    to_refusal,
)

#: Integers that msgpack can carry.
st.register_type_strategy(int, st.integers(-(1 << 63), (1 << 64) - 1))
calls = st.one_of(st.from_type(Greet), st.from_type(DatanodeCall), st.from_type(ClientCall))
heads = st.one_of(*(st.from_type(kind) for kind in get_args(block_messages.BlockRequest)))
replies = st.one_of(
    *(st.from_type(kind) for kind in get_args(control_messages.Reply) if kind is not Refusal)
)
DECODERS: list[Callable[[bytes], object]] = [
    decode_call,
    decode_reply,
    decode_request,
    decode_block_reply,
]


@given(calls)
def test_a_call_comes_back_as_it_went(call: control_messages.Call) -> None:
    assert decode_call(encode_call(call)) == call


def test_a_text_that_is_no_utf_8_is_refused_by_name() -> None:
    path = b"/bad\xff".decode(errors="surrogateescape")
    with pytest.raises(InvalidRequest, match=r"/bad\\udcff' is not valid UTF-8"):
        encode_call(ClientCall(bytes(16), 0, "user", client_messages.GetInfo(path)))


@given(replies)
def test_a_reply_comes_back_as_it_went(reply: control_messages.Reply) -> None:
    encoded = encode_reply(reply)  # compared encoded: a number in it may be NaN
    assert encode_reply(decode_reply(encoded)) == encoded


@given(heads)
def test_a_block_request_comes_back_as_it_went(head: block_messages.BlockRequest) -> None:
    assert decode_request(encode_head(head)) == head


@given(st.binary(max_size=100), st.sampled_from(DECODERS))
def test_bytes_of_a_stranger_are_an_error(
    payload: bytes, decode: Callable[[bytes], object]
) -> None:
    try:
        decode(payload)
    except DolmenError:
        return


@given(calls, st.data())
def test_a_truncated_call_is_an_error(call: control_messages.Call, data: st.DataObject) -> None:
    payload = encode_call(call)
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(InvalidRequest):
        decode_call(payload[:cut])
    with pytest.raises(InvalidRequest):
        decode_call(payload + b"\0")


@pytest.mark.parametrize(
    "payload",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of 2³² elements that are not there
        b"\xc6\xff\xff\xff\xff",  # a byte string of 4 GiB that is not there
        b"\x91" * 10_000,  # an array in an array in an array …
        b"\x95\x02\xc4\x00\x01\xa1u\x92\x01\xa1\xff",  # text that is not UTF-8
        msgspec.msgpack.encode([2, b"c", 1, "u", [99, "/x"]]),  # a request from the future
        msgspec.msgpack.encode([2, b"c", "1", "u", [1, "/x"]]),  # a number that is none
        msgspec.msgpack.encode({"type": 2}),
        b"\x96\x02\xc4\x00\x01\xa1u\x92\x01\xa2/x" + b"\x91" * 100_000,  # deep, where nobody looks
    ],
)
@pytest.mark.parametrize("decode", DECODERS)
def test_hostile_bytes_are_an_error(payload: bytes, decode: Callable[[bytes], object]) -> None:
    with pytest.raises(InvalidRequest):
        decode(payload)


def test_fields_that_newer_software_adds_are_ignored() -> None:
    call = ClientCall(b"c", 1, "u", client_messages.GetInfo("/x"))
    newer = msgspec.msgpack.encode([2, b"c", 1, "u", [1, "/x", "new"], "new"])
    assert decode_call(newer) == call


def test_an_error_crosses_the_wire_as_itself() -> None:
    for kind in KINDS.values():
        with pytest.raises(kind) as caught:
            decode_reply(encode_error(kind("what happened", "/p")))
        assert (caught.value.message, caught.value.path) == ("what happened", "/p")
        with pytest.raises(kind):
            decode_block_reply(block_messages.refusal_of(kind("what happened")))


def test_an_error_of_newer_software_is_still_an_error() -> None:
    error = to_error(Refusal("FromTheFuture", "what happened"))
    assert type(error) is DolmenError
    assert to_refusal(NoSuchPath("m", "/p")) == Refusal("NoSuchPath", "m", "/p")


def test_a_datanode_message_comes_back_as_it_went() -> None:
    report = datanode_messages.ReportBlocks("s", 1, (), first=True, last=True, all_done=True)
    assert decode_call(encode_call(DatanodeCall(report))) == DatanodeCall(report)
