"""What is said before and after the verb, and which settings were named."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dolmen.cli.said import Said, client_options, connection_options, settings_flags
from dolmen.cli.store import FileShape


@click.group()
@connection_options
@click.pass_context
def group(ctx: click.Context) -> None:
    ctx.ensure_object(Said)


@group.command()
@settings_flags("block_size", "replication")
@client_options
def verb() -> None:
    said = Said.now()
    shape = FileShape.named(said, replace=False)
    settings = said.settings()
    click.echo(f"{said.at} {said.user} {settings.retry_for_ms}")
    click.echo(f"{shape.block_size_bytes} {shape.replication}")


def output(*words: str, **environment: str) -> list[str]:
    done = CliRunner().invoke(group, words, env=environment)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_at_may_stand_before_or_after_the_verb_and_the_latter_wins() -> None:
    assert output("--at", "a:1", "--user", "u", "verb")[0] == "a:1 u 30000"
    assert output("verb", "--at", "a:1")[0] == "a:1 None 30000"
    assert output("--at", "a:1", "verb", "--at", "b:2")[0] == "b:2 None 30000"


def test_a_flag_beats_the_environment_and_that_beats_the_file(tmp_path: Path) -> None:
    config = tmp_path / "dolmen.toml"
    config.write_text('retry_for = "1s"\n')
    assert output("verb", "--config", str(config))[0].endswith(" 1000")
    assert output("verb", DOLMEN_CONFIG=str(config), DOLMEN_RETRY_FOR="2s")[0].endswith(" 2000")
    assert output("verb", "--retry-for", "3s", DOLMEN_RETRY_FOR="2s")[0].endswith(" 3000")


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ([], {}, "0 0"),
        (["--block-size", "128MiB", "--replication", "3"], {}, f"{128 << 20} 3"),
        ([], {"DOLMEN_BLOCK_SIZE": "64KiB"}, "65536 0"),
    ],
)
def test_what_is_not_named_is_left_to_the_cluster(
    words: list[str], environment: dict[str, str], expected: str
) -> None:
    assert output("verb", *words, **environment)[1] == expected
