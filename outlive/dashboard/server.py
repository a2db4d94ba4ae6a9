"""The HTTP server: an application of aiohttp, and running it until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
from collections.abc import Callable
from typing import Any

from aiohttp import web

from outlive.dashboard import actions, answers, events, pages
from outlive.dashboard.admission import BEARER, Admission, same_origin
from outlive.dashboard.connections import BACKLOG, Connections
from outlive.dashboard.headers import HEADERS
from outlive.dashboard.rows import BadRequest
from outlive.dashboard.site import Site
from outlive.dashboard.sources import Asker
from outlive.errors import BadSetting

_LARGEST = 64 << 10  # bytes of a request
_TO_END = 0.2  # seconds for connections to end


def application(site: Site) -> Any:
    """The application of a site."""
    app = web.Application(client_max_size=_LARGEST, middlewares=[web.middleware(_guard)])
    app[answers.SITE] = site
    app[actions.PREVIEWS] = actions.Previews()
    for module in (pages, answers, actions, events):
        app.add_routes(module.routes())

    async def begin(_: Any) -> None:
        site.begin()

    async def end(_: Any) -> None:
        await site.close()

    async def dress(_: Any, response: Any) -> None:
        response.headers.update({name: value for name, value in HEADERS.items() if name not in response.headers})

    app.on_startup.append(begin)
    app.on_shutdown.append(end)
    app.on_response_prepare.append(dress)
    return app


async def _guard(request: Any, handler: Callable[[Any], Any]) -> Any:
    """Refuse what is not asked by the page itself; tell errors as text."""
    admission = request.app[answers.SITE].admission
    bearer = request.headers.get("Authorization", "")
    try:
        if not admission.knows_host(request.host):
            raise web.HTTPMisdirectedRequest(text="this host name is none of the dashboard's: see --allow-host")
        if request.path not in pages.OPEN and not admission.admits(request.cookies, bearer):
            raise web.HTTPUnauthorized(text="the token is missing, or another server's: open the address again")
        if request.path not in pages.OPEN:
            request.app[answers.SITE].admitted(request.protocol)
        changes = request.method not in {"GET", "HEAD"} and not bearer.startswith(BEARER)
        if changes and not same_origin(request.headers.get("Origin"), request.host):
            raise web.HTTPForbidden(text="changes are made by the dashboard's own page alone")
        return await handler(request)
    except BadRequest as error:
        return web.Response(status=400, text=str(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return web.Response(status=error.status, text=error.text)


async def serve(
    ask: Asker,
    *,
    host: str,
    port: int,
    token: str | None,
    names: tuple[str, ...] = (),
    read_only: bool = False,
    started: Callable[[str, Admission], None],
) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    port
        0: any that is free.
    token
        None: a new one is made.
    names
        Host names under which the page may be asked for.
    started
        Called once the server listens, with its address.

    Raises
    ------
    BadSetting
        The port is taken, or the host is none of this machine.
    """
    try:
        listening = await _listen(host, port)
    except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
        await ask.close()
        raise BadSetting(_why(error, host, port)) from None
    port = listening[0].getsockname()[1]
    admission = Admission(token, port, (host, *names))
    site = Site(ask, admission, read_only=read_only)
    runner = web.AppRunner(application(site), access_log=None, shutdown_timeout=_TO_END)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    servers: list[asyncio.Server] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    try:
        await runner.setup()
        connections = Connections(runner.server)
        site.admitted = connections.admit
        servers += [await loop.create_server(connections, sock=one, backlog=BACKLOG) for one in listening]
        shown = f"[{host}]" if ":" in host else host
        started(f"http://{shown}:{port}/", admission)
        await over.wait()
    finally:
        for server in servers:
            server.close()
        with contextlib.suppress(asyncio.CancelledError):
            await runner.cleanup()


async def _listen(host: str, port: int) -> list[Any]:
    """Sockets that listen at all addresses of a host, at one port."""
    import socket

    loop = asyncio.get_running_loop()
    if not host:  # which would be anywhere: that is to be asked for
        raise OSError(errno.EINVAL, "the host is empty")
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[Any] = []
    lacking: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            one = socket.socket(family, kind, protocol)
        except OSError as error:  # a machine without IPv6
            lacking = error
            continue
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken = sockets[0].getsockname()[1] if sockets else address[1]
            one.bind((address[0], taken, *address[2:]))
            one.listen(128)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:  # /etc/hosts often has an address of `localhost` that is not there
                one.close()
                lacking = error
                continue
            for other in (one, *sockets):
                other.close()
            raise
        sockets.append(one)
    if not sockets and lacking is not None:
        raise lacking
    return sockets


def _why(error: OSError | UnicodeError, host: str, port: int) -> str:
    if isinstance(error, UnicodeError):
        return f"no host is named {host!r:.80}; --host is an address of this machine"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken, by another dashboard perhaps: --port 0 takes any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is not for this user: --port takes one above 1023"
    return f"cannot listen at {host}, port {port}: {error.strerror or error}; --host is an address of this machine"
