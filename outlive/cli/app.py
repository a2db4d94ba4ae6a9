"""The command `outlive` itself: the options before a command's name, and the list of commands."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from outlive.cli import (
    archive_commands,
    array_commands,
    dashboard_commands,
    demo_command,
    doctor_command,
    explain_command,
    form,
    lint_command,
    list_commands,
    node_commands,
    not_installed,
    store_commands,
    tune_command,
    versions_command,
    workers_commands,
)
from outlive.cli.failures import explained
from outlive.cli.options import ADDRESS, JSON, LOCAL, STORE

_HELP = """Arrays that outlive the Ray workers that made them.

Commands work on the Ray cluster that runs on this machine, or that RAY_ADDRESS
or --address names. They never start one. With --local those on arrays and on
the whole store work on the store of this machine that needs no Ray.

[bold]Example[/bold]
$ ray start --head
$ outlive put scan.npy ct/7
$ outlive ls --long
$ outlive get ct/7 -o copy.npy
"""
_CODES = "Exit codes: 0 fine; 1 what was asked for is not so (no such key, no room, damage); 2 usage, file or cluster."

app = typer.Typer(
    help=_HELP,
    epilog=not_installed.with_summary(_CODES),
    rich_markup_mode="rich",
    invoke_without_command=True,
    cls=form.Group,
    pretty_exceptions_enable=False,  # an expected error is one line; any other is a plain traceback for the bug report
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _commands in (
    array_commands,
    list_commands,
    store_commands,
    archive_commands,
    node_commands,
    workers_commands,
    dashboard_commands,
    doctor_command,
    explain_command,
    lint_command,
    tune_command,
    versions_command,
    demo_command,
):
    _commands.register(app)
not_installed.say_without_ray(app)
not_installed.say_without_ray(workers_commands.workers)
form.apply(app)
form.apply(workers_commands.workers)


def _show_version(wanted: bool) -> None:
    if wanted:
        from outlive import __version__

        typer.echo(f"outlive {__version__}")
        raise typer.Exit


@app.callback()
def _before_command(
    context: typer.Context,
    store: Annotated[str | None, STORE] = None,
    address: Annotated[str | None, ADDRESS] = None,
    local: Annotated[bool, LOCAL] = False,
    as_json: Annotated[bool, JSON] = False,
    version: Annotated[  # noqa: ARG001 - its callback does all
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Make options given before the command the defaults of those after it. Without a command, show where to begin."""
    if os.environ.get("NO_COLOR"):  # see no-color.org; rich, which writes the help, follows it by itself
        context.color = False
    command = context.invoked_subcommand
    if local and command is not None and command not in form.LOCAL:
        raise typer.BadParameter(f"{command} has no --local: it is for {', '.join(form.LOCAL)}")
    given = {"store": store, "address": address, "local": local or None, "as_json": as_json or None}
    chosen = {name: value for name, value in given.items() if value is not None}
    context.default_map = {str(command): chosen}
    if command is None:
        from outlive.cli.start_page import show

        explained(show)(address, local=local, as_json=as_json)
