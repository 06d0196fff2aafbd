"""Where a path is, and in which order what was not said is filled in."""

import pytest

from dolmen.client.url import (
    Location,
    choose_address,
    choose_user,
    complete_address,
    format_url,
    parse_location,
)
from dolmen.protocol.errors import InvalidRequest, NameTooLong


@pytest.mark.parametrize(
    ("text", "address", "path"),
    [
        ("/d/x", None, "/d/x"),
        ("/", None, "/"),
        ("//d///x/", None, "/d/x"),
        ("dolmen://h:9871/d/x", "h:9871", "/d/x"),
        ("dolmen://h/d/x", "h:9870", "/d/x"),
        ("dolmen://h:9870", "h:9870", "/"),
        ("dolmen://h:9870/", "h:9870", "/"),
        ("dolmen:///d/x", None, "/d/x"),
        ("dolmen://[::1]:9871/x", "[::1]:9871", "/x"),
        ("dolmen://[::1]/x", "[::1]:9870", "/x"),
        ("dolmen://h/a%20b#c?d=1", "h:9870", "/a%20b#c?d=1"),
        ("/naïve/файл", None, "/naïve/файл"),
    ],
)
def test_a_location_is_split_into_address_and_canonical_path(
    text: str, address: str | None, path: str
) -> None:
    assert parse_location(text) == Location(address, path)


@pytest.mark.parametrize(
    "text",
    ["", "d/x", "hdfs://h/x", "dolmen://h:x/y", "dolmen://h:99999/y", "dolmen://::1/x", "/a/../b"],
)
def test_what_is_no_location_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_location(text)


def test_a_name_that_is_too_long_says_so() -> None:
    with pytest.raises(NameTooLong):
        parse_location("dolmen://h/" + "x" * 256)


def test_the_url_beats_the_option_beats_the_environment_beats_the_default() -> None:
    environment = {"DOLMEN_URL": "dolmen://env:1"}
    assert choose_address("url:3", "option:2", environment) == "url:3"
    assert choose_address(None, "option:2", environment) == "option:2"
    assert choose_address(None, "option", environment) == "option:9870"
    assert choose_address(None, "dolmen://option:5/", environment) == "option:5"
    assert choose_address(None, None, environment) == "env:1"
    assert choose_address(None, None, {"DOLMEN_URL": "env"}) == "env:9870"
    assert choose_address(None, "", {"DOLMEN_URL": ""}) == "127.0.0.1:9870"


def test_port_zero_is_no_place_to_connect_to() -> None:
    with pytest.raises(InvalidRequest, match="port 0"):
        complete_address("h:0")


def test_the_user_is_the_option_else_the_environment_else_the_login_name() -> None:
    assert choose_user("me", {"DOLMEN_USER": "you"}) == "me"
    assert choose_user(None, {"DOLMEN_USER": "you"}) == "you"
    assert choose_user(None, {}) != ""


def test_a_url_is_made_of_address_and_path() -> None:
    assert format_url("h:9870", "/d/x") == "dolmen://h:9870/d/x"
    assert format_url("h:9870") == "dolmen://h:9870"
