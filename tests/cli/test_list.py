"""ls and info, over ordinary and odd keys."""

from __future__ import annotations

import ast
import time

import numpy as np
import pytest

from outlive.cli.text import age, printable
from outlive.table import columns

ODD = [
    "a\nb",
    "nul\0",
    "\x1b[31mred",
    "é😀",
    "back\\slash",
    "back\\nslash",
    "\u202eevil",
    " lead",
    "-dash",
    "../x",
    "日本",
]


def test_ls_prints_sorted_keys_one_a_line(cli, store):
    assert cli("ls").stdout == ""
    store.update({key: np.zeros(1) for key in ("b", "a/2", "a/1")})
    assert cli("ls").stdout == "a/1\na/2\nb\n"
    assert cli("ls", "a/").stdout == "a/1\na/2\n"
    assert cli("ls", "nothing").stdout == ""


def test_odd_keys_stay_on_their_line_and_can_be_read_back(cli, store):
    store.update({key: np.zeros(1) for key in ODD})
    lines = cli("ls").stdout.removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in lines)
    assert [ast.literal_eval(f"'{line}'") for line in lines] == sorted(ODD)
    assert [about["key"] for about in cli.json("ls")] == sorted(ODD)
    assert [line.split("  ", 6)[-1].isprintable() for line in cli("ls", "--long").stdout.splitlines()]
    assert len(cli("ls", "--long").stdout.splitlines()) == len(ODD) + 1


@pytest.mark.parametrize("key", [key for key in ODD if "\0" not in key])
def test_odd_keys_as_arguments(cli, store, npy, key):
    assert cli("put", "--", str(npy()), key).exit_code == 0
    assert list(store) == [key]
    result = cli("info", "--", key)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == printable(key)
    assert cli("rm", "--", key).exit_code == 0


def test_long_shows_size_dtype_shape_and_node(cli, store):
    store["k"] = np.zeros((300, 200), "f4")
    store["records"] = np.zeros(2, [(name, "f8") for name in ("position", "velocity", "mass")])
    node = cli.json("info", "k")["node"]
    header, first, second = cli("ls", "-l").stdout.splitlines()
    assert header.split() == ["SIZE", "AGE", "DTYPE", "SHAPE", "ENDS", "NODE", "WHERE", "KEY"]
    for part in ("234.4 KiB", "float32", "(300, 200)", node[:8]):
        assert part in first
    assert first.index("(300, 200)") == header.index("SHAPE")
    assert second.endswith("  records")
    assert "..." in second


def test_json_tells_the_same_as_the_store(cli, store):
    store["k"] = np.zeros((300, 200), "f4", order="F")
    (listed,), about, handle = cli.json("ls"), cli.json("info", "k"), store.handle("k")
    more = {"order": "F", "file": about["file"], "nodes": [about["node"]], "durability": {"replicas": 1, "wanted": 1}}
    assert about == {**listed, **more}
    assert (about["id"], about["shape"], about["nbytes"]) == (handle.id, [300, 200], handle.nbytes)
    assert np.load(about["file"], mmap_mode="r").shape == (300, 200)


def test_info_for_people(cli, store):
    store["k"] = np.zeros((300, 200), "f4")
    lines = cli("info", "k").stdout.splitlines()
    assert lines[0] == "k"
    facts = ["store", "shape", "dtype", "size", "put", "ends", "nodes", "kept", "file"]
    assert [line.split()[0] for line in lines[1:]] == facts
    assert "240,000 bytes, 234.4 KiB" in lines[4]


def test_stores_are_apart_and_options_may_come_first(cli, store, npy):
    assert cli("--store", "other", "put", str(npy()), "k").exit_code == 0
    assert cli("ls").stdout == ""
    assert cli("ls", "--store", "other").stdout == "k\n"
    assert cli("--store", "ignored", "ls", "--store", "other").stdout == "k\n"
    assert cli("--json", "--store", "other", "rm", "k").stdout.startswith("{")


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (0, "0 s"), (59, "59 s"), (61, "1 min"), (7300, "2 h"), (86400 * 3, "3 d")]
)
def test_age(monkeypatch, seconds, text):
    monkeypatch.setattr(time, "time_ns", lambda: 10**18 + seconds * 10**9)
    assert age(10**18) == text


def test_columns_align():
    assert list(columns(("A", "BB"), [("xxx", "y"), ("z", "long")], right={0})) == ["  A  BB", "xxx  y", "  z  long"]


def test_nothing_is_lost(cli, store):
    store["k"] = np.zeros(3)
    assert cli.json("ls", "--lost") == []
    assert cli("ls", "--lost").stdout.split() == ["LOST", "WITH", "NODE", "KEY"]
