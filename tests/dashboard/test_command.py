"""`outlive dashboard` on a real Ray: as a process, from its first line to Ctrl-C."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.conftest import eventually
from tests.dashboard.played import HOSTILE

pytest.importorskip("aiohttp", reason="pip install 'outlive[dashboard]'")

ROOT = Path(__file__).parents[2]
_FILLED = f"""
import sys
import numpy as np, ray, outlive
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
ray.get(ray.remote(lambda: None).remote())  # its worker stays, idle
store = outlive.open()
store["ct/7"] = np.arange(40 * 64 * 64, dtype=np.int16).reshape(40, 64, 64)
store.put(np.ones(3), key={HOSTILE[0]!r}, ttl="1h")
store.get("ct/7")
print("filled", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def process(*command: str, **variables: str | None) -> Iterator[subprocess.Popen[str]]:
    """A process with these environment variables; None: without it."""
    pipe = subprocess.PIPE
    given = {**os.environ, "RAY_ADDRESS": None, "COLUMNS": None, **variables}
    environment = {key: value for key, value in given.items() if value is not None}
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, env=environment) as one:
        assert one.stdin is not None
        try:
            yield one
        finally:
            one.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(1 if "dashboard" in command else 60)
            one.kill()


def line(one: subprocess.Popen[str]) -> str:
    assert one.stdout is not None
    return one.stdout.readline().strip()


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with process(sys.executable, "-m", "tests.cli.cluster") as ray:
        address = line(ray)
        assert address
        with process(sys.executable, "-c", _FILLED, address) as driver:
            assert line(driver) == "filled"
            yield address


@contextlib.contextmanager
def dashboard(address: str, *options: str, **variables: str | None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = (sys.executable, "-m", "outlive", "dashboard", "--address", address, "--no-open", "--json")
    with process(*command, "--port", "0", *options, **variables) as one:
        assert one.stdout is not None
        text = "".join(iter(one.stdout.readline, "}\n")) + "}"
        yield one, json.loads(text)["url"]


def ask(url: str, path: str, document: Any = None, **parameters: Any) -> Any:
    parts = urlsplit(url)
    headers = {"Authorization": f"Bearer {parts.query.removeprefix('token=')}"}
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    try:
        if document is None:
            connection.request("GET", f"/api/{path}?{urlencode(parameters)}", headers=headers)
        else:
            headers["Content-Type"] = "application/json"
            connection.request("POST", f"/api/{path}", json.dumps(document), headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return json.loads(body) if answer.headers.get_content_type() == "application/json" else body
    finally:
        connection.close()


@pytest.fixture(scope="module")
def page(cluster: str) -> Iterator[str]:
    with dashboard(cluster) as (one, url):
        yield url
        one.send_signal(signal.SIGINT)
        assert one.wait(60) == 0


def test_session(page: str, cluster: str) -> None:
    about = ask(page, "session")
    assert about["address"] == cluster
    assert about["read_only"] is False


def test_arrays(page: str) -> None:
    rows = {row["key"]: row for row in ask(page, "arrays")["rows"]}
    assert set(rows) == {"ct/7", HOSTILE[0]}
    volume, small = rows["ct/7"], rows[HOSTILE[0]]
    assert (volume["shape"], volume["dtype"], volume["nbytes"]) == ([40, 64, 64], "int16", 40 * 64 * 64 * 2)
    assert volume["read_at"] >= volume["put_at"] - 1
    assert (volume["on_disk"], volume["replicas"], volume["ends_at"]) == (False, 1, None)
    assert 3000 < small["ends_at"] - small["put_at"] < 4000
    png = ask(page, "picture", key="ct/7", id=volume["id"], at=3)
    assert png.startswith(b"\x89PNG")


def test_workers_and_trim(page: str) -> None:
    found = ask(page, "workers")
    assert {"idle", "actor"} <= {row["state"] for row in found["rows"]} <= {"idle", "actor", "running"}
    assert all(row["why"] for row in found["rows"])
    shown = ask(page, "trim/preview", {"max_idle": 0})
    done = ask(page, "trim", {"preview": shown["preview"]})
    assert done["chosen"]
    assert {row["id"] for row in done["chosen"]} <= {row["id"] for row in shown["chosen"]}
    assert all(row["left"] for row in done["chosen"]), [row["outcome"] for row in done["chosen"]]


def test_nodes_and_drain(page: str) -> None:
    [node] = ask(page, "nodes")["rows"]
    assert (node["role"], node["arrays"], node["alone"], node["silent"]) == ("head", 2, 2, False)
    assert 0 < node["used"] < node["budget"]
    shown = ask(page, "drain/preview", {"node": node["id"]})
    assert (shown["others"], shown["room"], shown["node"]["alone"]) == (0, 0, 2)
    ask(page, "drain", {"preview": shown["preview"]})
    result = eventually(lambda: ask(page, "nodes")["drains"][node["id"]].get("result"))
    assert "no other node has room" in result["stayed"]


def test_doctor(page: str) -> None:
    diagnosis = ask(page, "doctor")["diagnosis"]
    assert diagnosis["nodes"] == 1
    assert isinstance(diagnosis["findings"], list)


def test_a_port_that_is_taken(cluster: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "outlive", "dashboard", "--address", cluster, "--no-open", "--port", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_cluster() -> None:
    command = [sys.executable, "-m", "outlive", "dashboard", "--address", "127.0.0.1:1", "--no-open"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 2
    assert "no Ray cluster at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cluster_that_ends() -> None:
    with process(sys.executable, "-m", "tests.cli.cluster") as ray:
        address = line(ray)
        with dashboard(address, "--read-only") as (one, url):
            assert ask(url, "workers")["state"]["error"] is None
            assert ray.stdin is not None
            ray.stdin.close()
            ray.wait(60)
            ask(url, "look", {})
            eventually(lambda: ask(url, "workers")["state"]["error"], 120)
            one.send_signal(signal.SIGTERM)
            assert one.wait(60) == 0


def test_a_cluster_that_asks_for_a_token(tmp_path: Path) -> None:
    """The looker finds that out, and all of its threads send the token."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("5eb" * 20 + "77")
    home = str(tmp_path)
    with (
        process(sys.executable, "-m", "tests.cli.cluster", HOME=home, RAY_AUTH_MODE="token") as ray,
        dashboard(line(ray), HOME=home, RAY_AUTH_MODE=None) as (one, url),
    ):
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                answers = [pool.submit(ask, url, view) for view in ("workers", "nodes", "doctor")]
                shown = pool.submit(ask, url, "trim/preview", {"max_idle": 0})
                ask(url, "look", {})
                workers, nodes, doctor = (answer.result() for answer in answers)
                assert [answer["state"]["error"] for answer in (workers, nodes, doctor)] == [None] * 3
                assert (workers["unseen"], shown.result()["unseen"]) == ([], [])
                assert "silent-node" not in {found["kind"] for found in doctor["diagnosis"]["findings"]}
        one.send_signal(signal.SIGINT)
        assert one.wait(60) == 0
