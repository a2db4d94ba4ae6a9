"""What a program does with a local store, as with one in Ray."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import socket
import weakref
from types import MappingProxyType

import numpy as np
import pytest

import outlive
from outlive.arrays.writer import Writer
from outlive.local.place import place_of
from outlive.store import values
from outlive.store.session import Session

from .conftest import is_running, keeper_of, run


def test_all_kinds_of_calls(store, shared_root, tmp_path):
    handle = store.put(np.arange(6.0), key="a")
    assert handle.get().sum() == store["a"].sum() == 15 and handle.location == [handle.hint]
    assert (handle.lifetime, store.put(np.zeros(3)).lifetime) == ("detached", "job")
    with store.create((300, 300), key="made") as out:
        out[:] = 1
    assert store["made"].sum() == 90000
    many = store.put_many({"m/1": np.ones(2), "m/2": np.zeros(2)})
    assert list(store.keys("m/")) == ["m/1", "m/2"] and set(store.get_many(["m/1", "m/2"])) == set(many)
    with store.scope() as scope:
        scope["inside"] = np.ones(3)
        assert "inside" in store
    assert "inside" not in store
    assert [one.key for one, _ in store.entries()] == ["a", "m/1", "m/2", "made"]
    assert store.stats().arrays == 4 and len(store.stats().shelves) == 1
    assert store.check() == [] and store.lost() == [] and store.spilled() == set()
    store.save(tmp_path / "archive")
    del store["a"]
    assert store.load(tmp_path / "archive").arrays == 1 and store["a"].sum() == 15
    assert store.handle("made").get(mode="c").flags.writeable
    assert handle.durability.replicas == 0
    assert "this node" in store._repr_html_() and "<img" in store.handle("made")._repr_html_()
    assert pickle.loads(pickle.dumps(store)) == store != outlive.Store(store.name)
    assert shared_root in repr(store)


def test_a_value_and_its_arrays(store):
    store["v"] = {"image": np.ones(100_000), "names": ["a", "b"], "f": max}
    assert store["v"]["f"](1, 2) == 2 and store.handle("v")["image"].sum() == 100_000
    assert store.handle("v").get(mode="c")["image"].flags.writeable


def test_time_to_live(store):
    handle = store.put(np.ones(3), key="t", ttl=3600)
    handle.touch()
    assert handle.ends_at() is not None


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (lambda store: store.put(np.ones(3), replicas=2), "one machine"),
        (lambda store: store.mirror("/tmp/x", every=5), "a mirror is an actor of Ray"),
        (lambda store: store.strategy("k"), "tasks of Ray"),
        (lambda _: outlive.open(local=True, address="auto"), "local=True"),
        (lambda _: outlive.open(root="/tmp"), "root= is for local=True"),
    ],
    ids=["replicas", "mirror", "strategy", "address", "root"],
)
def test_what_is_not_there_says_so(store, asked, says):
    with pytest.raises((ValueError, outlive.StoreUnavailable), match=says):
        asked(store)


def test_it_needs_no_ray(store, shared_root):
    store["k"] = np.arange(5)
    said = run(
        f"""
inside = outlive.open({store.name!r}, local=True, root={shared_root!r})
print(int(inside["k"].sum()), "numpy" in sys.modules, [name for name in sys.modules if name.startswith("ray.")])
for asks in (outlive.open, outlive.nodes, lambda: outlive.NumpyStore(np.ones(3), "k"), lambda: outlive.load("/tmp")):
    try:
        asks()
    except outlive.MissingPackage as error:
        assert error.name == "ray", error
    else:
        raise SystemExit(str(asks))
""",
        shared_root,
    )
    assert said == "10 True []"


def test_a_full_shelf(root):
    store = outlive.open(local=True, root=root, memory="8MiB", disk=0)
    store["kept"] = np.ones(500_000)
    with pytest.raises(outlive.StoreFull):
        store["k"] = np.ones(1_000_000)
    assert list(store) == ["kept"]
    outlive.open(local=True, root=root, disk="100MiB", spill_to=f"{root}-spill")
    try:
        store["k"] = np.ones(800_000)
        assert store["kept"].sum() == 500_000 and len(store.spilled()) == 1
    finally:
        outlive.shutdown(local=True, root=root)
        os.rmdir(f"{root}-spill")


def test_a_handle_of_another_machine(store, shared_root, root, monkeypatch):
    handle = store.put(np.ones(100_000))
    outlive.ArrayHandle(handle.info, handle.hint)
    elsewhere = outlive.ArrayHandle(handle.info._replace(id="0" * 32), f"local:other:{root}")
    with pytest.raises(outlive.StoreUnavailable, match=f"machine other, and this is {socket.gethostname()}"):
        elsewhere.get()
    beside = outlive.ArrayHandle(handle.info._replace(id="0" * 32), f"local:other:{shared_root}")
    for read in (beside.get, lambda: beside[:3], lambda: beside[0]):  # though this machine has a store there
        with pytest.raises(outlive.StoreUnavailable, match="machine other, and this is"):
            read()
    for call in (beside.pin, beside.unpin):
        with pytest.raises(outlive.StoreUnavailable, match="machine other, and this is"):
            call()
    renamed = outlive.ArrayHandle(handle.info, f"local:other:{shared_root}")
    renamed.unpin()
    assert renamed.get().sum() == 100_000
    ended = outlive.ArrayHandle(handle.info._replace(id="0" * 32), f"local:{socket.gethostname()}:{root}")
    with pytest.raises(outlive.ArrayNotFound, match="has ended"):
        ended.get()
    assert place_of(root).shelves() == []  # no store was begun for that


def test_a_root_that_others_can_enter(root):
    os.chmod(root, 0o755)
    with pytest.raises(outlive.UnsafeRoot, match="open to others"):
        outlive.open(local=True, root=root)
    os.chmod(root, 0o700)


def test_a_long_root(root):
    long = f"{root}/{'x' * 120}"
    outlive.open(local=True, root=long)["k"] = np.ones(3)
    assert is_running(keeper_of(long))
    outlive.shutdown(local=True, root=long)


def test_shut_down_by_another_program(root):
    store = outlive.open(local=True, root=root)
    store["k"] = np.ones(3)
    run(f"outlive.shutdown(local=True, root={root!r})", root)
    with pytest.raises(outlive.StoreUnavailable, match="shut down"):
        store["k"] = np.zeros(3)
    store["k"] = np.zeros(3)  # which begins a new one
    assert list(store) == ["k"]


def test_a_writable_array_is_looked_for_where_its_handle_says(store, root, monkeypatch):
    from outlive.arrays.reader import Reader

    other = outlive.open(local=True, root=root)
    handles = [one.put(np.ones(100_000)) for one in (store, other)]
    asked, private = [], Reader.private

    def ask(self: Reader, info: object) -> object:
        asked.append(info.id)
        return private(self, info)

    monkeypatch.setattr(Reader, "private", ask)
    assert all(one.get(mode="c").flags.writeable for one in handles)
    assert asked == [one.id for one in handles]


def test_a_failed_put_keeps_nothing_of_its_callers(shared_root, monkeypatch):
    """The error would hold the frames of its callers, and so their arrays, until Python looks for cycles."""
    store = outlive.open(local=True, root=shared_root)

    class Held:
        pass

    def put() -> weakref.ref[Held]:
        held = Held()
        with contextlib.suppress(outlive.StoreUnavailable):
            store.put(np.ones(3), "never")
        return weakref.ref(held)

    def refuse(*_):
        raise outlive.StoreUnavailable("no catalog")

    monkeypatch.setattr(Session, "ask_catalog", refuse)
    gc.collect()
    gc.disable()
    try:
        assert put()() is None
    finally:
        gc.enable()


def test_the_collector_rests_while_many_plain_arrays_are_put(store, monkeypatch):
    """And not where more than their drafts is made: what a program's own code makes may need it."""
    states, drafts_of = [], Writer.drafts_of

    def spied(*args, **options):
        states.append(gc.isenabled())
        return drafts_of(*args, **options)

    monkeypatch.setattr(Writer, "drafts_of", spied)
    monkeypatch.setattr(values, "_MANY", 3)
    array = np.ones(3)
    few, many = {"a": array, "b": array}, {"a": array, "b": array, "c": array}
    for some in (
        many,
        list(many.values()),
        few,
        (one for one in [array] * 3),
        MappingProxyType(many),
        {**many, "d": 1},
    ):
        store.put_many(some)
        assert gc.isenabled()
    assert states == [False, False, True, True, True, True]
    assert not values.are_many_arrays([np.broadcast_to(array, (1 << 27, 3))] * 3), "that takes long"
    with pytest.raises(outlive.InvalidKey):
        store.put_many({**many, "": array})
    assert gc.isenabled()
