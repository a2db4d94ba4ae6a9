"""`outlive` alone says what there is and what to type next: soon, whatever the cluster does."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from outlive.cli import start_page
from outlive.cli.app import app
from tests.ports import free_ports

ANSWER = {"address": "10.0.0.1:6379", "arrays": 2, "nbytes": 3 << 30, "budget": 7 << 30, "nodes": 1, "silent": 0}


@pytest.fixture(autouse=True)
def _no_ray_runs(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(start_page, "_ray_runs", lambda: False)


def outlive(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def answering(monkeypatch, program: str) -> None:
    """Have this program answer in place of the one that asks a cluster."""
    monkeypatch.setattr(start_page, "_ray_runs", lambda: True)
    monkeypatch.setattr(start_page, "_ASK", program)


def test_without_a_cluster_nobody_is_asked(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    said = outlive()
    assert "No Ray cluster runs here." in said
    assert "$ ray start --head" in said
    assert "$ outlive lint src" in said
    assert json.loads(outlive("--json")) == {"address": None}


def test_without_ray_nobody_is_asked_either(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert "Ray is not installed here: pip install 'outlive[ray]'" in outlive()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, "The Ray cluster 10.0.0.1:6379 holds 2 arrays, 3.0 GiB of 7.0 GiB, on 1 node."),
        ({"arrays": 0, "nbytes": 0, "budget": 0, "nodes": 0}, "holds no arrays."),
        ({"silent": 1}, "on 1 node; 1 node did not answer."),
    ],
    ids=["arrays", "none", "silent"],
)
def test_of_a_cluster(monkeypatch, changed, says):
    answering(monkeypatch, f"import json; print('noise'); print(json.dumps({ {**ANSWER, **changed}!r}))")
    said = outlive()
    assert says in said
    assert "$ outlive doctor" in said
    assert ("$ outlive ls --long" in said) == ("arrays" not in changed)
    assert json.loads(outlive("--json")) == {**ANSWER, **changed}


@pytest.mark.parametrize("late", ["", "print('{}', flush=True)"], ids=["silent", "does not end"])
def test_it_waits_for_nobody(monkeypatch, late):
    monkeypatch.setattr(start_page, "_SECONDS", 0.5)
    answering(monkeypatch, f"{late.format(json.dumps(ANSWER))}\nimport time; time.sleep(600)")
    said = outlive()
    assert ("no answer within 0.5 s" in said) == (not late)
    assert ("2 arrays" in said) == bool(late)


def test_a_cluster_that_is_not_there(monkeypatch):
    with socket.socket() as taken:  # and nobody listens
        taken.bind(("127.0.0.1", *free_ports(1)))
        monkeypatch.setattr(start_page, "_SECONDS", 120)
        said = outlive("--address", f"127.0.0.1:{taken.getsockname()[1]}")
    assert "The cluster cannot be asked: no Ray cluster at 127.0.0.1:" in said
    assert "$ ray start --head" in said
