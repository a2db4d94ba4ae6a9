"""The command as a process: quiet, interruptible, and clear about a cluster that is not there."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import subprocess
import sys
import termios
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.util import get_node_ip_address
from typer.testing import CliRunner

from outlive import __version__
from outlive.cli import npy_file
from outlive.cli.app import app
from tests.conftest import eventually
from tests.ports import free_ports

COMMANDS = [
    "put",
    "get",
    "ls",
    "info",
    "rm",
    "stats",
    "check",
    "shutdown",
    "nodes",
    "drain",
    "demo",
    "explain",
    "lint",
    "doctor",
    "tune",
    "versions",
    "workers",
]


LISTS = """
import sys, time
from types import SimpleNamespace
from ray._private import worker

def sleep(seconds):
    print(f"Ray slept {seconds} s", file=sys.stderr)

worker.time = SimpleNamespace(**{**vars(time), "sleep": sleep})
from outlive.cli import main
main()
"""


def test_json_is_the_only_thing_on_stdout_and_nothing_is_on_stderr(cli, store):
    """Nor does the end wait for Ray, which would print lines of workers meanwhile."""
    store["k"] = np.arange(3)
    command = [sys.executable, "-c", LISTS, "--address", cli.address, "ls", "--json"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert [about["key"] for about in json.loads(done.stdout)] == ["k"]
    assert done.stderr == b""
    assert done.returncode == 0


def test_a_reader_that_goes_away_is_no_traceback(cli, store):
    store.update({f"{'k' * 200}{i}": np.zeros(1) for i in range(1000)})  # more than a pipe holds
    process = cli.start("ls")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(120) == 141


def waits_for_input(process):
    """It has read all that there is, and sleeps until there is more."""
    unread = fcntl.ioctl(process.stdin, termios.FIONREAD, b"\0" * 4)
    return unread == b"\0" * 4 and "State:\tS" in Path(f"/proc/{process.pid}/status").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_interrupted_put_stores_nothing(cli, store, npy):
    data = npy(np.zeros(4 << 20, "u1")).read_bytes()
    process = cli.start("put", "-", "k", stdin=subprocess.PIPE)
    process.stdin.write(data[: 1 << 20])
    process.stdin.flush()
    eventually(lambda: waits_for_input(process))
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert process.stderr.read() == b""
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    assert len(store) == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupted_get_leaves_no_file_and_keeps_the_old_one(tmp_path, error):
    def interrupt(done, total):
        assert len(list(tmp_path.iterdir())) == 2
        raise error

    path = tmp_path / "out.npy"
    path.write_text("mine")
    with pytest.raises(error):
        npy_file.save(np.zeros(10), path, interrupt, force=True)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


def test_a_file_that_shrinks_while_it_is_read(npy):
    path = npy(np.zeros(1000))
    header = npy_file.read_header(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(npy_file.BadFile, match="became shorter"):
        header.read_into(np.empty(1000), lambda done, total: None)


def run(*arguments, **environment):
    return CliRunner().invoke(app, list(arguments), env=environment)


@pytest.fixture
def nobody():
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", *free_ports(1)))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_no_cluster(nobody):
    for result in (run("ls", "--address", nobody), run("ls", RAY_ADDRESS=nobody)):
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"no Ray cluster at {nobody}" in result.stderr
        assert "ray start --head" in result.stderr
        assert len(result.stderr.splitlines()) == 1
    result = run("--json", "stats", RAY_ADDRESS=nobody)
    assert json.loads(result.stderr)["type"] == "StoreUnavailable"


@pytest.mark.parametrize(("what", "host"), [("silent", "127.0.0.1"), ("silent", "0.0.0.0"), ("http", "0.0.0.0")])
def test_a_port_of_something_else(what, host, monkeypatch):
    """`ray.init` would wait for minutes."""
    monkeypatch.setattr("outlive.ray_internals.authentication._PATIENCE", 1.0)
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # other tests of this process have joined a cluster
    if host == "0.0.0.0" and not hasattr(ray._raylet, "AuthenticationTokenLoader"):
        pytest.skip(
            f"Ray {ray.__version__} has no tokens, so that no cluster is asked for its mode before it is joined"
        )
    (port,) = free_ports(1)  # Ray asks at another address of this machine, where nobody may be either
    with ExitStack() as stack:
        if what == "silent":
            stack.enter_context(socket.create_server((host, port)))
        else:
            server = stack.enter_context(ThreadingHTTPServer((host, port), BaseHTTPRequestHandler))
            monkeypatch.setattr(BaseHTTPRequestHandler, "log_message", lambda *_: None)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        result = run("ls", "--address", f"127.0.0.1:{port}")
    assert (result.exit_code, result.stdout) == (2, "")
    # Ray takes an address of this machine alone for the machine's own, if it has another.
    elsewhere = host == "127.0.0.1" and get_node_ip_address() != host
    assert ("nothing listens there" if elsewhere else "did not answer within 1 s") in result.stderr


@pytest.mark.parametrize(
    "address", ["local", "ray://127.0.0.1:1", "ray://", "http://127.0.0.1:1", "nonsense", ":1", "host:99999999"]
)
def test_addresses_that_are_refused(address):
    result = run("ls", "--address", address)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "arguments", [["nope"], ["ls", "--nope"], ["put", "x.npy"], ["get", "k"], ["rm"], ["info"], ["--store"]]
)
def test_wrong_usage(arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_exit_codes(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"$ outlive {command}" in result.stdout
    assert "Exit codes: 0 " in result.stdout


def test_help_lists_every_command():
    text = run("--help").stdout
    assert all(command in text for command in COMMANDS)


def test_help_needs_neither_ray_nor_numpy():
    program = (
        "import sys; from typer.testing import CliRunner; from outlive.cli.app import app; "
        "code = CliRunner().invoke(app, ['--help']).exit_code; "
        "sys.exit(code or str({'ray', 'numpy'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.strip() == ""


def test_version():
    done = subprocess.run([sys.executable, "-m", "outlive", "--version"], capture_output=True, timeout=120, check=True)
    assert done.stdout.decode() == f"outlive {__version__}\n"
