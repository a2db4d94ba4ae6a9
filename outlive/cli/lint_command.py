"""The command that reads programs for lifetime mistakes: lint."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from outlive.cli import linting
from outlive.cli.failures import explained
from outlive.cli.options import AsJson
from outlive.cli.text import hanging, print_json, width


def register(app: typer.Typer) -> None:
    """Add the command to `outlive`."""
    codes = "Exit codes: 0 clean; 1 findings; 2 usage, or a file that cannot be read or does not parse."
    app.command(epilog=codes, rich_help_panel="Understand")(explained(lint))


def lint(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Python files, and directories of them; - for stdin.")
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", metavar="CODES", help="Only these rules: OUT101, or OUT1 for all so."),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", metavar="CODES", help="Not these rules.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="PATTERN", help="Files and directories to leave out.")
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended safely, and show it.")] = False,
    output: Annotated[
        str, typer.Option("--format", metavar="|".join(linting.FORMATS), help="How to print; concise: a line each.")
    ] = "text",
    explain: Annotated[str | None, typer.Option("--explain", metavar="CODE", help="Print the page of a rule.")] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List all rules.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find lifetime mistakes in programs that use Ray, without running them.

    [bold]Example[/bold]
    $ outlive lint src
    $ outlive lint --select OUT1,OUT302 --format sarif src > lint.sarif
    $ outlive lint --explain OUT101
    """
    if output not in linting.FORMATS:
        raise typer.BadParameter(f"{output!r} is not one of {', '.join(linting.FORMATS)}", param_hint="--format")
    if as_json and output == "sarif":
        raise typer.BadParameter("--json and --format sarif exclude each other")
    output = "json" if as_json else output
    if explain is not None:
        _explain(explain, output)
    elif rules:
        _list_rules(output)
    elif not paths:
        raise typer.BadParameter("name a file, a directory, or - for stdin", param_hint="PATH...")
    else:
        _lint(paths, select or [], ignore or [], exclude or [], output, fix=fix)


def _explain(code: str, output: str) -> None:
    from outlive.lint.pages import page
    from outlive.lint.rules import RULES

    rule = RULES.get(code.strip().upper())
    if rule is None:
        raise typer.BadParameter(f"no rule is called {code!r}; there are {', '.join(RULES)}", param_hint="--explain")
    if output == "json":
        print_json({**_described(rule), "page": page(rule.code)})
    else:
        typer.echo(page(rule.code), nl=False)


def _described(rule: Any) -> dict[str, Any]:
    return {"code": rule.code, "name": rule.name, "why": rule.why, "fix": rule.fix, "fixable": rule.fixable}


def _list_rules(output: str) -> None:
    from outlive.lint.rules import RULES

    if output == "json":
        print_json([_described(rule) for rule in RULES.values()])
        return
    longest = max(len(rule.name) for rule in RULES.values())
    for rule in RULES.values():
        begin = f"{rule.code}  {rule.name:{longest}}  {'--fix' if rule.fixable else '     '}  "
        typer.echo("\n".join(hanging(begin, rule.why, width())))


def _lint(
    paths: list[str], select: list[str], ignore: list[str], exclude: list[str], output: str, *, fix: bool
) -> None:
    try:
        wanted = linting.wanted(paths, select, ignore, exclude, output, fix=fix)
    except linting.WrongUsage as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(linting.lint(wanted))
