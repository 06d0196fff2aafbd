"""Paths, names, addresses and block ids: their form and their limits."""

import pytest

from dolmen.protocol.errors import DolmenError, InvalidRequest, NameTooLong
from dolmen.protocol.identifiers import (
    BLOCK_NUMBER_LIMIT,
    block_namespace,
    block_number,
    format_address,
    format_block_id,
    format_path,
    make_block_id,
    parse_address,
    parse_path,
)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/", ()),
        ("//", ()),
        ("/a", ("a",)),
        ("/a/b/", ("a", "b")),
        ("//a///b", ("a", "b")),
        ("/ä ö/…", ("ä ö", "…")),
        ("/.../..a/.b", ("...", "..a", ".b")),
        ("/a\\b\n", ("a\\b\n",)),
    ],
)
def test_a_path_is_its_names(path: str, names: tuple[str, ...]) -> None:
    assert parse_path(path) == names
    assert parse_path(format_path(names)) == names


def test_names_are_compared_byte_by_byte() -> None:
    assert parse_path("/e\u0301") != parse_path("/\u00e9")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", InvalidRequest),
        ("a", InvalidRequest),
        ("dolmen://h/a", InvalidRequest),
        ("/.", InvalidRequest),
        ("/a/../b", InvalidRequest),
        ("/a\0b", InvalidRequest),
        ("/\udc80", InvalidRequest),
        ("/" + "n" * 256, NameTooLong),
        ("/" + "ä" * 128, NameTooLong),
        ("/d" * 1001, NameTooLong),
        ("/" + "/".join(["n" * 199] * 40) + "/n", NameTooLong),
    ],
)
def test_what_is_no_path_is_refused(path: str, error: type[DolmenError]) -> None:
    with pytest.raises(error):
        parse_path(path)


@pytest.mark.parametrize(
    "path", ["/" + "n" * 255, "/" + "ä" * 127 + "n", "/d" * 1000, ("/" + "n" * 199) * 40]
)
def test_what_is_just_within_the_limits_is_a_path(path: str) -> None:
    assert format_path(parse_path(path)) == path


def test_a_limit_is_named_in_its_error() -> None:
    for path, limit in (("/" + "n" * 256, "255"), ("/d" * 1001, "1000"), ("/n" * 4001, "8000")):
        with pytest.raises(NameTooLong, match=limit):
            parse_path(path)


@pytest.mark.parametrize("number", [0, 1, BLOCK_NUMBER_LIMIT - 1])
@pytest.mark.parametrize("namespace_id", [0, 1, 65535])
def test_a_block_id_says_its_namespace_and_number(namespace_id: int, number: int) -> None:
    block_id = make_block_id(namespace_id, number, unit=15)
    assert block_namespace(block_id) == namespace_id
    assert block_number(block_id) == number
    assert len(format_block_id(block_id)) == 16


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("h:0", "h", 0),
        ("10.0.0.1:65535", "10.0.0.1", 65535),
        ("[::1]:9870", "::1", 9870),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("name_1.bücher.example.:1", "name_1.bücher.example.", 1),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)
    assert format_address(host, port) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "h", "h:", ":1", "h:x", "h:-1", "h:65536", "::1:80", "h:²", "[::1", "[::1%]:1"),
        *("h h:1", "u@h:1", "h\n:1", "*:1", "h?:1", "h%20:1", "a..b:1", ".:1", "[h]:1"),
        *("h" * 64 + ":1", "ü" * 64 + ":1", "h:" + "1" * 5000),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_address(text)
