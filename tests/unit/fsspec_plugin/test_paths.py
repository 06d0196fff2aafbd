"""Paths: the canonical form, its inverse, whose cluster it means, and what is refused."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsspec_plugin import DolmenFileSystem
from fsspec_plugin.paths import ask, parent_of, resolve_address, strip_protocol

OWN = "h:9870"

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("dolmen://h:9870/d/x", "h:9870/d/x"),
        ("dolmen://h:9870/d/x/", "h:9870/d/x"),
        ("dolmen://h/d", "h/d"),
        ("dolmen://h:9870", "h:9870"),
        ("dolmen://h:9870/", "h:9870"),
        ("dolmen:///d//x", "/d/x"),
        ("dolmen://", "/"),
        ("dolmen::/d", "/d"),
        ("/d/x", "/d/x"),
        ("//d///x//", "/d/x"),
        ("/", "/"),
        ("", "/"),
        ("dolmen://[::1]:9870/d", "[::1]:9870/d"),
        ("dolmen://h/a%20b#c?d=e;f", "h/a%20b#c?d=e;f"),
    ],
)
def test_the_canonical_form_keeps_the_authority(url: str, canonical: str) -> None:
    assert DolmenFileSystem._strip_protocol(url) == canonical
    assert strip_protocol(canonical) == canonical


def test_lists_and_path_objects_are_stripped_too() -> None:
    strip = DolmenFileSystem._strip_protocol
    assert strip(["dolmen://h/a", "/b/"]) == ["h/a", "/b"]
    assert strip(("/a/",)) == ["/a"]
    assert strip(PurePosixPath("/a/b")) == "/a/b"


@given(st.lists(NAMES, max_size=5), st.sampled_from(["", "h", "h:1", "[::1]", "[::1]:1"]))
def test_stripping_twice_is_stripping_once(names: list[str], authority: str) -> None:
    once = strip_protocol(f"dolmen://{authority}/{'/'.join(names)}")
    assert strip_protocol(once) == once
    assert once == "/".join([authority, *names]) if names else once in (authority, "/")


@pytest.mark.parametrize(
    ("path", "authority", "inside"),
    [
        ("/d/x", "", "/d/x"),
        ("h:9870/d", "h:9870", "/d"),
        ("h/d", "h", "/d"),
        ("H:9870", "H:9870", "/"),
        ("dolmen://h:9870/d", "h:9870", "/d"),
        ("", "", "/"),
    ],
)
def test_a_path_of_ours_is_answered_as_it_was_asked(path: str, authority: str, inside: str) -> None:
    asked = ask(path, OWN)
    assert (asked.authority, asked.path) == (authority, inside)
    assert asked.answer("/d/y") == f"{authority}/d/y"
    assert asked.answer("/") == (authority or "/")


@pytest.mark.parametrize(
    "path", ["other:9870/d", "h:9000/d", "dolmen://other/d", "d/x", "d", "h:bad/d", "@/d"]
)
def test_a_foreign_authority_and_a_relative_path_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="filesystem"):
        ask(path, OWN)


def test_a_port_left_out_is_the_default_port() -> None:
    assert ask("h/d", "h:9870").path == "/d"
    with pytest.raises(ValueError, match="without a port: 9870"):
        ask("dolmen://h/d", "h:9000")


@pytest.mark.parametrize(
    ("path", "parent"),
    [
        ("h:9870/d/x", "h:9870/d"),
        ("h:9870/d", "h:9870"),
        ("h:9870", "h:9870"),
        ("/d/x", "/d"),
        ("/d", "/"),
        ("/", "/"),
    ],
)
def test_the_parent_of_a_path(path: str, parent: str) -> None:
    assert parent_of(path) == parent
    assert DolmenFileSystem._parent(path) == parent


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("dolmen://h:9000/d", {"host": "h", "port": 9000}),
        ("dolmen://h/d", {"host": "h"}),
        ("dolmen://[::1]:9000/d", {"host": "::1", "port": 9000}),
        ("dolmen:///d", {}),
        ("/d", {}),
    ],
)
def test_a_url_gives_the_options_it_names(url: str, options: dict[str, Any]) -> None:
    assert DolmenFileSystem._get_kwargs_from_urls(url) == options


@pytest.mark.parametrize("url", ["dolmen://ada@h/d", "dolmen://h:port/d", "dolmen://h:0/d"])
def test_a_malformed_authority_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="h"):
        DolmenFileSystem._get_kwargs_from_urls(url)


@pytest.mark.parametrize(
    ("options", "environment", "address"),
    [
        ((None, None), {}, "127.0.0.1:9870"),
        ((None, None), {"DOLMEN_URL": "dolmen://env:1"}, "env:1"),
        ((None, "2"), {"DOLMEN_URL": "dolmen://env:1"}, "env:2"),
        (("h", None), {"DOLMEN_URL": "dolmen://env:1"}, "h:9870"),
        (("h", "09000"), {}, "h:9000"),
        (("h:9000", 9000), {}, "h:9000"),
        (("dolmen://h:9000", None), {}, "h:9000"),
        (("::1", 9000), {}, "[::1]:9000"),
        (("[::1]", None), {}, "[::1]:9870"),
    ],
)
def test_the_address_is_that_of_the_options_else_of_the_environment(
    options: tuple[str | None, int | str | None], environment: Mapping[str, str], address: str
) -> None:
    assert resolve_address(*options, environment) == address


@pytest.mark.parametrize(
    ("host", "port"), [("h", "x"), ("h:1", 2), ("h", 0), ("h", 70000), ("h", -1)]
)
def test_an_address_that_cannot_be_is_refused(host: str, port: int | str) -> None:
    with pytest.raises(ValueError, match="h"):
        resolve_address(host, port, {})
    with pytest.raises(ValueError, match="DOLMEN_URL"):
        resolve_address(None, None, {"DOLMEN_URL": "dolmen://h:x"})
