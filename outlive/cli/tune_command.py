"""The command that looks at a node's shared memory, and can make it faster: tune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from outlive.cli.failures import explained
from outlive.cli.options import AsJson
from outlive.cli.text import hanging, print_json, width
from outlive.units import format_size

if TYPE_CHECKING:
    from outlive.tune.advice import Advice
    from outlive.tune.facts import Facts
    from outlive.tune.mount import Mount
    from outlive.tune.speed import Speeds

_ROWS = {"put": "put, new memory", "put_again": "put, recycled", "first_read": "first read", "memcpy": "plain memcpy"}
_GIB = 1 << 30


def register(app: typer.Typer) -> None:
    """Add the command to `outlive`."""
    codes = "Exit codes: 0 done; 2 usage, or the system did not let it."
    app.command(epilog=codes, rich_help_panel="Understand")(explained(tune))


def tune(
    change: Annotated[bool, typer.Option("--apply", help="Remount with huge pages, where this process may.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what --apply changed.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Measure nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what this node's shared memory gives, how fast it is, and how to make it faster.

    Measures for a few seconds: as it is now, and on a private mount with huge pages
    where it may make one. Needs no cluster. Changes nothing unless asked.

    [bold]Example[/bold]
    $ outlive tune
    $ sudo outlive tune --apply
    $ sudo outlive tune --undo
    """
    if change and undo:
        raise typer.BadParameter("--apply and --undo are two things; ask for one", param_hint="--undo")
    if change or undo:
        _change(undo=undo, as_json=as_json)
        return
    from outlive import progress
    from outlive.tune.advice import advice
    from outlive.tune.compare import compare
    from outlive.tune.facts import look

    facts = look()
    found = advice(facts)
    now, tuned, refused = None, None, None
    if not quick:
        with progress.of("measuring"):
            now, tuned, refused = compare(facts, found)
    if as_json:
        print_json(_document(facts, found, now, tuned, refused))
    else:
        _show(facts, found, now, tuned, refused)


def _change(*, undo: bool, as_json: bool) -> None:
    from outlive.arrays.root import default_root
    from outlive.tune import record

    if undo:
        undone = record.undo()
        said = [f"{change.folder}: huge={change.before} again" for change in undone] or ["nothing to take back"]
    else:
        change = record.apply(default_root()[0])
        undone = [] if change is None else [change]
        said = [
            "it gives huge pages already; nothing was changed"
            if change is None
            else f"{change.folder}: huge={change.after}, was {change.before}. Arrays that are put from now on get huge "
            "pages. `outlive tune --undo` takes it back, and so does a restart of the machine"
        ]
    if as_json:
        print_json({"undone" if undo else "applied": [one._asdict() for one in undone]})
        return
    for line in said:
        typer.echo(line)


def _document(
    facts: Facts, found: list[Advice], now: Speeds | None, tuned: Speeds | None, refused: str | None
) -> dict[str, Any]:
    return {
        **facts._asdict(),
        "mount": _mount(facts.mount),
        "shared_memory": None if facts.shared_memory is None else _mount(facts.shared_memory),
        "bytes_per_second": None if now is None else now._asdict(),
        "bytes_per_second_with_huge_pages": None if tuned is None else tuned._asdict(),
        "times_faster": None if now is None or tuned is None else tuned.times(now),
        "not_measured": refused,
        "advice": [{**one._asdict(), "ways": [way._asdict() for way in one.ways]} for one in found],
    }


def _mount(mount: Mount) -> dict[str, Any]:
    return {**mount._asdict(), "huge": mount.huge}


def _show(facts: Facts, found: list[Advice], now: Speeds | None, tuned: Speeds | None, refused: str | None) -> None:
    mount, room = facts.mount, width()
    typer.secho(f"{facts.root} on {mount.folder}", bold=True)
    limit = "no limit" if not mount.inodes else f"{mount.free_inodes} free of {mount.inodes}"
    for label, value in (
        ("file system", f"{mount.kind}, {format_size(mount.free)} free of {format_size(mount.size)}"),
        ("options", ("," if room is None else ", ").join(dict.fromkeys((*mount.flags, *mount.options)))),
        ("huge pages", _pages(facts)),
        ("files", limit),
        ("a process", f"{_number(facts.descriptors)} descriptors, {facts.maps or '?'} maps"),
        ("cgroup", f"{facts.cgroup or 'none'}: {format_size(facts.memory)} memory, {facts.cores:g} cores"),
    ):
        _say(f"   {label:<12} ", value, room)
    if now is not None:
        _show_speeds(now, tuned)
    if refused is not None:
        typer.secho("not measured: ", fg="yellow", bold=True, nl=False)
        typer.echo("\n".join(hanging("", refused, room and room - 14)).replace("\n", "\n" + " " * 14))
    for number, one in enumerate(found, 1):
        typer.secho("\n" + "\n".join(hanging(f"{number}. ", one.what, room)) + "  ", bold=True, nl=False)
        typer.secho(f"[{one.kind}]", dim=True)
        gain = _gain(now, tuned) if one.kind == "small-pages" else ""
        _say("   why   ", f"{one.why}{gain}", room)
        for way in one.ways:
            _say("   fix   ", f"{way.where}:", room)
            for line in way.command.splitlines():  # never broken: it is to be copied
                typer.echo(f"         {line}")
    if not found:
        typer.echo("\nnothing to advise")


def _say(begin: str, text: str, room: int | None) -> None:
    for line in hanging(begin, text, room):
        typer.echo(line)


def _pages(facts: Facts) -> str:
    if not facts.huge_page or facts.kernel_setting is None:
        return "this kernel has none for shared memory"
    if facts.mount.kind != "tmpfs":
        return f"none on {facts.mount.kind}; the kernel says {facts.kernel_setting} for shared memory"
    return f"huge={facts.mount.huge}; the kernel says {facts.kernel_setting}"


def _number(limit: int) -> str:
    return "any number of" if limit < 0 else str(limit)


def _show_speeds(now: Speeds, tuned: Speeds | None) -> None:
    typer.echo(f"\n   GiB/s, {format_size(now.nbytes)}      now" + ("" if tuned is None else "   huge pages"))
    for name, label in _ROWS.items():
        second = "" if tuned is None else f"{getattr(tuned, name) / _GIB:10.1f}"
        typer.echo(f"   {label:<17} {getattr(now, name) / _GIB:9.1f}{second}")


def _gain(now: Speeds | None, tuned: Speeds | None) -> str:
    if now is None or tuned is None:
        return ""
    times = tuned.times(now)
    return f" Measured here: put {times['put']:.1f} times as fast, first read {times['first_read']:.1f} times."
