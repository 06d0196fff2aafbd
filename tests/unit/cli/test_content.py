"""What the commands about single files print."""

import pytest

from dolmen.cli.content import checksum_line


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/a b", "f00d  /a b"),
        ("/two\nlines", "\\f00d  /two\\nlines"),
        ("/back\\slash\r", "\\f00d  /back\\\\slash\\r"),
    ],
)
def test_a_checksum_stays_on_one_line_as_xxh128sum_has_it(path: str, line: str) -> None:
    assert checksum_line("f00d", path) == line
