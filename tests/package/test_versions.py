"""`outlive versions` and `outlive.show_versions()` say what a report of a fault needs."""

from __future__ import annotations

import json
from importlib import metadata

from typer.testing import CliRunner

import outlive
from outlive.cli.app import app
from outlive.versions import PACKAGES


def test_all_of_it_is_said(capsys, monkeypatch):
    monkeypatch.setenv("OUTLIVE_MEMORY", "3GiB")
    found = outlive.show_versions(as_dict=True)
    assert capsys.readouterr().out == ""
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["ray"] == metadata.version("ray")
    assert found["shared_memory"]["size"] > 0
    assert found["settings"]["OUTLIVE_MEMORY"] == "3GiB"
    assert outlive.show_versions() is None
    said = capsys.readouterr().out
    for name in ("outlive", "python", "kernel", "cpus", "memory", "shared memory", "OUTLIVE_MEMORY", *PACKAGES):
        assert f"\n{name} " in f"\n{said}"
    assert "huge=" in said
    assert set(json.loads(CliRunner().invoke(app, ["versions", "--json"]).stdout)) == set(found)
    assert CliRunner().invoke(app, ["versions"]).stdout.split()[:2] == said.split()[:2]


def test_a_root_that_cannot_be_used_and_what_is_not_installed(monkeypatch):
    monkeypatch.setattr("outlive.tune.facts.default_root", lambda: ("/proc/nowhere", None))
    monkeypatch.setattr("outlive.tune.facts.mount_of", lambda path: 1 / 0 if path is None else _refuse(path))
    monkeypatch.setattr("outlive.versions.PACKAGES", ("ray", "no-such-package"))
    found = outlive.show_versions(as_dict=True)
    assert found["packages"]["no-such-package"] is None
    assert found["shared_memory"] == {"error": "PermissionError: [Errno 13] Permission denied: '/proc/nowhere'"}
    outlive.show_versions()


def _refuse(path: str) -> None:
    raise PermissionError(13, "Permission denied", path)
