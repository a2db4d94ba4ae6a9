"""A node that is about to end: its shelf is watched until the keeper has removed it. Here the shelf has no keeper."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from outlive.arrays.layout import CACHED
from outlive.arrays.marks import mark
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.cli.app import app
from outlive.cluster import departure
from outlive.cluster.departure import OVER, Departure, Here, kept, result, watch
from outlive.errors import BadSetting, StoreUnavailable
from outlive.ray_internals import draining, raylets
from tests.conftest import eventually

NODE, OTHER = "a" * 56, "b" * 56
FOREVER = 600.0


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "cluster").mkdir(mode=0o700)
    made = Shelf(str(tmp_path / "cluster" / NODE), budget=64 << 20)
    made.spill_to(str(tmp_path / "spill"))
    return made


@pytest.fixture
def here(shelf: Shelf) -> Here:
    return Here(NODE, False, shelf.path)


def put(shelf: Shelf, count: int) -> list[str]:
    return [Writer(shelf).put(np.full(1000, i)).id for i in range(count)]


Seen = tuple[Departure, list[tuple[int, int]]]


def look(
    here: Here, deadline: float, lives: Callable[[], bool] = lambda: True, first: dict[str, int] | None = None
) -> Seen:
    """What became of the arrays that were there at first, and what was told meanwhile."""
    seen: list[tuple[int, int]] = []
    first = dict(kept(here.shelf)) if first is None else first
    why = watch(here, deadline, lives, first, lambda done, total: seen.append((done, total)))
    return result(here, first, why), seen


def test_what_is_kept_is_counted_in_memory_and_on_disk_and_cached_copies_are_not(shelf: Shelf) -> None:
    ids = put(shelf, 3)
    mark(shelf, ids[0], add=CACHED)
    assert shelf.disk is not None
    shutil.move(f"{shelf.mem}/{ids[1]}", f"{shelf.disk.mem}/{ids[1]}")
    Path(shelf.mem, "no id").touch()
    assert {array_id for array_id, _ in kept(shelf.path)} == set(ids[1:])
    assert all(nbytes > 8000 for _, nbytes in kept(shelf.path))


def test_it_waits_until_the_shelf_is_gone(shelf: Shelf, here: Here) -> None:
    ids = put(shelf, 2)
    first = dict(kept(shelf.path))
    total, ended = sum(first.values()), list[Seen]()
    waiting = threading.Thread(target=lambda: ended.append(look(here, time.monotonic() + FOREVER, first=first)))
    waiting.start()
    for array_id in ids:
        shelf.delete(array_id)
    assert waiting.is_alive()  # somebody may be about to put: only the keeper knows that nobody is
    shutil.rmtree(shelf.path)
    waiting.join(60)
    ((left, seen),) = ended
    assert left == Departure(NODE, 2, total, None)
    assert seen[-1] == (total, total)


def test_a_node_without_a_shelf_has_nothing_to_move(shelf: Shelf, here: Here) -> None:
    shutil.rmtree(shelf.path)
    assert look(here, time.monotonic() + FOREVER) == (Departure(NODE, 0, 0, None), [(0, 0)])


def test_it_says_what_stayed_when_the_time_is_over(shelf: Shelf, here: Here) -> None:
    put(shelf, 2)
    left, seen = look(here, time.monotonic())
    assert (left.arrays, left.nbytes) == (0, 0)
    assert left.stayed is not None and left.stayed.startswith("2 arrays (") and left.stayed.endswith(f"stayed: {OVER}")
    assert len(seen) == 1


def test_it_ends_with_ray(shelf: Shelf, here: Here) -> None:
    put(shelf, 1)
    left, _ = look(here, time.monotonic() + FOREVER, lambda: False)
    assert left.stayed is not None and left.stayed.endswith("stayed: Ray ended here")


# --- the command


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, shelf: Shelf, tmp_path: Path) -> dict[str, object]:
    """A cluster that is made up: what runs here, and what Ray was told."""
    state: dict[str, object] = {"here": {NODE: False}, "told": [], "silent": 0}

    def find(address: str | None) -> str:
        if state["silent"]:
            state["silent"] = int(str(state["silent"])) - 1
            raise StoreUnavailable("no Ray cluster at 10.0.0.1:6379")
        return "10.0.0.1:6379"

    monkeypatch.setattr("outlive.cli.connection.find", find)
    monkeypatch.setattr("outlive.cli.node_commands._TRY_AGAIN", 0.01)
    monkeypatch.setattr("outlive.ray_internals.rpc._named", [])
    monkeypatch.setattr(raylets, "of_cluster_here", lambda: state["here"])
    monkeypatch.setattr(raylets, "nodes_here", lambda: list(state["here"]))
    monkeypatch.setattr(raylets, "session_name", lambda: "cluster")
    monkeypatch.setattr(departure, "default_root", lambda: (str(tmp_path), None))

    def drain(node: str, seconds: float) -> None:
        state["told"] = [*state["told"], (node, seconds)]
        shutil.rmtree(shelf.path)  # as the keeper does in the end

    monkeypatch.setattr(draining, "drain", drain)
    return state


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["drain", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_ray_is_told_and_what_left_is_said(ray: dict[str, object], shelf: Shelf) -> None:
    put(shelf, 3)
    size = sum(nbytes for _, nbytes in kept(shelf.path))
    code, out, _ = run("--ending-in", "100s", "--json")
    assert (code, json.loads(out)) == (0, {"node": NODE, "arrays": 3, "nbytes": size, "stayed": None})
    ((node, seconds),) = ray["told"]  # type: ignore[misc]
    assert node == NODE and 0 < seconds <= 100


def test_what_stayed_exits_1(ray: dict[str, object], shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    put(shelf, 1)
    monkeypatch.setattr(draining, "drain", lambda node, seconds: None)
    code, out, _ = run("--ending-in", "10ms")
    assert code == 1
    assert "copied 0 arrays, 0 B, from aaaaaaaa" in out and f"stayed: {OVER}" in out


def test_a_head_that_starts_anew_is_waited_for(ray: dict[str, object]) -> None:
    ray["silent"] = 3
    assert run("--ending-in", "100s")[0] == 0
    assert ray["silent"] == 0


def test_a_head_that_stays_away_is_an_error_in_time(ray: dict[str, object]) -> None:
    ray["silent"] = 10**9
    code, out, err = run("--ending-in", "200ms")
    assert (code, out) == (2, "") and "no Ray cluster at" in err


def test_without_ray_it_ends_at_once(ray: dict[str, object]) -> None:
    ray |= {"silent": 10**9, "here": {}}
    assert run("--ending-in", "1h")[0] == 2
    assert ray["silent"] == 10**9 - 1
    ray["silent"] = 0
    code, _, err = run("--ending-in", "1h")
    assert code == 2 and "no living node of the cluster runs here" in err


def test_several_nodes_on_a_machine_are_told_apart_by_name(ray: dict[str, object]) -> None:
    ray["here"] = {NODE: False, OTHER: True}
    code, _, err = run("--ending-in", "1h")
    assert code == 2 and "2 nodes of the cluster run here: aaaaaaaa, bbbbbbbb; `outlive drain NODE`" in err
    assert ray["told"] == []


def test_the_head_is_emptied_and_ray_is_told_nothing(
    ray: dict[str, object], shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    import outlive

    ids = put(shelf, 2)
    ray["here"] = {NODE: True}
    monkeypatch.setattr("outlive.cli.connection.connect", lambda address: None)

    def drain(node: str, progress: Callable[[int, int], None]) -> None:
        assert node == NODE
        shelf.delete(ids[0])
        progress(1, 2)
        shelf.delete(ids[1])

    monkeypatch.setattr(outlive, "drain", drain, raising=False)
    code, out, _ = run("--ending-in", "100s", "--json")
    assert code == 0 and json.loads(out)["arrays"] == 2
    assert ray["told"] == []

    ids[:] = put(shelf, 2)
    code, out, _ = run("--ending-in", "0.001ms")
    assert code == 1 and "copied 1 array," in out and f"1 array ({'8.'}" in out and OVER in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "which node? Name one"),
        (("--ending-in", "5s", "4be1"), "leave out NODE, or --ending-in"),
        (("--ending-in", "soon"), "--ending-in='soon' is no length of time"),
        (("--ending-in", "-5s"), "--ending-in='-5s' is no length of time"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and words in err


@pytest.fixture
def raylet(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is taken for the node's raylet. It runs as Ray does, with a root folder of its own."""
    process = subprocess.Popen(["sleep", "600"], env={**os.environ, "OUTLIVE_ROOT": "/dev/shm/of-ray"})
    monkeypatch.setattr(raylets, "of_cluster_here", lambda: {NODE: False})
    monkeypatch.setattr(raylets, "session_name", lambda: "cluster")
    monkeypatch.setattr(raylets, "pid_here", lambda node: process.pid)
    yield process
    process.kill()
    process.wait()


@pytest.mark.usefixtures("raylet")
def test_another_root_than_that_of_ray_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept there, so all would seem to have left."""
    eventually(lambda: raylets.environment(raylets.pid_here(NODE) or 0))
    with pytest.raises(BadSetting, match="Ray runs here with OUTLIVE_ROOT=/dev/shm/of-ray, and this command with"):
        departure.here()
    monkeypatch.delenv("OUTLIVE_ROOT")
    with pytest.raises(BadSetting, match="and this command without OUTLIVE_ROOT: set it alike"):
        departure.here()
    monkeypatch.setenv("OUTLIVE_ROOT", "/dev/shm/of-ray")
    assert departure.here() == Here(NODE, is_head=False, shelf=f"/dev/shm/of-ray/cluster/{NODE}")


@pytest.mark.parametrize(
    ("theirs", "ours"), [("", None), (None, ""), ("/dev/shm/x/", "/dev/shm/x"), ({}, "/dev/shm/x"), ({}, None)]
)
def test_the_same_root_as_that_of_ray_is_none(
    monkeypatch: pytest.MonkeyPatch, theirs: object, ours: str | None
) -> None:
    """It may be written in another way; or the raylet has just ended, and nobody can say."""
    process = subprocess.Popen(["true"])
    process.wait()
    settings = {"HOME": "/"} | ({} if theirs is None else {"OUTLIVE_ROOT": theirs})
    monkeypatch.setattr(raylets, "of_cluster_here", lambda: {NODE: False})
    monkeypatch.setattr(raylets, "session_name", lambda: "cluster")
    monkeypatch.setattr(raylets, "pid_here", lambda _: process.pid)
    monkeypatch.setattr(raylets, "environment", lambda _: {} if theirs == {} else settings)
    monkeypatch.delenv("OUTLIVE_ROOT")
    if ours is not None:
        monkeypatch.setenv("OUTLIVE_ROOT", ours)
    assert departure.here().id == NODE


def test_another_folder_on_disk_than_that_of_ray_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without enough shared memory the root is in TMPDIR."""
    monkeypatch.setattr(raylets, "of_cluster_here", lambda: {NODE: False})
    monkeypatch.setattr(raylets, "session_name", lambda: "cluster")
    monkeypatch.setattr(raylets, "pid_here", lambda _: os.getpid())
    monkeypatch.setattr(raylets, "environment", lambda _: {"TMPDIR": "/scratch"})
    monkeypatch.delenv("OUTLIVE_ROOT")
    monkeypatch.setattr(departure, "default_root", lambda: ("/tmp/outlive-0", "too little shared memory"))
    monkeypatch.delenv("TMPDIR", raising=False)
    with pytest.raises(BadSetting, match="with TMPDIR=/scratch, and this command without TMPDIR: set it alike"):
        departure.here()
    monkeypatch.setenv("TMPDIR", "/scratch")
    assert departure.here().shelf == f"/tmp/outlive-0/cluster/{NODE}"


@pytest.mark.usefixtures("raylet")
def test_another_user_than_that_of_ray_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    with pytest.raises(BadSetting, match=r"Ray runs here as the user with id \d+, and this command as 4000000"):
        departure.here()
