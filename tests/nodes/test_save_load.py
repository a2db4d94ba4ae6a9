"""A store saved to a folder, and loaded from it, on the cluster that is played: two nodes, and no Ray."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import ray
from ray.exceptions import GetTimeoutError, RayActorError

import outlive
from outlive.archive.folder import Folder
from outlive.store import commit, loading, mirroring, opening, saving, session, spreading
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play

KEYS = ["ct/7", "..", "../../x", "/", "a//b", "ü.npy", "=2F", "k" * 1024, "\n"]


@dataclasses.dataclass
class Point:
    x: int


class Odd:
    """What only pickle can store."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Odd, ()


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCluster]:
    root = f"{ROOT}/played-{request.node.name[:60]}-{secrets.token_hex(4)}"
    Path(root).mkdir(mode=0o700, parents=True)
    here = threading.local()
    for cluster in play(root, 2):

        def current() -> Any:
            found = cluster.session(getattr(here, "node", "a"))  # noqa: B023
            found.connection = SimpleNamespace(job=1)  # type: ignore[assignment]
            return found

        def start(session: Any, pool: Any, work: Any, node: str, portion: list[Any]) -> Any:
            def there() -> Any:
                here.node = node
                few = [item for _, item in portion]
                return spreading.call(work, few) if node == "a" else spreading.call_there(work, few)

            return pool.submit(there)

        monkeypatch.setattr(session, "current", current)
        monkeypatch.setattr(spreading, "_start", start)
        monkeypatch.setattr(opening, "open", outlive.Store)
        cluster.at = lambda node: setattr(here, "node", node)  # type: ignore[attr-defined]
        yield cluster


@pytest.fixture
def store(cluster: PlayedCluster) -> outlive.Store:
    return outlive.Store("s")


def files(path: Path) -> set[str]:
    return {str(one.relative_to(path)) for one in (path / "arrays").rglob("*") if one.is_file()}


def manifest(path: Path) -> dict[str, Any]:
    return {one["key"]: one for one in json.loads((path / "manifest.json").read_text())["arrays"]}


def test_arrays_under_any_keys_come_back(store: outlive.Store, tmp_path: Path) -> None:
    values = {key: np.full((3, i), i, "int16") for i, key in enumerate(KEYS)}
    values["large"] = np.asfortranarray(np.random.default_rng(7).random((1000, 2000)))
    store.put_many(values)
    saved = store.save(tmp_path / "a")
    assert (saved.arrays, saved.sent, saved.lost, saved.dropped) == (10, 10, [], [])
    assert saved.nbytes == sum(one.nbytes for one in values.values())
    for key, entry in manifest(tmp_path / "a").items():
        assert np.array_equal(np.load(tmp_path / "a" / entry["file"]), values[key])
    store.clear()
    assert store.load(f"file://{tmp_path}/a").arrays == 10
    found = store.get_many(values)
    assert all(np.array_equal(found[key], values[key]) for key in values)
    assert found["large"].flags.f_contiguous
    assert outlive.load(tmp_path / "a", store=store.name).kept == 10


def test_other_values_come_back_and_pickles_only_if_asked_for(store: outlive.Store, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    values = {
        "tree": {"a": [np.arange(3), "x"], "b": None},
        "table": pa.table({"n": [1, 2], "s": ["x", None]}),
        "ordered": OrderedDict(a=1),
        "date": np.datetime64("2026-01-01"),
    }
    store.put_many(values)
    store["class"], store["odd"] = Point(7), [Odd()]
    store.save(tmp_path)
    entries = manifest(tmp_path)
    assert {key: one["pickle"] for key, one in entries.items()} == dict.fromkeys(entries, False) | {"odd": True}
    assert pa.ipc.open_stream(tmp_path / entries["table"]["file"]).read_all() == values["table"]
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"pickle": true', '"pickle": false'))  # it lies
    store.clear()
    with pytest.raises(outlive.PickleRefused, match="pickle=True"):
        store.load(tmp_path)
    assert set(store) == set(values)
    assert store["table"] == values["table"]
    assert store["tree"]["a"][0].tolist() == [0, 1, 2]
    assert (store["ordered"], store["date"]) == (values["ordered"], values["date"])
    assert store.load(tmp_path, pickle=True).arrays == 2
    assert store["class"].x == 7
    assert type(store["odd"][0]).__name__ == "Odd"


def test_only_what_is_new_is_sent(store: outlive.Store, tmp_path: Path) -> None:
    store.put_many({key: np.full(1000, i) for i, key in enumerate("abc")})
    assert store.save(tmp_path).sent == 3
    before = (tmp_path / "manifest.json").stat()
    assert store.save(tmp_path).sent == 0
    assert (tmp_path / "manifest.json").stat().st_ino == before.st_ino, "nothing had changed"
    store["a"] = np.full(1000, 0)  # the same bytes, as after a load into another cluster
    store["b"] = np.full(1000, 7)
    saved = store.save(tmp_path)
    assert (saved.sent, saved.arrays) == (1, 3)
    assert len(files(tmp_path)) == 4, "the former b is there for readers of the former manifest"
    store["c"] = np.full(1000, 8)
    store.save(tmp_path)
    assert len(files(tmp_path)) == 4, "the former b is gone, and the former c is there"
    store.clear()
    store.load(tmp_path)
    assert [int(store[key][0]) for key in "abc"] == [0, 7, 8]


def test_part_of_the_keys_and_those_that_are_gone(store: outlive.Store, tmp_path: Path) -> None:
    store.put_many({key: np.zeros(3) for key in ("a/1", "a/2", "b/1", "b/2")})
    assert store.save(tmp_path, prefix="a/").arrays == 2
    assert store.save(tmp_path, keys=["b/1"]).arrays == 1
    assert set(manifest(tmp_path)) == {"a/1", "a/2", "b/1"}
    with pytest.raises(outlive.ArrayNotFound, match="nothing"):
        store.save(tmp_path, keys=["b/2", "nothing"])
    del store["a/1"], store["b/1"]
    assert store.save(tmp_path).dropped == []
    assert store.save(tmp_path, prefix="a/", delete=True).dropped == ["a/1"]
    assert set(manifest(tmp_path)) == {"a/2", "b/1", "b/2"}
    store.clear()
    assert store.load(tmp_path, prefix="b/", keys=["b/1"]).arrays == 1
    with pytest.raises(outlive.ArchiveNotFound, match="nothing"):
        store.load(tmp_path, keys=["nothing"])
    assert set(store) == {"b/1"}


def test_a_save_that_was_cut_off_goes_on(store: outlive.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store["before"] = np.zeros(10)
    store.save(tmp_path)
    store.put_many({f"new/{i}": np.full(1000, i) for i in range(20)})
    was, write, count = manifest(tmp_path), Folder.write, 0

    def breaks(self: Folder, *args: Any) -> None:
        nonlocal count
        count += 1
        if count > 5:
            raise OSError(28, "No space left on device")
        write(self, *args)

    with monkeypatch.context() as broken:
        broken.setattr(Folder, "write", breaks)
        with pytest.raises(OSError, match="No space"):
            store.save(tmp_path)
    assert manifest(tmp_path) == was
    there = len(files(tmp_path)) - 1
    assert there > 0
    assert store.save(tmp_path).sent == 20 - there
    store.clear()
    assert store.load(tmp_path).arrays == 21


def test_damaged_files_are_not_loaded_and_the_others_are(store: outlive.Store, tmp_path: Path) -> None:
    store.put_many({key: np.arange(5000) for key in ("good", "changed", "short", "gone")} | {"tree": {"a": 1}})
    store.save(tmp_path)
    store.clear()
    entries = manifest(tmp_path)
    for key, at in (("changed", -1), ("tree", 3)):
        data = bytearray((tmp_path / entries[key]["file"]).read_bytes())
        data[at] ^= 1
        (tmp_path / entries[key]["file"]).write_bytes(data)
    os.truncate(tmp_path / entries["short"]["file"], 300)
    (tmp_path / entries["gone"]["file"]).unlink()
    used = session.current().shelf.ledger.used
    with pytest.raises(outlive.CorruptArchive, match="3 others"):
        store.load(tmp_path)
    assert list(store) == ["good"]
    del store["good"]
    assert session.current().shelf.ledger.used <= used, "half an array is left"
    (tmp_path / "manifest.json").write_text((tmp_path / "manifest.json").read_text().replace("arrays/", "../"))
    with pytest.raises(outlive.CorruptArchive, match="manifest"):
        store.load(tmp_path)
    with pytest.raises(outlive.CorruptArchive, match="manifest"):
        store.save(tmp_path)


def test_files_that_are_missing_are_sent_again(store: outlive.Store, tmp_path: Path) -> None:
    store.put_many({key: np.arange(5000) for key in ("kept", "gone", "short")})
    store.save(tmp_path)
    entries = manifest(tmp_path)
    (tmp_path / entries["gone"]["file"]).unlink()
    os.truncate(tmp_path / entries["short"]["file"], 300)
    assert store.save(tmp_path).sent == 2
    assert store.save(tmp_path).sent == 0
    store.clear()
    assert store.load(tmp_path).arrays == 3


def test_a_damaged_file_is_sent_again_after_what_the_error_says(store: outlive.Store, tmp_path: Path) -> None:
    store["a"] = np.arange(5000)
    store.save(tmp_path)
    path = tmp_path / manifest(tmp_path)["a"]["file"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    other = outlive.Store("other")
    with pytest.raises(outlive.CorruptArchive, match="Remove that file and save again") as caught:
        other.load(tmp_path)
    assert str(path) in str(caught.value)
    path.unlink()
    store.save(tmp_path)
    assert other.load(tmp_path).arrays == 1


def test_where_upper_and_lower_case_are_one_nothing_is_sent_twice(
    store: outlive.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_many({"A/x": np.zeros(3), "a/x": np.ones(3)})
    store.save(tmp_path)
    sizes = Folder.sizes
    monkeypatch.setattr(Folder, "sizes", lambda self: {name.lower(): size for name, size in sizes(self).items()})
    assert store.save(tmp_path).sent == 0


def test_a_file_that_other_saves_have_deleted_meanwhile_is_not_named(
    store: outlive.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two other saves are made between the begin of a save, which finds its bytes in the archive, and its end."""
    others = outlive.Store("others")
    others["a"] = np.zeros(1000)
    others.save(tmp_path)
    others["a"] = np.ones(1000)
    store["a"] = np.zeros(1000)  # the same bytes as the archive has, and a later array
    send = saving.send

    def late(*args: Any) -> Any:
        done = send(*args)
        monkeypatch.setattr(saving, "send", send)
        others.save(tmp_path)
        others["b"] = np.ones(3)
        others.save(tmp_path)
        return done

    monkeypatch.setattr(saving, "send", late)
    with pytest.raises(outlive.ArchiveUnavailable, match="Save again"):
        store.save(tmp_path)
    assert store.save(tmp_path).sent == 1
    assert store.load(tmp_path, replace=True).arrays == 2
    assert store["a"].tolist() == [0] * 1000


def test_a_file_that_this_save_wrote_and_others_have_deleted_is_not_named(
    store: outlive.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror saves the same new array, and its key is deleted, before a save that takes longer comes to its end."""
    store["a"] = np.zeros(10)
    store.save(tmp_path)
    store["k"] = np.ones(1000)
    send = saving.send

    def late(*args: Any) -> Any:
        done = send(*args)
        monkeypatch.setattr(saving, "send", send)
        store.save(tmp_path, delete=True)
        del store["k"]
        store.save(tmp_path, delete=True)
        store["b"] = np.ones(3)
        store.save(tmp_path, delete=True)
        return done

    monkeypatch.setattr(saving, "send", late)
    with pytest.raises(outlive.ArchiveUnavailable, match="Save again"):
        store.save(tmp_path)
    assert {entry["file"] for entry in manifest(tmp_path).values()} <= files(tmp_path)
    assert store.save(tmp_path).arrays == 2
    assert store.load(tmp_path, replace=True).arrays == 2


def test_a_later_array_that_others_saved_meanwhile_stays_named(
    store: outlive.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store["a"] = np.zeros(1000)
    send = saving.send

    def late(*args: Any) -> Any:
        done = send(*args)
        monkeypatch.setattr(saving, "send", send)
        for number in (1, 2, 3):
            store["a"] = np.full(1000, number)
            store.save(tmp_path)
        return done

    monkeypatch.setattr(saving, "send", late)
    assert store.save(tmp_path).arrays == 1
    store.load(tmp_path, replace=True)
    assert store["a"][0] == 3


def test_many_small_arrays_are_stored_by_few_calls_of_the_catalog(
    store: outlive.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"k/{i}" for i in range(200)]
    store.put_many({key: np.full(128, i) for i, key in enumerate(keys)} | {"large": np.zeros(1 << 16)})
    store.save(tmp_path)
    store.clear()
    commits, said = list[int](), list[tuple[int, int]]()

    def counted(session: Any, drafts: Any, **how: Any) -> None:
        commits.append(len(drafts))
        commit.commit(session, drafts, **how)

    monkeypatch.setattr(loading, "commit", counted)
    assert store.load(tmp_path, progress=lambda *one: said.append(one)).arrays == 201
    assert len(commits) <= 6 and max(commits) <= 64
    assert len(said) >= 4 and said[-1][0] == said[-1][1]
    assert [int(store[key][0]) for key in keys] == list(range(200))


def test_a_key_that_is_put_while_others_load_keeps_its_array(
    store: outlive.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_many({f"{i}": np.zeros(10) for i in range(20)})
    store.save(tmp_path)
    store.clear()
    receive = loading.receive

    def late(session: Any, place: Any, wanted: Any, *more: Any) -> Any:
        if wanted.entry.key == "7" and "7" not in store:
            store["7"] = np.ones(10)
        return receive(session, place, wanted, *more)

    monkeypatch.setattr(loading, "receive", late)
    loaded = store.load(tmp_path)
    assert (loaded.arrays, loaded.kept) == (19, 1)
    assert store["7"].tolist() == [1] * 10 and len(store) == 20
    assert not unsealed(session.current().shelf)


@pytest.mark.parametrize("error", [outlive.StoreFull("no room"), KeyboardInterrupt()], ids=repr)
def test_a_load_that_is_interrupted_leaves_whole_arrays_and_goes_on(
    store: outlive.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    store.put_many({f"{i:03}": np.full(10, i) for i in range(100)})
    store.save(tmp_path)
    store.clear()
    receive = loading.receive

    def breaks(session: Any, place: Any, wanted: Any, *more: Any) -> Any:
        if wanted.entry.key == "050":
            raise error
        return receive(session, place, wanted, *more)

    with monkeypatch.context() as broken:
        broken.setattr(loading, "receive", breaks)
        with pytest.raises(type(error)):
            store.load(tmp_path)
    there = len(store)
    assert 0 < there < 100, "what its call had read is stored"
    assert not unsealed(session.current().shelf)
    assert store.load(tmp_path).arrays == 100 - there
    assert [int(value[0]) for _, value in sorted(store.items())] == list(range(100))


def unsealed(shelf: Any) -> list[str]:
    """Drafts that are left."""
    return [str(one) for one in Path(shelf.new).rglob("*") if one.is_file() and len(one.name) == 32]


def test_a_load_replaces_only_if_asked_to(store: outlive.Store, tmp_path: Path) -> None:
    store["a"] = np.zeros(3)
    store.save(tmp_path)
    store["a"] = np.ones(3)
    assert (store.load(tmp_path).arrays, store["a"].tolist()) == (0, [1, 1, 1])
    loaded = store.load(tmp_path, replace=True, ttl="1h")
    assert (loaded.arrays, loaded.kept, store["a"].tolist()) == (1, 0, [0, 0, 0])
    assert store.handle("a").ttl == 3600


def test_an_array_that_is_put_again_meanwhile_is_saved_as_it_is_then(
    store: outlive.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store["a"], store["b"] = np.zeros(10_000), np.zeros(10_000)
    send = saving.send

    def late(*args: Any) -> Any:
        if args[2].info.version == first:
            del store["a"]
            store["a"] = np.ones(10_000)
            if "b" in store:
                del store["b"]
        return send(*args)

    first = store.handle("a").info.version
    monkeypatch.setattr(saving, "send", late)
    saved = store.save(tmp_path)
    assert np.load(tmp_path / manifest(tmp_path)["a"]["file"]).tolist() == [1] * 10_000
    assert saved.arrays == len(manifest(tmp_path))


def test_an_array_that_is_put_again_and_lost_meanwhile_keeps_its_copy_in_the_archive(
    store: outlive.Store, cluster: PlayedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store["k"], store["other"] = np.zeros(10_000), np.zeros(3)
    store.save(tmp_path)
    store["k"] = np.ones(10_000)
    send, first = saving.send, store.handle("k").info.version

    def late(*args: Any) -> Any:
        if args[2].info.version == first:
            monkeypatch.setattr(saving, "send", send)
            cluster.put("b", "k", 2)
            cluster.catalog.drop_replaced()
            cluster.kill("b")
        return send(*args)

    monkeypatch.setattr(saving, "send", late)
    with pytest.warns(saving.NotSaved, match="'k'"):
        saved = store.save(tmp_path, delete=True)
    assert (saved.lost, saved.dropped, set(manifest(tmp_path))) == (["k"], [], {"k", "other"})
    assert store.load(tmp_path).arrays == 1
    assert store["k"][0] == 0


def test_a_key_that_is_put_all_the_time_is_saved(
    store: outlive.Store, cluster: PlayedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, number = saving.send, 0
    cluster.put("b", "k", 0)
    store.save(tmp_path)
    cluster.put("b", "k", 1)

    def late(*args: Any) -> Any:
        nonlocal number
        number += 1
        cluster.put("b", "k", 1 + number)
        cluster.catalog.drop_replaced()
        return send(*args)

    monkeypatch.setattr(saving, "send", late)
    assert store.save(tmp_path, delete=True).dropped == []
    assert np.load(tmp_path / manifest(tmp_path)["k"]["file"])[0] == number


def test_what_cannot_be_saved_keeps_no_other_from_it(store: outlive.Store, tmp_path: Path) -> None:
    store["tree"] = {"a": [1, 2, 3], "b": np.arange(1000)}
    store.save(tmp_path)
    was = manifest(tmp_path)
    store["tree"] = {"a": [1, 2, 4], "b": np.arange(1000)}
    store["new"] = np.ones(3)
    [path] = Path(session.current().shelf.path).glob(f"mem/{store.handle('tree').info.id}")
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(data.index(b'"nodes"') + 1)
        file.write(b"N")
    with pytest.raises(outlive.CorruptArray, match="'tree' was not saved"):
        store.save(tmp_path, delete=True)
    assert manifest(tmp_path) == was | {"new": manifest(tmp_path)["new"]}
    del store["tree"]
    titled: Any = {"names": ["x"], "formats": ["f8"], "titles": [b"x"]}
    store["odd"], store["more"] = np.zeros(3, titled), np.ones(3)
    with pytest.raises(outlive.UnsupportedArray, match="'odd' was not saved"):
        store.save(tmp_path)
    store.clear()
    assert store.load(tmp_path).arrays == 3


def test_a_mirror_whose_last_save_fails_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    status, stopped = mirroring.MirrorStatus("s", "/m", 5.0, 1.0, None, "OSError: No space left on device"), list[str]()

    def saved(*_: Any) -> mirroring.MirrorStatus:
        if stopped:
            raise mirroring._NotRunning("no mirror runs")
        return status

    monkeypatch.setattr(mirroring, "_saved", saved)
    monkeypatch.setattr(mirroring, "_stop", stopped.append)
    with pytest.raises(outlive.ArchiveUnavailable, match="No space"):
        mirroring.Mirror("s", "/m").stop()
    assert not stopped
    mirroring.Mirror("s", "/m").stop(save=False)
    assert len(stopped) == 1
    mirroring.Mirror("s", "/m").stop()  # it was stopped


@pytest.mark.parametrize(
    ("error", "says"), [(GetTimeoutError("late"), "did not answer in"), (RayActorError(), "does not start")]
)
def test_a_mirror_that_does_not_start_says_so(
    store: outlive.Store, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def get(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(ray, "remote", lambda _: mock.MagicMock())
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(mirroring, "_PATIENCE", 0.0)
    with pytest.raises(outlive.StoreUnavailable, match=f"to /m {says}"):
        mirroring.start(mirroring.Order("s", Folder("/m"), "", 5.0, delete=False))


def test_progress_is_told(store: outlive.Store, tmp_path: Path) -> None:
    store["a"] = np.ones(1000)
    said: list[tuple[int, int]] = []
    store.save(tmp_path, progress=lambda *one: said.append(one))
    assert said[-1] == (8000, 8000)


def test_each_node_saves_its_arrays_and_loads_its_share(
    store: outlive.Store, cluster: PlayedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in "ab":
        cluster.at(node)  # type: ignore[attr-defined]
        store.put_many({f"{node}/{i}": np.full(1000, i) for i in range(3)})
    cluster.at("a")  # type: ignore[attr-defined]
    by_node = count_calls(monkeypatch)
    assert store.save(tmp_path).sent == 6
    assert by_node == {"a": 3, "b": 3}
    store.clear()
    by_node.clear()
    monkeypatch.setattr("outlive.store.loading._FEW", 0)
    assert store.load(tmp_path).arrays == 6
    assert by_node == {"a": 3, "b": 3}
    assert {int(value[0]) for value in store.values()} == {0, 1, 2}


@pytest.mark.parametrize("why", ["does not see the folder", "may not write there"])
def test_what_a_node_cannot_do_this_one_does(
    store: outlive.Store, cluster: PlayedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    cluster.at("b")  # type: ignore[attr-defined]
    store.put_many({f"b/{i}": np.full(1000, i) for i in range(3)})
    cluster.at("a")  # type: ignore[attr-defined]
    send, receive = saving.send, loading.receive

    def refused(session: Any, *args: Any) -> Any:
        if session.node == "b":
            raise PermissionError(13, "Permission denied")
        return send(session, *args)

    def elsewhere(session: Any, place: Folder, *args: Any) -> Any:
        return receive(session, Folder("/none") if session.node == "b" else place, *args)

    if why == "may not write there":
        monkeypatch.setattr(saving, "send", refused)
    else:
        monkeypatch.setattr(Folder, "sees", lambda *_: False)
        monkeypatch.setattr(loading, "receive", elsewhere)
    assert store.save(tmp_path).sent == 3
    store.clear()
    monkeypatch.setattr("outlive.store.loading._FEW", 0)
    assert store.load(tmp_path).arrays == 3
    assert len(store) == 3


def count_calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many arrays each node sends or receives."""
    found: dict[str, int] = {}

    def counting(function: Any) -> Any:
        def counted(session: Any, *args: Any) -> Any:
            found[session.node] = found.get(session.node, 0) + 1
            return function(session, *args)

        return counted

    monkeypatch.setattr(saving, "send", counting(saving.send))
    monkeypatch.setattr(loading, "receive", counting(loading.receive))
    return found
