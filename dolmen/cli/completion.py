"""`dolmen completion`: scripts with which a shell completes verbs, options and paths."""

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

PROGRAM = "dolmen"
VARIABLE = "_DOLMEN_COMPLETE"


class Bash(BashComplete):
    """As click has it, but no space comes after a directory, so that Tab goes on below it."""

    source_template = BashComplete.source_template.replace(
        "    return 0\n",
        "    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace\n"
        "    return 0\n",
    )


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete verbs, options and paths of a cluster.

    \b
      eval "$(dolmen completion bash)"                     in ~/.bashrc
      eval "$(dolmen completion zsh)"                      in ~/.zshrc
      dolmen completion fish > ~/.config/fish/completions/dolmen.fish
    """
    script = SHELLS[shell](ctx.find_root().command, {}, PROGRAM, VARIABLE)
    click.echo(script.source_template % script.source_vars())
