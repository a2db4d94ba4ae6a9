"""Where the server listens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="pip install 'outlive[dashboard]'")

from outlive.dashboard import server
from outlive.dashboard.admission import Admission
from outlive.dashboard.connections import _MOST
from outlive.errors import BadSetting

_ANY = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")


class _Asker:
    is_closed = False

    async def ask(self, method: str, *_: Any, **__: Any) -> Any:
        raise AssertionError(method)

    async def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("host", ["", "a..b", "x" * 70, "192.0.2.77", "::ffff:192.0.2.77"])
def test_hosts_that_are_none_of_this_machine(host: str) -> None:
    """The empty one would be anywhere, which is to be asked for."""
    asker = _Asker()
    with pytest.raises(BadSetting, match="--host is an address of this machine"):
        asyncio.run(server.serve(asker, host=host, port=0, token=None, started=lambda *_: None))
    assert asker.is_closed


def _listens(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[Any, ...]) -> list[str]:
    """Where it listens if a host has these addresses."""

    async def found(*_: Any, **__: Any) -> list[Any]:
        return [(family, *_ANY, address) for family, address in addresses]

    async def run() -> list[str]:
        sockets = await server._listen("localhost", 0)
        try:
            return [one.getsockname()[0] for one in sockets]
        finally:
            for one in sockets:
                one.close()

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", found)
    return asyncio.run(run())


def test_an_address_that_this_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is often ::1 too, where there is no IPv6."""
    lacking, here = (socket.AF_INET, ("192.0.2.77", 0)), (socket.AF_INET, ("127.0.0.1", 0))
    assert _listens(monkeypatch, lacking, here) == ["127.0.0.1"]
    assert _listens(monkeypatch, (999, ("", 0)), here) == ["127.0.0.1"]
    with pytest.raises(OSError, match="assign"):
        _listens(monkeypatch, lacking)


def test_connections_that_say_nothing_keep_nobody_out() -> None:
    """The oldest of strangers give way to new ones; those of people who were admitted stay."""
    from tests.dashboard.played import Played
    from tests.dashboard.serving import InThreads

    def said(connection: socket.socket, *lines: str) -> bytes:
        connection.sendall("\r\n".join(["GET /api/session HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode())
        return connection.recv(1 << 16)

    def visit(port: int, token: str) -> tuple[bytes, int, bytes]:
        with contextlib.ExitStack() as stack:

            def connected() -> socket.socket:
                return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))

            admitted = connected()
            assert b"200 OK" in said(admitted, f"Authorization: Bearer {token}")
            silent = [connected() for _ in range(3 * _MOST)]
            stranger = said(connected())
            ended = 0
            for one in silent:
                one.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    try:
                        ended += one.recv(1) == b""
                    except ConnectionResetError:
                        ended += 1
            return stranger, ended, said(admitted, f"Authorization: Bearer {token}")

    async def run() -> tuple[bytes, int, bytes]:
        listens: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

        def started(url: str, admission: Admission) -> None:
            listens.set_result((int(url.rstrip("/").rpartition(":")[2]), admission.token))

        asker = InThreads(Played(10, 10, 4))
        serving = asyncio.create_task(server.serve(asker, host="127.0.0.1", port=0, token=None, started=started))
        try:
            return await asyncio.to_thread(visit, *await listens)
        finally:
            serving.cancel()
            await asyncio.wait({serving})

    stranger, ended, admitted = asyncio.run(run())
    assert b"401" in stranger
    assert ended > _MOST  # some more are on their way at the same moment
    assert b"200 OK" in admitted
