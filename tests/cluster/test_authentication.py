"""Clusters that ask for a token, and programs that come to them in each way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import ray
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.errors import StoreUnavailable
from outlive.ray_internals import authentication
from tests import turns
from tests.ports import free_ports

pytestmark = pytest.mark.skipif(
    not hasattr(ray._raylet, "AuthenticationTokenLoader"), reason=f"Ray {ray.__version__} has no tokens"
)
SECRET = "5eb" * 20 + "77"
OTHER = "0dd" * 20 + "11"


class Head(NamedTuple):
    address: str
    client: str
    """The address for Ray Client."""
    home: Path
    """A folder with the token in it."""


@contextmanager
def head(home: Path, mode: str) -> Iterator[Head]:
    """A cluster in another process."""
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text(SECRET)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.cluster.head", str(port)]
    env = environment(home, RAY_AUTH_MODE=mode)
    with turns.ray_client_server():
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        assert process.stdout is not None
        try:
            words = next(line.split() for line in process.stdout if line.startswith("address "))
            yield Head(words[1], f"ray://127.0.0.1:{port}", home)
        finally:
            process.communicate(timeout=120)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Of a user who set nothing."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_AUTH_", "RAY_ADDRESS"))}
    return {**mine, "HOME": str(home), **more}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with head(tmp_path_factory.mktemp("locked"), "token") as found:
        yield found


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of somebody without a token."""
    return tmp_path_factory.mktemp("nobody")


WRITES = """
import sys, numpy as np, ray, outlive
store = outlive.open(address=sys.argv[1] if sys.argv[1:] else None)
@ray.remote
def far(handle):
    return int(handle.get().sum()), outlive.open().put(np.ones(30_000))
there, back = ray.get(far.remote(store.put(np.ones(20_000))))
print("sums", there, int(back.get().sum()), flush=True)
"""


def run(program: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, timeout=180, check=False, env=env,
    )  # fmt: skip


def outlive(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "outlive", *arguments],
        capture_output=True, text=True, timeout=180, check=False, env=env,
    )  # fmt: skip


@pytest.mark.parametrize("way", ["address", "variable", "found", "client"])
def test_the_token_that_is_there_is_used(locked: Head, way: str) -> None:
    env, arguments = environment(locked.home), []
    if way == "address":
        arguments = [locked.address]
    elif way == "variable":
        env["RAY_ADDRESS"] = locked.address
    elif way == "client":
        arguments = [locked.client]
    done = run(WRITES, *arguments, env=env)
    assert "sums 20000 30000" in done.stdout, done.stderr


def test_commands(locked: Head) -> None:
    for arguments in (["workers"], ["workers", "--address", locked.address], ["ls", "--address", locked.client]):
        done = outlive(*arguments, env=environment(locked.home))
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["address", "client"])
def test_who_has_no_token_is_told_where_it_is_looked_for(locked: Head, nobody: Path, kind: str) -> None:
    address = getattr(locked, kind)
    done = outlive("ls", "--address", address, env=environment(nobody))
    assert done.returncode == 2
    for part in (address, "RAY_AUTH_TOKEN is not set", f"{nobody}/.ray/auth_token holds none", "get-auth-token"):
        assert part in done.stderr.replace("\n", "")


def test_another_token_is_named_by_its_place(locked: Head, nobody: Path) -> None:
    done = outlive("ls", "--address", locked.address, env=environment(nobody, RAY_AUTH_TOKEN=OTHER))
    assert "does not accept the token of RAY_AUTH_TOKEN" in done.stderr
    assert OTHER not in done.stderr


def test_the_token_of_a_file_that_is_named(locked: Head, nobody: Path) -> None:
    path = locked.home / ".ray" / "auth_token"
    done = outlive("ls", "--address", locked.address, env=environment(nobody, RAY_AUTH_TOKEN_PATH=str(path)))
    assert done.returncode == 0, done.stderr
    wrong = outlive("ls", "--address", locked.address, env=environment(nobody, RAY_AUTH_TOKEN_PATH="/nowhere/t"))
    assert "/nowhere/t holds none" in wrong.stderr


def test_a_mode_that_forbids_it_is_obeyed(locked: Head) -> None:
    done = outlive("ls", "--address", locked.address, env=environment(locked.home, RAY_AUTH_MODE="disabled"))
    assert "RAY_AUTH_MODE=disabled forbids it" in done.stderr


TWICE = """
import sys, numpy as np, ray, outlive
for address in sys.argv[1:]:
    store = outlive.open(address=address)
    assert store.put(np.ones(20_000)).get().sum() == 20_000
    ray.shutdown()
print("done")
"""


def test_a_cluster_without_tokens_is_joined_without(tmp_path: Path, locked: Head) -> None:
    """Although there is one, and by a program that has been to a cluster with one."""
    with head(tmp_path / "home", "disabled") as free:
        for address in (free.address, free.client):
            done = run(WRITES, address, env=environment(free.home))
            assert "sums 20000 30000" in done.stdout, done.stderr
        done = run(TWICE, locked.address, free.address, locked.address, env=environment(locked.home))
        assert done.stdout.endswith("done\n"), done.stderr


@pytest.mark.parametrize("grpc", [True, False])
def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, grpc: bool) -> None:
    monkeypatch.setattr(authentication, "_PATIENCE", 0.2)
    if not grpc:
        monkeypatch.setitem(sys.modules, "grpc", None)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(StoreUnavailable, match="did not answer"):
            authentication.agree(f"127.0.0.1:{silent.getsockname()[1]}")


def test_a_cluster_that_is_starting_behind_a_server_that_accepts_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a proxy in the same pod does. `ray.init` waits for minutes."""
    answers = list[bool | None]()

    def asked(*_: object) -> bool | None:
        time.sleep(0.1)
        return answers.pop(0) if answers else None

    monkeypatch.setattr(authentication, "_PATIENCE", 0.1)
    monkeypatch.setattr(authentication, "_asked", asked)
    with socket.socket() as between:
        between.bind(("127.0.0.1", 0))
        between.listen()
        address = f"127.0.0.1:{between.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match="did not answer"):
            authentication.agree(address)
        answers += [None, None, True]
        authentication.agree(address, 60.0)
    assert answers == []


WITHOUT_GRPC = "import sys; sys.modules['grpc'] = None\n"


def test_without_grpcio(locked: Head, nobody: Path) -> None:
    """It comes with an extra."""
    done = run(WITHOUT_GRPC + WRITES, locked.address, env=environment(locked.home))
    assert "sums 20000 30000" in done.stdout, done.stderr
    done = run(WITHOUT_GRPC + WRITES, locked.address, env=environment(nobody))
    assert "a token is needed, and none was found" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["workers"], ["workers", "trim", "--max-idle", "0"], ["workers", "record", "-o", "t.parquet"],
     ["workers", "check"], ["doctor"],
     ["explain", "00" * 28]],
    ids=" ".join,
)  # fmt: skip
def test_commands_that_ask_the_nodes_themselves_say_so_of_ray_client(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*arguments, "--address", "ray://127.0.0.1:1"])
    assert done.exit_code == 2
    assert "ray job submit -- outlive" in done.stderr
    assert "put, get, rm" in done.stderr


def test_a_mode_that_is_kept_is_never_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a moment: other threads make channels meanwhile."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET)
    modes = list[str | None]()

    def admits(*_: object) -> bool:
        modes.append(os.environ.get("RAY_AUTH_MODE"))
        return modes[-1] == "token"

    monkeypatch.setattr(authentication, "_admits", admits)
    try:
        for _ in range(2):
            authentication.agree("127.0.0.1:1")
        assert modes == [None, "token"] * 2
        authentication.keep()
        authentication.agree("127.0.0.1:1")
        assert modes[4:] == ["token"]
    finally:
        monkeypatch.undo()
        ray._raylet.Config.initialize("")
