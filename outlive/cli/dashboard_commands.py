"""The command that shows a cluster as a web page: dashboard."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Optional
from urllib.parse import urlencode

import typer

from outlive.cli.failures import explained
from outlive.cli.not_installed import with_note
from outlive.cli.options import Address, AsJson
from outlive.cli.text import print_json

if TYPE_CHECKING:
    from outlive.dashboard.admission import Admission
    from outlive.dashboard.child import Child

_PORT = 8266  # Ray's own has 8265


def register(app: typer.Typer) -> None:
    """Add the command to `outlive`."""
    codes = "Exit codes: 0 ended by Ctrl-C; 2 usage, no cluster, the port is taken, something not installed."
    app.command(epilog=with_note(codes, "dashboard"), rich_help_panel="Understand")(explained(dashboard))


def dashboard(
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Where to listen; 0.0.0.0: anywhere.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0: any that is free.")] = _PORT,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show all, and let nobody change anything.")] = False,
    allow_host: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer evaluates it, also on Python 3.10
        typer.Option("--allow-host", metavar="NAME", help="A host name that the page is opened by; may be repeated."),
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Show one cluster as a live web page: workers, arrays, nodes, the doctor, the last hour.

    Prints the address, with a token in it: keep it to yourself. Where RAY_AUTH_MODE
    is token, the page asks for Ray's token instead. Idle workers are trimmed and
    nodes drained from the page, each after a preview. Ctrl-C ends it.

    [bold]Example[/bold]
    $ outlive dashboard
    $ outlive dashboard --read-only --port 0 --no-open
    $ ssh -L 8266:localhost:8266 HEAD outlive dashboard --no-open
    """
    import asyncio

    from outlive.dashboard.child import Child
    from outlive.dashboard.ray_token import ray_token
    from outlive.extras import need

    need("aiohttp")
    need("ray")
    looker = [sys.executable, "-m", "outlive.cli.dashboard_looker", *([address] if address else [])]
    token = ray_token()

    async def run(stack: contextlib.ExitStack) -> None:
        child = Child(looker)
        await _check(child)
        from outlive.dashboard.server import serve

        def started(url: str, admission: Admission) -> None:
            _say(url, admission, stack, no_open=no_open, as_json=as_json)

        names = tuple(allow_host or ())
        await serve(child, host=host, port=port, token=token, names=names, read_only=read_only, started=started)

    with contextlib.ExitStack() as stack:
        asyncio.run(run(stack))


async def _check(child: Child) -> None:
    """Find the cluster before anything listens. Raises StoreUnavailable."""
    from outlive.dashboard.sources import SourceError
    from outlive.errors import StoreUnavailable

    try:
        await child.ask("about")
    except BaseException as error:
        await child.close()
        if isinstance(error, SourceError):
            raise StoreUnavailable(str(error)) from None
        raise


def _say(url: str, admission: Admission, stack: contextlib.ExitStack, *, no_open: bool, as_json: bool) -> None:
    from outlive.dashboard import browser

    full = f"{url}?{urlencode({'token': admission.token})}" if admission.is_own else url
    if as_json:
        print_json({"url": full})
    else:
        typer.echo(full)
        if not admission.is_own:
            typer.echo("it asks for the cluster's token: `ray get-auth-token` prints it", err=True)
        typer.echo("Ctrl-C ends it", err=True)
    sys.stdout.flush()
    if not no_open and browser.has_one() and sys.stdout.isatty():
        stack.enter_context(browser.opened(full))
