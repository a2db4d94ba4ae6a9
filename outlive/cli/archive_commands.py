"""Commands that save arrays to a folder or to object storage, and load them: save, load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Optional

import typer

from outlive.cli.failures import explained, wrong_usage
from outlive.cli.not_installed import with_note
from outlive.cli.options import DEFAULT_STORE, Address, AsJson, Local, StoreName
from outlive.cli.progress import ProgressBar
from outlive.cli.text import print_json, printable
from outlive.units import count, format_size

Url = Annotated[
    str, typer.Argument(metavar="URL", help="A folder that all nodes see, or s3://BUCKET/PREFIX, gs://, az://.")
]
Prefix = Annotated[str, typer.Option(metavar="TEXT", help="Only keys that begin so.")]
Keys = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer evaluates it, also on Python 3.10
    typer.Option("--key", metavar="KEY", help="Only this key; may be given again for more."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `outlive`."""
    codes: dict[Callable[..., None], str] = {
        save: "0 saved; 1 no such key, or a damaged archive; 2 usage, no cluster, no such place.",
        load: "0 loaded; 1 no archive, a damaged one, values that need --pickle, or no room; 2 usage, no cluster.",
    }
    for command, about in codes.items():
        epilog = with_note(f"Exit codes: {about}", "save", "object storage")
        app.command(epilog=epilog, rich_help_panel="The whole store")(explained(command))


def save(
    url: Url,
    prefix: Prefix = "",
    keys: Keys = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Drop chosen keys that the store has not from the archive.")
    ] = False,
    store: StoreName = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Save arrays and values as plain files and a manifest. Files that are there already are not written again.

    Options of object storage come from the environment, as AWS_REGION and AWS_ENDPOINT_URL.

    [bold]Example[/bold]
    $ outlive save /backup/run7
    $ outlive save s3://bucket/run7 --prefix ct/
    """
    from outlive.cli.connection import open_store

    opened = open_store(store, address, local=local)
    with ProgressBar("save") as bar, wrong_usage():
        saved = opened.save(url, prefix=prefix, keys=keys or None, delete=delete, progress=bar.update)
    if as_json:
        print_json({"store": store, **saved._asdict()})
        return
    dropped = f", {len(saved.dropped):,} dropped" * bool(saved.dropped)
    typer.echo(
        f"{printable(saved.url)}: {count(saved.arrays, 'array')}, {format_size(saved.nbytes)}; "
        f"{saved.sent:,} sent, {format_size(saved.sent_bytes)}{dropped}"
    )


def load(
    url: Url,
    prefix: Prefix = "",
    keys: Keys = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace arrays that have these keys.")] = False,
    pickle: Annotated[
        bool, typer.Option("--pickle", help="Load pickled values too. They can run code when they are read.")
    ] = False,
    replicas: Annotated[int, typer.Option(min=1, metavar="N", help="On how many nodes to keep each.")] = 1,
    store: StoreName = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Load what `outlive save` has saved, verified. Keys that the store has already stay as they are.

    [bold]Example[/bold]
    $ outlive load /backup/run7
    $ outlive load s3://bucket/run7 --key ct/7 --replace
    """
    from outlive.cli.connection import open_store

    opened = open_store(store, address, local=local)
    with ProgressBar("load") as bar, wrong_usage():
        loaded = opened.load(
            url,
            prefix=prefix,
            keys=keys or None,
            replace=replace,
            pickle=pickle,
            replicas=replicas,
            progress=bar.update,
        )
    if as_json:
        print_json({"store": store, **loaded._asdict()})
        return
    kept = f"; {loaded.kept:,} were there already" * bool(loaded.kept)
    typer.echo(f"{printable(loaded.url)}: {count(loaded.arrays, 'array')} loaded, {format_size(loaded.nbytes)}{kept}")
