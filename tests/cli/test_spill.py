"""Limits and places on the command line."""

from __future__ import annotations

import numpy as np
import pytest

import outlive

MIB = 1 << 20


@pytest.fixture
def limits(store):
    shelf = store.stats().shelves[0]
    assert shelf.disk_budget, f"this cluster's start gave it no disk: {shelf}"
    yield
    store.clear()
    outlive.open(memory=shelf.budget, disk=shelf.disk_budget)


def test_limits_are_changed_and_shown(cli, store, npy, limits):
    path = str(npy(np.zeros(2 * MIB, "u1")))
    cli.json("put", path, "large", "--memory", "1MiB", "--disk", "5MiB")
    [shelf] = cli.json("stats")["shelves"]
    assert (shelf["budget"], shelf["disk_budget"], shelf["spilled"]) == (MIB, 5 * MIB, 1)
    assert shelf["disk_used"] > 2 * MIB
    shown = cli("stats", "--disk", "6MiB").stdout
    assert "6.0 MiB" in shown and "SPILLS TO" in shown
    assert [array["on_disk"] for array in cli.json("ls")] == [True]
    header, line = cli("ls", "--long").stdout.splitlines()
    assert line.split()[header.split().index("WHERE") - len(header.split())] == "disk"
    assert shelf["spill_to"] in cli("info", "large").stdout


def test_pinned(cli, store, npy, limits):
    cli.json("put", str(npy(np.zeros(MIB // 2, "u1"))), "pinned", "--pin", "--memory", "1MiB")
    for number in range(4):
        store[str(number)] = np.zeros(MIB // 2, "u1")
    assert {array["key"] for array in cli.json("ls") if not array["on_disk"]} >= {"pinned"}
    result = cli("put", str(npy(np.zeros(2 * MIB, "u1"))), "k", "--pin")
    assert (result.exit_code, "no room" in result.stderr) == (1, True)


@pytest.mark.parametrize(("option", "value"), [("--memory", "lots"), ("--disk", "-1"), ("--spill-to", "/proc/nowhere")])
def test_what_is_no_limit(cli, store, option, value):
    result = cli("stats", option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert value in result.stderr
