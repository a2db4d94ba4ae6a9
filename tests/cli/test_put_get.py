"""put, get and rm: what goes in comes out, and what cannot is one line and an exit code."""

from __future__ import annotations

import json
import os
import re
import threading

import numpy as np
import pytest

import outlive

ARRAYS = {
    "c order": np.arange(24.0).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype="i2").reshape(2, 3)),
    "0-d": np.array(5, "M8[ns]"),
    "empty": np.empty((0, 3)),
    "no bytes per element": np.zeros(3, "S0"),
    "big-endian": np.arange(5, dtype=">u4"),
    "structured": np.array([(1, 2.5), (3, 4.5)], [("a", "<i4"), ("b", "<f8")]),
    "text": np.array(["é", "ab"]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_put_comes_out_of_get(cli, store, npy, tmp_path, name):
    array, copy = ARRAYS[name], tmp_path / "out.npy"
    put = cli("put", str(npy(array)), name)
    assert put.exit_code == 0, put.stderr
    assert store[name].tobytes() == array.tobytes()
    assert store[name].dtype == array.dtype
    got = cli("get", name, "-o", str(copy))
    assert got.exit_code == 0, got.stderr
    loaded = np.load(copy)
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    assert loaded.flags.f_contiguous == array.flags.f_contiguous
    assert loaded.tobytes() == array.tobytes()
    assert sorted(os.listdir(tmp_path)) == ["in.npy", "out.npy"]


def test_put_replaces_what_had_the_key(cli, store, npy):
    store["k"] = np.zeros(3)
    about = cli.json("put", str(npy(np.ones(4, "f4"))), "k")
    assert (about["key"], about["shape"], about["dtype"], about["nbytes"]) == ("k", [4], "float32", 16)
    assert store.handle("k").id == about["id"]
    assert store["k"].tolist() == [1, 1, 1, 1]


def test_stdin_and_stdout(cli, store, npy):
    data = npy().read_bytes()
    assert cli("put", "-", "k", stdin=data).exit_code == 0
    got = cli("get", "k", "-o", "-")
    assert got.exit_code == 0
    assert got.stdout_bytes == data
    assert got.stderr == ""


def test_a_pipe_in_the_file_s_place(cli, store, npy, tmp_path):
    pipe, data = tmp_path / "pipe", npy().read_bytes()
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True)
    writer.start()
    assert cli("put", str(pipe), "k").exit_code == 0
    writer.join(30)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert cli("get", "k", "-o", str(pipe)).exit_code == 0
    reader.join(30)
    assert received == [data]
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a .npy file"),
        (b"PK\x03\x04 a zip", "not a .npy file"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"{{{{{{{{{{{{{{{\n", "not a .npy file"),
        ("truncated", "not a .npy file"),
        ("objects", "holds Python objects"),
    ],
)
@pytest.mark.parametrize("through", ["file", "stdin"])
def test_bad_files(cli, store, npy, content, says, through):
    path = npy(np.array([{}], dtype=object)) if content == "objects" else npy()
    if content == "truncated":
        content = path.read_bytes()[:-1]
    if content != "objects":
        path.write_bytes(content)
    where, stdin = ("-", path.read_bytes()) if through == "stdin" else (str(path), None)
    result = cli("put", where, "k", stdin=stdin)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert len(store) == 0


def test_a_file_that_is_not_there(cli, store):
    result = cli("put", "/no/such.npy", "k", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert json.loads(result.stderr) == {
        "error": "No such file or directory: '/no/such.npy'",
        "type": "FileNotFoundError",
    }


@pytest.mark.parametrize("key", ["", "x" * 1025, "\udcff"])
def test_what_cannot_be_a_key(cli, store, npy, key):
    result = cli("put", str(npy()), key)
    assert result.exit_code == 2
    assert "a key has 1 to 1024 bytes" in result.stderr or "cannot be encoded" in result.stderr


def test_no_room(cli, store, npy):
    shelf = store.stats().shelves[0]
    outlive.open(memory="1MiB", disk=0)
    try:
        result = cli("put", str(npy(np.zeros(2 << 20, "u1"))), "k", "--json")
    finally:
        outlive.open(memory=shelf.budget, disk=shelf.disk_budget)
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr)["type"] == "StoreFull"
    assert len(store) == 0


def test_get_does_not_replace_a_file_unless_forced(cli, store, tmp_path):
    store["k"], path = np.arange(3), tmp_path / "out.npy"
    path.write_text("mine")
    refused = cli("get", "k", "-o", str(path))
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert path.read_text() == "mine"
    assert cli.json("get", "k", "-o", str(path), "--force")["file"] == str(path)
    assert np.load(path).tolist() == [0, 1, 2]


def test_get_through_a_link_replaces_what_it_points_at(cli, store, tmp_path):
    store["k"], link, target = np.arange(3), tmp_path / "link.npy", tmp_path / "target.npy"
    link.symlink_to(target)
    assert cli("get", "k", "-o", str(link)).exit_code == 0
    assert link.is_symlink()
    assert np.load(target).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("where", "says"), [("/dev/full", "No space"), ("{}/no/x.npy", "No such"), ("{}", "directory")]
)
def test_places_that_cannot_be_written(cli, store, tmp_path, where, says):
    store["k"] = np.arange(3)
    result = cli("get", "k", "-o", where.format(tmp_path))
    assert result.exit_code == 2
    assert says in result.stderr
    assert os.listdir(tmp_path) == []


def test_a_missing_key_shows_close_matches(cli, store, tmp_path):
    store["ct/7"] = np.arange(3)
    for command in (["get", "ct/8", "-o", str(tmp_path / "x.npy")], ["info", "ct/8"], ["rm", "ct/8"]):
        result = cli(*command)
        assert result.exit_code == 1
        assert "similar: 'ct/7'" in result.stderr
    assert os.listdir(tmp_path) == []


def test_rm_deletes_what_is_there_and_names_what_is_not(cli, store):
    store.update({key: np.arange(3) for key in ("a", "b", "c")})
    result = cli("rm", "a", "nope", "b", "a", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"store": "default", "deleted": ["a", "b"], "missing": ["nope"]}
    assert json.loads(result.stderr)["type"] == "ArrayNotFound"
    assert list(store) == ["c"]
    assert cli("rm", "c").stdout == "deleted 1 array\n"


def test_a_damaged_array_is_not_written_out(cli, store, tmp_path):
    store["k"] = np.arange(100_000)
    with open(cli.json("info", "k")["file"], "r+b") as segment:
        segment.write(b"\0" * 100)
    result = cli("get", "k", "-o", str(tmp_path / "x.npy"), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stderr)["type"] == "CorruptArray"
    assert os.listdir(tmp_path) == []


def test_json_and_the_array_cannot_share_stdout(cli, store):
    result = cli("get", "k", "-o", "-", "--json")
    assert (result.exit_code, result.stdout) == (2, "")


def test_time_to_live(cli, store, npy):
    assert cli("put", str(npy()), "brief", "--ttl", "10min").exit_code == 0
    [listed] = cli.json("ls", "brief")
    assert listed["lifetime"] == "detached"
    assert listed["ends_at"] is not None
    for words in (("ls", "--long"), ("info", "brief")):  # each starts a process, which may take a while
        assert re.search(r"in [5-9] min", cli(*words).stdout)
    wrong = cli("put", str(npy()), "brief", "--ttl", "soon")
    assert wrong.exit_code == 2
    assert "10min" in wrong.stderr


def test_replicas_that_one_node_cannot_keep_are_said(cli, store, npy):
    result = cli("put", str(npy()), "k", "--replicas", "2")
    assert result.exit_code == 0
    assert "warning: replicas=2, but only 1 so far" in result.stderr
    about = cli.json("info", "k")
    assert about["durability"] == {"replicas": 1, "wanted": 2}
    assert about["nodes"] == [about["node"]]
    assert "on 1 node, of 2 asked for" in cli("info", "k").stdout
    assert cli("put", str(npy()), "k", "--replicas", "0").exit_code == 2


def test_a_value_that_is_no_array_is_listed_and_not_written(cli, store, tmp_path):
    store["tree"], copy = {"a": np.ones(3), "f": len}, tmp_path / "out.npy"
    got = cli("get", "tree", "-o", str(copy))
    assert got.exit_code == 2 and "is no array" in got.stderr and "'tree'" in got.stderr
    assert not copy.exists()
    [one] = cli.json("ls")
    assert (one["kind"], one["shape"], one["dtype"]) == ("tree", None, None)
    assert "  tree  " in cli("ls", "--long").stdout
    assert "kind   tree" in cli("info", "tree").stdout
