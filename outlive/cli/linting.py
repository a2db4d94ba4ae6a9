"""The command lint: what it does with files, whoever has parsed its options. It loads no typer."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from outlive.cli.plain import echo
from outlive.extras import need

if TYPE_CHECKING:
    from outlive.lint.finding import Finding
    from outlive.lint.run import Report

FORMATS = ("text", "concise", "json", "sarif")


class WrongUsage(ValueError):
    """Options or a configuration that lint does not know. The message says which."""


class Wanted(NamedTuple):
    """The sources to be linted, and how."""

    paths: Sequence[str]
    rules: Collection[str]
    exclude: Sequence[str]
    output: str
    fix: bool


def wanted(
    paths: Sequence[str],
    select: Sequence[str],
    ignore: Sequence[str],
    exclude: Sequence[str],
    output: str,
    *,
    fix: bool,
) -> Wanted:
    """The work that these options and pyproject.toml ask for; no source is read.

    Raises
    ------
    WrongUsage
    """
    from outlive.lint import config, selection

    need("libcst")  # and no more: its import takes longer than all else if no file needs it
    try:
        settings = config.load(Path.cwd())
        chosen = selection.selected(
            selection.parse(",".join(select)) or settings.select, [*settings.ignore, *selection.parse(",".join(ignore))]
        )
    except (selection.UnknownRule, config.BadConfiguration) as error:
        raise WrongUsage(str(error)) from None
    return Wanted(paths, chosen, [*settings.exclude, *exclude], output, fix)


def lint(asked: Wanted) -> int:
    """Lint, print the report, and return the exit code."""
    from outlive.cli.progress import ProgressBar
    from outlive.lint import files
    from outlive.lint.finding import Failure
    from outlive.lint.run import STDIN, run

    stdin = sys.stdin.buffer.read() if STDIN in asked.paths else None
    with ProgressBar("lint") as bar:
        found = files.find((Path(path) for path in asked.paths if path != STDIN), asked.exclude)
        report = run(found.files, asked.rules, fix=asked.fix, stdin=stdin, progress=bar.update)
    report.notebooks = found.notebooks
    report.failures += [
        Failure(str(path), 0, 0, f"cannot be read: {reason.lower()}") for path, reason in found.unreadable
    ]
    if asked.fix and stdin is not None:
        sys.stdout.buffer.write(report.output)
    _print(report, asked.output, to_stderr=asked.fix and stdin is not None)
    return report.exit_code


def _print(report: Report, output: str, *, to_stderr: bool) -> None:
    if output == "json":
        import json

        echo(json.dumps(_as_data(report), indent=2), err=to_stderr)
    elif output == "sarif":
        import json

        from outlive import __version__
        from outlive.lint import sarif

        echo(json.dumps(sarif.document(report, __version__), indent=2), err=to_stderr)
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
