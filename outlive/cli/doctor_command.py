"""The command that looks over a live cluster: doctor."""

from __future__ import annotations

import functools
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outlive.cli.failures import NOT_SO, explained
from outlive.cli.options import Address, AsJson
from outlive.cli.text import print_json
from outlive.units import count

if TYPE_CHECKING:
    from outlive.doctor import Diagnosis, Evidence, Symptom
    from outlive.doctor.changes import Changes
    from outlive.doctor.mutes import Mute

_LEAST_WATCH = 1.0  # seconds
_SHOWN = 8  # pieces of evidence of one finding
_COLORS = {"wrong": "red", "risk": "yellow", "waste": "cyan", "info": "blue"}
_LABEL = 9  # columns


def register(app: typer.Typer) -> None:
    """Add the command to `outlive`."""
    codes = (
        "Exit codes: 0 nothing found, information and what is muted aside; 1 findings, or something could not be "
        "checked; 2 could not look: usage, a bad file, no cluster. With --watch, that of the last look."
    )
    app.command(epilog=codes, rich_help_panel="Understand")(explained(doctor))


def doctor(
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Look at other machines too, by a task. Measure /dev/shm here: some seconds, up to 650 MB of memory.",
        ),
    ] = False,
    mutes: Annotated[
        Path | None,
        typer.Option("--mutes", metavar="FILE", help="Findings to mute; by default outlive-doctor.toml here or above."),
    ] = None,
    watch: Annotated[
        str | None,
        typer.Option("--watch", "-w", metavar="TIME", help="Look again every so often, as 30s; print what changes."),
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Show what is wrong or risky now on a live cluster, the worst first.

    Idle workers that cannot leave, nodes that cannot be removed, objects that are lost
    or will be, the reaper, the object store, /dev/shm, known bugs of this Ray; each
    with its evidence and what mends it. Changes nothing. It only looks, unless --exact
    is given: that runs a task on each other machine, and measures how fast /dev/shm is
    here, for some seconds, in up to 400 MB of it and 256 MB of its own memory.
    Findings that are accepted are muted by name and node, see docs/doctor.md.

    [bold]Example[/bold]
    $ outlive doctor
    $ outlive doctor --mutes ci/outlive-doctor.toml
    $ outlive doctor --json --address HOST:PORT
    $ outlive doctor --watch 30s
    """
    from outlive.cli import doctor_watch
    from outlive.cli.doctor_looker import Looker
    from outlive.doctor.mutes import load, nearest
    from outlive.units import parse_duration

    every = None if watch is None else parse_duration(watch, "--watch", least=_LEAST_WATCH)
    path = mutes if mutes is not None else nearest(Path.cwd())
    muted = () if path is None else load(path)
    look = functools.partial(look_once, address, exact, muted)
    if every is not None:
        looker = Looker(look)
        try:
            first = [looker.look()]  # an error at once if there is no cluster: only one that goes later is waited for
            show_look = None if as_json else lambda now, since: show_again(now, since, path)
            code = doctor_watch.watch(lambda: first.pop() if first else looker.look(), every, show_look)
        finally:
            looker.close()
    else:
        diagnosis = look()
        if as_json:
            print_json(diagnosis.to_json())
        else:
            show(diagnosis, path)
        code = 0 if diagnosis.healthy else NOT_SO
    if code:
        raise typer.Exit(code)


def look_once(address: str | None, exact: bool, muted: tuple[Mute, ...]) -> Diagnosis:
    """Look over the cluster at this address."""
    from outlive.cli.progress import ProgressBar
    from outlive.cli.workers_connection import found, joined
    from outlive.doctor import examine

    own_job = (joined if exact else found)(address)  # each time: a look may have joined the cluster
    with ProgressBar("checking", unit="checks") as bar:
        return examine(own_job=own_job, exact=exact, progress=bar.update, join=lambda: joined(address), mutes=muted)


def show_again(diagnosis: Diagnosis, since: Changes | None, path: Path | None) -> None:
    """Print what has changed since the look before; the whole page if there was none."""
    if since is None:
        show(diagnosis, path)
        return
    typer.secho(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}", dim=True)
    for finding in since.new:
        show_finding("new: ", finding)
    for finding in since.gone:
        typer.secho("gone: ", fg="green", bold=True, nl=False)
        typer.echo(f"{_clean(finding.what)}  [{finding.kind}]")
    for one in since.unchecked:
        typer.secho("not checked: ", fg="yellow", bold=True, nl=False)
        typer.echo(f"{one.check}: {_clean(one.reason)}")
    for one in since.checked:
        typer.echo(f"checked again: {one.check}")
    typer.echo(_summary(diagnosis))


def show(diagnosis: Diagnosis, path: Path | None) -> None:
    """Print the whole page. `path`: the file of what is muted."""
    for number, finding in enumerate(diagnosis.findings, 1):
        show_finding(f"{number}. ", finding)
    for reason, checks in _grouped(diagnosis).items():
        typer.secho("not checked: ", fg="yellow", bold=True, nl=False)
        typer.echo(f"{', '.join(checks)}: {_clean(reason)}")
    if diagnosis.muted:
        kinds = Counter(finding.kind for finding in diagnosis.muted)
        listed = ", ".join(f"{kind} ({number})" for kind, number in sorted(kinds.items()))
        typer.echo(f"muted by {path}: {count(len(diagnosis.muted), 'finding')}: {listed}")
    for note in diagnosis.notes:
        typer.echo(f"note: {_clean(note)}")
    typer.echo(_summary(diagnosis))


def show_finding(before: str, finding: Symptom) -> None:
    """Print one finding."""
    typer.secho(f"{before}{finding.severity.upper()}  ", fg=_COLORS[finding.severity], bold=True, nl=False)
    typer.secho(f"{_clean(finding.what)}  ", bold=True, nl=False)
    typer.secho(f"[{finding.kind}]", dim=True)
    for line in _lines(finding):
        typer.echo(line)
    if finding.source:
        _show_source(finding.source)
    typer.echo()


def _summary(diagnosis: Diagnosis) -> str:
    workers = "" if diagnosis.workers is None else f", {count(diagnosis.workers, 'worker')}"
    return f"Ray {diagnosis.ray_version}, {count(diagnosis.nodes, 'node')}{workers}: {_counted(diagnosis)}"


def _counted(diagnosis: Diagnosis) -> str:
    told = sum(finding.severity == "info" for finding in diagnosis.findings)
    found = len(diagnosis.findings) - told
    return (count(found, "finding") if found else "nothing found") + (f", {told} for information" if told else "")


def _lines(finding: Symptom) -> Iterator[str]:
    shown = finding.evidence[:_SHOWN]
    for evidence in shown:
        yield from _labelled("seen", f"{_where(evidence)}{evidence.text}")
    if more := len(finding.evidence) - len(shown):
        yield from _labelled("", f"... and {more} more, see --json")
    yield from _labelled("why", finding.why)
    yield from _labelled("fix", finding.fix)


def _show_source(source: str) -> None:
    """On a terminal the files and pages that it names are links."""
    if not sys.stdout.isatty():
        typer.echo("\n".join(_labelled("source", source)))
        return
    from rich.console import Console
    from rich.text import Text

    from outlive.citations import link

    console = Console(file=sys.stdout, highlight=False)
    label = "source"
    for line in link(Text(_clean(source))).wrap(console, _room()):
        console.print(f"   {label:<{_LABEL - 3}} ", line, sep="", soft_wrap=True)
        label = ""


def _where(evidence: Evidence) -> str:
    if evidence.pid is not None:
        return f"pid {evidence.pid} on node {(evidence.node or '?')[:8]}: "
    return f"node {evidence.node[:8]}: " if evidence.node is not None else ""


def _labelled(label: str, text: str) -> Iterator[str]:
    """Text below its label: wrapped on a terminal; else in one line, so that it can be searched."""
    lines = [_clean(text)]
    if sys.stdout.isatty():
        lines = textwrap.wrap(lines[0], _room(), break_long_words=False, break_on_hyphens=False)
    for line in lines:
        yield f"   {label:<{_LABEL - 3}} {line}"
        label = ""


def _room() -> int:
    """Columns of the terminal for the text after a label."""
    return max(40, shutil.get_terminal_size().columns - _LABEL - 1)


def _clean(text: str) -> str:
    from outlive.explain.render import printable

    return printable(text)


def _grouped(diagnosis: Diagnosis) -> dict[str, list[str]]:
    """The checks that were not made, by reason."""
    found: dict[str, list[str]] = {}
    for missed in diagnosis.unchecked:
        found.setdefault(missed.reason, []).append(missed.check)
    return found
