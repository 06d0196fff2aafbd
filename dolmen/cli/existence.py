"""`dolmen test`: a question about a path that a script asks, answered by the exit code."""

import click

from dolmen.cli.cluster_path import ClusterPath, ClusterPathType
from dolmen.cli.exit_codes import EXIT_NO
from dolmen.cli.said import client_options
from dolmen.cli.session import Session, run
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import NoSuchPath, NotADirectory

QUESTIONS = {
    "e": "It exists.",
    "f": "It is a file.",
    "d": "It is a directory.",
    "s": "It is a file that is not empty.",
    "z": "It is a file that is empty.",
}


def _ask(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and param.name is not None:
        ctx.meta.setdefault(__name__, []).append(param.name)


def question_options(command: click.decorators.FC) -> click.decorators.FC:
    """Add a flag for each question."""
    for letter, meaning in reversed(QUESTIONS.items()):
        command = click.option(
            f"-{letter}", letter, is_flag=True, expose_value=False, callback=_ask, help=meaning
        )(command)
    return command


@click.command()
@question_options
@click.argument("path", type=ClusterPathType())
@client_options
@click.pass_context
def test(ctx: click.Context, path: ClusterPath) -> None:
    """Answer with the exit code: 0 yes, 1 no, 6 the cluster cannot be asked.

    \b
      dolmen test -e /data/flights.csv || dolmen put flights.csv /data/
    """
    asked = ctx.meta.get(__name__, [])
    if len(asked) != 1:
        raise click.UsageError(f"ask one of -{', -'.join(QUESTIONS)}")

    async def work(session: Session) -> FileInfo | None:
        client = await session.client(path)
        try:
            return await client.info(path.path)
        except (NoSuchPath, NotADirectory):
            return None

    if not holds(asked[0], run(work)):
        ctx.exit(EXIT_NO)


def holds(question: str, info: FileInfo | None) -> bool:
    """Whether what is at a path is as `question` has it; None is nothing."""
    if info is None:
        return False
    if question == "e":
        return True
    if info.kind is EntryKind.DIRECTORY:
        return question == "d"
    return question == "f" or question == ("s" if info.length_bytes else "z")
