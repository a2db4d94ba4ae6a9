"""stats, check and shutdown."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import numpy as np
import pytest

from outlive.store import session


def test_stats(cli, store):
    store["k"] = np.zeros(100_000)
    store.put(np.zeros(10))  # without a key: on the shelf, not in the store's count
    about = cli.json("stats")
    assert (about["store"], about["arrays"], about["nbytes"]) == ("default", 1, 800_000)
    (shelf,) = about["shelves"]
    assert shelf["arrays"] >= 2
    assert shelf["budget"] > shelf["used"] > 800_000
    text = cli("stats").stdout
    assert "store default: 1 array, 781.2 KiB" in text
    assert shelf["node"][:8] in text


def test_check_finds_nothing_wrong(cli, store):
    store["k"] = np.arange(3)
    assert cli("check").stdout.endswith("checked: all is well\n")
    assert cli.json("check")["findings"] == []


def test_check_mends_and_says_so(cli, store):
    store["k"] = np.arange(3)
    os.unlink(cli.json("info", "k")["file"])
    result = cli("check")
    assert result.exit_code == 0
    assert "mended: missing k: " in result.stdout
    assert cli("ls").stdout == ""


def test_check_with_damage_exits_1(cli, store):
    store["k"] = np.zeros(100_000)
    assert cli("check").exit_code == 0  # the checksum is known from here on
    path = cli.json("info", "k")["file"]
    with open(path, "r+b") as segment:
        segment.seek(5000)
        segment.write(b"\xff")
    result = cli("check", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["unmended"] == 1
    assert json.loads(result.stdout)["findings"][0]["problem"] == "flipped"
    people = cli("check")
    assert people.exit_code == 1
    assert f"NEEDS YOU: flipped {path}" in people.stdout


@pytest.fixture
def fresh_session():
    yield
    session.forget()  # this process does not see that another one has shut the store down


def answer(cli, text):
    """Run `outlive shutdown` on a terminal where somebody types `text`."""
    terminal, stdin = pty.openpty()
    process = cli.start("shutdown", stdin=stdin)
    os.close(stdin)
    os.write(terminal, text)
    out, err = process.communicate(timeout=120)
    os.close(terminal)
    return process.returncode, out.decode(), err.decode()


def test_shutdown_asks_a_person(cli, store, fresh_session):
    store["k"] = np.arange(3)
    code, out, err = answer(cli, b"n\n")
    assert (code, out) == (1, "")
    assert "Delete all " in err
    assert cli("ls").stdout == "k\n"
    code, out, err = answer(cli, b"y\n")
    assert code == 0
    assert out.startswith("deleted ")
    session.forget()
    assert cli("ls").stdout == ""


def test_shutdown_does_not_ask_a_script(cli, store, fresh_session):
    store["k"] = np.zeros(100_000)
    shelf = cli.json("stats")["shelves"][0]["path"]
    first = cli.json("shutdown")
    assert first["arrays"] >= 1
    assert first["freed"] > 800_000
    assert not list(Path(shelf).glob("mem/*"))
    assert cli.json("shutdown") == {"arrays": 0, "freed": 0}
    assert "nothing to shut down" in cli("shutdown", "--yes").stdout


def test_outlive_alone_says_what_the_cluster_holds(cli, store, monkeypatch):
    monkeypatch.setattr("outlive.cli.start_page._SECONDS", 60)  # it is what it says that is tried here
    store["k"] = np.zeros(100_000)
    about = cli.json()
    assert about["address"] == cli.address
    assert (about["nodes"], about["silent"]) == (1, 0)
    assert about["arrays"] >= 1
    assert about["budget"] > about["nbytes"] > 800_000
    said = cli()
    assert said.stderr == ""
    assert f"The Ray cluster {cli.address} holds " in said.stdout
    assert "$ outlive ls --long" in said.stdout
