"""Ports, TLS, and how everything is turned off."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from outlive.errors import BadSetting
from outlive.transfer import settings
from outlive.transfer.channel import Channel, Lost, connect
from outlive.transfer.server import Server
from tests.conftest import eventually
from tests.transfer.conftest import MIB, Files, link_to
from tests.transfer.test_link import read


@pytest.mark.parametrize(
    ("value", "expected"), [("", [0]), ("7070", [7070]), ("7070-7072", [7070, 7071, 7072]), (" 0 ", [0])]
)
def test_ports(value: str, expected: list[int]) -> None:
    assert list(settings.ports({settings.PORT: value})) == expected


@pytest.mark.parametrize("value", ["x", "7072-7070", "-1", "65536", "7070-", "1.5"])
def test_what_is_no_port(value: str) -> None:
    with pytest.raises(ValueError, match="OUTLIVE_TRANSFER_PORT=.*: it is a port, as 7070, or a range"):
        settings.ports({settings.PORT: value})


def test_off() -> None:
    assert settings.is_off({settings.TRANSFER: "ray"})
    assert not settings.is_off({})
    assert not settings.is_off({settings.TRANSFER: "direct"})
    with pytest.raises(ValueError, match="OUTLIVE_TRANSFER=no"):
        settings.is_off({settings.TRANSFER: "no"})


def test_a_range_has_room_for_several_keepers_of_one_machine(start_server: Callable[..., Server]) -> None:
    first = start_server()
    ports = (first.port, 0)
    assert start_server(ports=ports).port != first.port
    with pytest.raises(OSError, match="in use"):
        start_server(ports=(first.port,))


# --- TLS


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def certificates(folder: Path, name: str, alternatives: str = "DNS:localhost") -> dict[str, str]:
    """As Ray is told of them: an authority, and a certificate that it signed, with these names of the machine."""
    made = {kind: str(folder / f"{name}.{kind}") for kind in ("ca", "ca-key", "key", "request", "cert", "names")}
    Path(made["names"]).write_text(f"subjectAltName={alternatives}\n")
    new = ("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run(*new, "-x509", "-subj", f"/CN={name}-ca", "-days", "2", "-keyout", made["ca-key"], "-out", made["ca"])
    run(*new, "-subj", f"/CN={name}", "-keyout", made["key"], "-out", made["request"])
    sign = ("openssl", "x509", "-req", "-days", "2", "-CAcreateserial", "-in", made["request"], "-out", made["cert"])
    run(*sign, "-CA", made["ca"], "-CAkey", made["ca-key"], "-extfile", made["names"])
    names = {"RAY_TLS_SERVER_CERT": "cert", "RAY_TLS_SERVER_KEY": "key", "RAY_TLS_CA_CERT": "ca"}
    return {"RAY_USE_TLS": "1", **{name: made[kind] for name, kind in names.items()}}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl makes certificates here")
def test_tls(start_server: Callable[..., Server], files: Files, tmp_path: Path) -> None:
    array_id, data = files.add(9 * MIB + 1)
    ours, theirs = (settings.tls(certificates(tmp_path, name)) for name in ("ours", "theirs"))
    there = start_server(tls=ours)
    link = link_to(there, tls=ours)
    for _ in range(2):
        assert read(link, array_id, 0, len(data)) == data
    assert len(there._door._inside) == 2  # what is there is used again
    for stranger in (theirs, None):
        with pytest.raises(Lost):
            read(link_to(there, tls=stranger), array_id)
    eventually(lambda: there.counts.refused == 2)
    with pytest.raises(Lost):
        read(link_to(start_server(), tls=ours), array_id)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl makes certificates here")
def test_what_is_aborted_goes_on_by_tls_or_not_at_all(tmp_path: Path) -> None:
    """Not in the clear: `SSLSocket.shutdown` ends TLS before it ends the connection, and another thread goes on."""
    ours = settings.tls(certificates(tmp_path, "ours"))
    assert ours is not None
    deadline = time.monotonic() + 20
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        client = connect(listener.getsockname(), 5)
        server = Channel(listener.accept()[0])
        done = thread.submit(server.secure, ours.server, deadline, server=True)
        client.secure(ours.client, deadline, server=False)
        done.result()
        server.send([b"outlive" * 10], 5)
        assert select.select([client.socket], [], [], 20)[0]
        client.abort()
        assert client.read(70, deadline) == b"outlive" * 10  # it had come before
        for goes_on in (lambda: client.read(1, deadline), lambda: client.send([b"outlive"], 5)):
            with pytest.raises(Lost):
                goes_on()
        client.close()
        server.close()


def test_tls_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    assert settings.tls({"RAY_USE_TLS": "0"}) is None
    with pytest.raises(ValueError, match="RAY_TLS_SERVER_CERT is not"):
        settings.tls({"RAY_USE_TLS": "1"})
    files = dict.fromkeys(("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"), str(tmp_path / "none"))
    with pytest.raises(ValueError, match="cannot be read"):
        settings.tls({"RAY_USE_TLS": "1", **files})


def test_ports_of_calls() -> None:
    on = {"OUTLIVE_CALLS": "port"}
    assert [list(settings.call_ports(one)) for one in ({}, on)] == [[0], [0]]
    assert list(settings.call_ports(on | {"OUTLIVE_CALLS_PORT": "7080-7081"})) == [7080, 7081]
    for off in ({"OUTLIVE_CALLS": "ray"}, on | {"OUTLIVE_TRANSFER": "ray"}, on | {"OUTLIVE_TRANSFER_PORT": "7070"}):
        with pytest.raises(BadSetting):
            settings.call_ports(off)
    for wrong in ({"OUTLIVE_CALLS": "tcp"}, on | {"OUTLIVE_CALLS_PORT": "none"}):
        with pytest.raises(BadSetting, match="OUTLIVE_CALLS"):
            settings.call_ports(wrong)
