"""The command `outlive workers check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outlive.cli.failures import NOT_SO, explained
from outlive.cli.options import Address, AsJson
from outlive.cli.text import hanging, print_json, width
from outlive.units import count

if TYPE_CHECKING:
    from outlive.workers.checking import Checked, Misconfiguration


def register(app: typer.Typer) -> None:
    """Add the command to `outlive workers`."""
    epilog = "Exit codes: 0 nothing found; 1 something is not as it should be; 2 usage, a bad file, no cluster."
    app.command(epilog=epilog)(explained(check))


def check(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE | COMMAND",
            help="A YAML, script, Dockerfile or unit that starts Ray, or a quoted `ray start ...`.",
        ),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Write the safe fixes into the file.")] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Find settings that do not do what is meant. Without an argument: of the running cluster.

    [bold]Example[/bold]
    $ outlive workers check cluster.yaml
    $ outlive workers check cluster.yaml --fix
    $ outlive workers check "ray start --head --system-config='{...}'"
    """
    from outlive.cli.workers_connection import found
    from outlive.errors import BadSetting
    from outlive.workers import commands
    from outlive.workers.checking import check_target
    from outlive.workers.checking.target import mend

    mended: list[Misconfiguration] = []
    if target is None:
        found(address)
    elif not Path(target).is_file() and not commands.find(target):
        raise BadSetting(f"{target!r} is neither a file nor a `ray start` command line")
    checked = check_target(target)
    if fix:
        if checked.file is None or target is None:
            raise BadSetting("--fix needs a YAML file: nothing can be written here")
        mended = mend(checked)
        if mended:
            checked.file.write(Path(target))
        checked = check_target(target)
    if as_json:
        print_json({"target": checked.target, "findings": _json(checked.findings), "fixed": _json(mended)})
    else:
        _show(checked, mended)
    if checked.findings:
        raise typer.Exit(NOT_SO)


def _json(findings: tuple[Misconfiguration, ...] | list[Misconfiguration]) -> list[dict[str, object]]:
    return [
        {
            "kind": one.kind,
            "line": one.line,
            "what": one.what,
            "why": one.why,
            "fix": one.fix,
            "safe": one.safe,
        }
        for one in findings
    ]


def _show(checked: Checked, mended: list[Misconfiguration]) -> None:
    room = width()
    for one in mended:
        typer.echo(f"fixed: {one.what}: {one.fix}")
    for one in checked.findings:
        where = f"{checked.target}:{one.line}" if one.line is not None else checked.target
        typer.secho("\n".join(hanging("", f"{where}: {one.what}", room)), bold=True)
        for label, text in (("why", one.why), ("fix", one.fix + (" (--fix writes it)" if one.safe else ""))):
            typer.echo("\n".join(hanging(f"  {label}  ", text, room)))
    typer.echo(f"{checked.target}: {count(len(checked.findings), 'finding')}")
