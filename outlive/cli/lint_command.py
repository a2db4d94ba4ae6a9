"""The command that reads programs for lifetime mistakes: lint."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outlive.cli.failures import explained
from outlive.cli.options import AsJson
from outlive.cli.text import hanging, print_json, width
from outlive.extras import need

if TYPE_CHECKING:
    from outlive.lint.finding import Finding
    from outlive.lint.run import Report

_FORMATS = ("text", "concise", "json", "sarif")


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
        str, typer.Option("--format", metavar="|".join(_FORMATS), help="How to print; concise: a line each.")
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
    if output not in _FORMATS:
        raise typer.BadParameter(f"{output!r} is not one of {', '.join(_FORMATS)}", param_hint="--format")
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


def _checked(parse: Callable[[], Any]) -> Any:
    """The result of `parse`. Its errors are reported as wrong usage."""
    from outlive.lint.config import BadConfiguration
    from outlive.lint.selection import UnknownRule

    try:
        return parse()
    except (UnknownRule, BadConfiguration) as error:
        raise typer.BadParameter(str(error)) from None


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
    from outlive.cli.progress import ProgressBar
    from outlive.lint import config, files, selection
    from outlive.lint.finding import Failure
    from outlive.lint.run import STDIN, run

    need("libcst")  # and no more: its import takes longer than all else if no file needs it
    settings = _checked(lambda: config.load(Path.cwd()))
    chosen = _checked(
        lambda: selection.selected(
            selection.parse(",".join(select)) or settings.select, [*settings.ignore, *selection.parse(",".join(ignore))]
        )
    )
    stdin = sys.stdin.buffer.read() if STDIN in paths else None
    with ProgressBar("lint") as bar:
        found = files.find((Path(path) for path in paths if path != STDIN), [*settings.exclude, *exclude])
        report = run(found.files, chosen, fix=fix, stdin=stdin, progress=bar.update)
    report.notebooks = found.notebooks
    report.failures += [
        Failure(str(path), 0, 0, f"cannot be read: {reason.lower()}") for path, reason in found.unreadable
    ]
    if fix and stdin is not None:
        sys.stdout.buffer.write(report.output)
    _print(report, output, to_stderr=fix and stdin is not None)
    raise typer.Exit(report.exit_code)


def _print(report: Report, output: str, *, to_stderr: bool) -> None:
    if output == "json":
        import json

        typer.echo(json.dumps(_as_data(report), indent=2), err=to_stderr)
    elif output == "sarif":
        import json

        from outlive import __version__
        from outlive.lint import sarif

        typer.echo(json.dumps(sarif.document(report, __version__), indent=2), err=to_stderr)
    else:
        from outlive.cli import lint_text

        lint_text.show(report, concise=output == "concise", to_stderr=to_stderr)


def _as_data(report: Report) -> dict[str, Any]:
    from dataclasses import asdict

    def finding(found: Finding) -> dict[str, Any]:
        return {
            **{name: value for name, value in asdict(found).items() if name != "edit"},
            "fixable": found.edit is not None,
        }

    return {
        "files": report.files,
        "findings": [finding(found) for found in report.findings],
        "fixed": [finding(found) for found in report.fixed],
        "errors": [asdict(failure) for failure in report.failures],
        "notebooks": report.notebooks,
    }
