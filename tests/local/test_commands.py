"""Commands with --local: on the store of this machine, where Ray is not installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import outlive as library
from outlive.cli import start_page
from outlive.cli.app import app
from outlive.cli.form import LOCAL
from tests.conftest import eventually

from .conftest import REPOSITORY, WITHOUT_RAY, is_running, keeper_of


@pytest.fixture
def outlive(shared_root, monkeypatch):
    """Runs a command, and gives what it prints."""
    monkeypatch.setenv("OUTLIVE_ROOT", shared_root)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(start_page, "_ray_runs", lambda: False)
    monkeypatch.setattr(start_page, "_SECONDS", 120)

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [*arguments])
        assert done.exit_code == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def test_without_ray(outlive, shared_root):
    """Nor is it loaded where it is installed."""
    program = f"{WITHOUT_RAY}sys.argv = ['outlive', 'ls', '--local']\nfrom outlive.cli import main\nmain()"
    command = [sys.executable, "-c", program]
    library.open(local=True, root=shared_root)["ct/8"] = np.zeros(3)
    assert subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, check=True).stdout == "ct/8\n"
    outlive("rm", "ct/8", "--local")


def test_arrays(outlive, shared_root, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # a store without Ray asks nobody there
    np.save(tmp_path / "scan.npy", np.arange(100_000))
    assert "int64 (100000,)" in outlive("put", str(tmp_path / "scan.npy"), "ct/7", "--local")
    assert outlive("--local", "ls", "ct/") == "ct/7\n"
    assert os.uname().nodename in outlive("ls", "--long", "--local")
    outlive("get", "ct/7", "-o", str(tmp_path / "copy.npy"), "--local")
    assert np.load(tmp_path / "copy.npy").sum() == np.arange(100_000).sum()
    assert f"{shared_root}/local" in outlive("info", "ct/7", "--local")
    assert json.loads(outlive("stats", "--local", "--json"))["arrays"] == 1
    assert "all is well" in outlive("check", "--local")
    outlive("save", str(tmp_path / "saved"), "--local")
    assert "deleted 1 array" in outlive("rm", "ct/7", "--local")
    assert "no array 'ct/7'" in outlive("rm", "ct/7", "--local", code=1)
    assert "1 array loaded" in outlive("load", str(tmp_path / "saved"), "--local")
    assert library.open(local=True, root=shared_root)["ct/7"][-1] == 99_999
    assert "deleted 1 array" in outlive("shutdown", "--local", "--yes")
    eventually(lambda: not os.path.exists(f"{shared_root}/local"))
    assert "no local store is here" in outlive("shutdown", "--local")


def test_it_is_for_some(outlive):
    assert "nodes has no --local" in outlive("--local", "nodes", code=2)
    assert "leave out either" in outlive("ls", "--local", "--address", "10.0.0.1:6379", code=2)
    assert all("--local" in outlive(command, "--help") for command in LOCAL)


def test_the_start_page(outlive, shared_root):
    assert "No local store is here" in outlive("--local") and "local" not in json.loads(outlive("--json"))
    store = library.open(local=True, root=shared_root)
    store["k"] = np.zeros(1 << 20)
    assert f"The local store {shared_root} holds 1 array, 8.0 MiB of" in outlive()
    assert "$ outlive ls --long --local" in outlive("--local")
    found = json.loads(outlive("--json"))
    assert (found["address"], found["local"]["arrays"]) == (None, 1)
    pid = keeper_of(shared_root)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))
    assert "its keeper has ended" in outlive("--local")  # and none is started for a page
    assert store["k"].size == 1 << 20
    store.clear()
