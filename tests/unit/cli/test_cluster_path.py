"""Paths as they are typed and as they are shown."""

import pytest

from dolmen.cli.cluster_path import parse_cluster_path


@pytest.mark.parametrize(
    ("text", "path", "address", "shown"),
    [
        ("/", "/", None, "/a"),
        ("/data//x/", "/data/x", None, "/a"),
        ("dolmen://h:1/data", "/data", "h:1", "dolmen://h:1/a"),
        ("dolmen://h", "/", "h:9870", "dolmen://h/a"),
        ("dolmen:///x", "/x", None, "dolmen:///a"),
    ],
)
def test_a_path_is_shown_in_the_form_it_was_asked_in(
    text: str, path: str, address: str | None, shown: str
) -> None:
    found = parse_cluster_path(text)
    assert (found.path, found.address, found.shown("/a")) == (path, address, shown)


def test_a_closing_slash_is_remembered() -> None:
    assert parse_cluster_path("/d/").ends_with_slash
    assert not parse_cluster_path("/d").ends_with_slash
