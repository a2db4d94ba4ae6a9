"""Arrays by a connection between two keepers, on a cluster that is played: its servers are real ones, by loopback."""

from __future__ import annotations

import itertools
import json
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outlive.arrays import segment
from outlive.arrays.draft import Draft, Target
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import size_in_pool
from outlive.arrays.lifetimes import TTL, Lifetime
from outlive.arrays.lock import open_owned
from outlive.arrays.marks import is_only_here
from outlive.arrays.put_options import PutOptions
from outlive.arrays.segment import pages
from outlive.arrays.shelf import Shelf
from outlive.arrays.tally import FELL_BACK
from outlive.arrays.writer import Writer
from outlive.catalog.wire import Located, pack
from outlive.cluster import direct, fetches, keeper, links, own_copies, serving, small_copies, transfer
from outlive.cluster.port import Call, NoAnswer
from outlive.cluster.short_calls import ShortCalls, is_small_fetch
from outlive.errors import ArrayNotFound, CorruptArray, StoreFull
from outlive.store.reading import by_handle
from outlive.store.rows import part
from outlive.transfer import channel, client, proof, wire
from tests.conftest import ROOT, eventually
from tests.nodes.played import PlayedCluster, play_connected, put, reader_on_b

MIB = 1 << 20
ARRAY = np.random.default_rng(1).integers(0, 1 << 60, (2048, 1024))  # 16 MiB: by several connections
INFO = ArrayInfo("1" * 32, "s", None, "'<f8'", (1,), False, 4096, 8, 8192, 1)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    yield from play_connected(f"{ROOT}/direct-{request.node.name[:80]}", 3)


@pytest.fixture
def streams(cluster: PlayedCluster) -> list[Call]:
    """What came through the port's stream, as Ray would carry it, and not by a connection."""
    found: list[Call] = []

    def note(_: str, call: Call, make: Any) -> Any:
        found.append(call)
        return make()

    cluster.peers.instead |= {"send": note, "send_many": note}
    return found


@pytest.fixture(params=[1, 2, 4])
def connections(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many for an array of 16 MiB."""
    monkeypatch.setattr(client.cores, "usable", lambda: float(request.param))


def serving_of(cluster: PlayedCluster) -> serving.Serving:
    return serving.Serving(cluster.shelves["a"], "a", cluster.peers, cluster.keepers["a"])


@pytest.mark.parametrize("array", [ARRAY, ARRAY[:100], np.arange(3), np.empty((0, 3)), np.asfortranarray(ARRAY[:9])])
def test_an_array_is_read_by_a_connection(cluster: PlayedCluster, streams: list[Call], array: Any) -> None:
    info = put(cluster, array)
    for _ in range(2):  # the second time into a recycled segment, which is mapped
        found = by_handle(cluster.session("b"), info, "a")
        assert found.tobytes("A") == array.tobytes("A") and found.shape == array.shape
        assert not is_only_here(cluster.shelves["a"], info.id)  # who deletes it asks the catalog
        assert cluster.holders(info.id) == {"a": True, "b": False}
        del found
        assert cluster.shelves["b"].delete(info.id)
    assert not streams
    assert cluster.keepers["a"].serving is not None
    assert cluster.keepers["a"].serving.counts.sent == 2 * info.size


def test_rows_are_read_by_a_connection(cluster: PlayedCluster, streams: list[Call]) -> None:
    info = put(cluster, ARRAY)
    for index in (np.s_[10:20], np.s_[-5:], 7, np.s_[0:1000]):
        np.testing.assert_array_equal(part(cluster.session("b"), info, "a", index), ARRAY[index])
    assert cluster.holders(info.id) == {"a": True}
    assert is_only_here(cluster.shelves["a"], info.id)
    assert not streams


def test_small_arrays_come_by_one_connection(cluster: PlayedCluster, streams: list[Call]) -> None:
    infos = [
        put(cluster, np.full(number, number), replicas=2, lifetime=Lifetime(ttl=1000.0 * (number % 2)))
        for number in range(150)
    ]
    gone = put(cluster, np.arange(5), replicas=2)
    cluster.shelves["a"].delete(gone.id)
    cluster.keepers["b"].fetch_many(pack([*infos, gone]), "a")
    for info in infos:
        assert cluster.holders(info.id) == {"a": True, "b": True}
        assert not info.ttl or cluster.shelves["b"].deadline(info) == cluster.shelves["a"].deadline(info)
        assert by_handle(cluster.session("b"), info, "a").tolist() == [info.shape[0]] * info.shape[0]
    assert not cluster.shelves["b"].has(gone.id)
    assert not streams


# --- a reader's own copies


def fetched_by_keepers(cluster: PlayedCluster) -> list[Call]:
    """What readers have their keepers copy."""
    found: list[Call] = []

    def note(_: str, call: Call, make: Any) -> Any:
        found.append(call)
        return make()

    cluster.peers.instead["fetch"] = note
    return found


def test_a_reader_copies_small_arrays_by_itself(cluster: PlayedCluster, streams: list[Call]) -> None:
    asked, session = fetched_by_keepers(cluster), reader_on_b(cluster)
    arrays = [np.full(size, size) for size in (1, 3, 1000, 50_000, 1 << 17)]
    infos = [put(cluster, array) for array in arrays]
    for info, array in zip(infos, arrays, strict=True):
        np.testing.assert_array_equal(by_handle(session, info, "a"), array)
        assert cluster.holders(info.id) == {"a": True, "b": False}
        assert not is_only_here(cluster.shelves["a"], info.id)  # who deletes it asks the catalog
    assert len(asked) == 1  # the first: a process that reads only one looks for no way
    assert all(cluster.catalog.erase(pack([info]), "a") for info in infos)
    assert [cluster.holders(info.id) for info in infos] == [{}] * len(infos)
    assert not streams


def test_a_keeper_copies_what_is_large_or_ends_by_itself(cluster: PlayedCluster) -> None:
    asked, session = fetched_by_keepers(cluster), reader_on_b(cluster)
    for array, options in ((ARRAY, {}), (ARRAY[:1], {"lifetime": Lifetime(TTL, ttl=1000.0)})):
        info = put(cluster, array, **options)
        np.testing.assert_array_equal(by_handle(session, info, "a"), array)
        assert asked.pop().args[0] == pack([info])


def test_what_a_reader_cannot_copy_its_keeper_copies(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, session = fetched_by_keepers(cluster), reader_on_b(cluster)
    assert session.own_copies is not None
    with session.shelf.ledger.locked():  # a signal handler came in such a block
        assert not session.own_copies.make(put(cluster, ARRAY[0]), "a", 0)
    with monkeypatch.context() as patched:
        patched.setattr(fetches.Fetches, "_join", lambda *_, **__: 0)  # the catalog refuses all copies
        np.testing.assert_array_equal(by_handle(session, put(cluster, ARRAY[0]), "a"), ARRAY[0])
    assert len(asked) > 1
    before = len(asked)
    deleted = put(cluster, ARRAY[0])
    cluster.shelves["a"].delete(deleted.id)
    with pytest.raises(ArrayNotFound):
        by_handle(session, deleted, "a")
    assert len(asked) > before
    assert cluster.shelves["b"].ledger.used == sum(map(_size_on_disk, _files(cluster.shelves["b"])))


def test_a_copy_that_another_process_has_made_meanwhile_counts(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, session = fetched_by_keepers(cluster), reader_on_b(cluster)
    info, directly = put(cluster, ARRAY[0]), own_copies.directly

    def late(*args: Any) -> Any:
        draft = directly(*args)
        cluster.keepers["b"].fetch(pack([info]), "a")
        return draft

    monkeypatch.setattr(own_copies, "directly", late)
    np.testing.assert_array_equal(by_handle(session, info, "a"), ARRAY[0])
    assert len(asked) == 1
    assert not [path for path in _files(cluster.shelves["b"]) if "/new/" in path]


def test_who_deletes_a_copy_deletes_what_others_are_copying(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes copy an array at a time, and it is deleted before the second one seals its copy."""
    session, info = reader_on_b(cluster), put(cluster, ARRAY[0])
    shelf, seal = cluster.shelves["b"], Shelf.seal_copy

    def delete_first(self: Shelf, draft: Any) -> None:
        monkeypatch.setattr(Shelf, "seal_copy", seal)
        cluster.keepers["b"].fetch(pack([info]), "a")
        assert shelf.has(info.id) and shelf.has_draft(info.id)
        assert cluster.catalog.erase(pack([info]), "a")
        seal(self, draft)

    monkeypatch.setattr(Shelf, "seal_copy", delete_first)
    with pytest.raises(ArrayNotFound):
        by_handle(session, info, "a")
    assert cluster.holders(info.id) == {}
    assert shelf.ledger.used == sum(map(_size_on_disk, _files(shelf)))


def _files(shelf: Shelf) -> list[str]:
    """The segments of a shelf."""
    folders = (shelf.mem, shelf.pool.folder, *(str(one) for one in Path(shelf.new).iterdir()))
    return [str(path) for folder in folders for path in Path(folder).iterdir()]


def _size_on_disk(path: str) -> int:
    size = size_in_pool(os.path.basename(path))
    return pages(os.lstat(path).st_size if size is None else size)


# --- short calls


def short_calls(cluster: PlayedCluster, calls: dict[str, Call]) -> dict[str, Any]:
    return ShortCalls(cluster.peers).make(calls)


def test_short_calls_of_several_nodes_go_by_connections(cluster: PlayedCluster) -> None:
    info, gone = put(cluster, ARRAY[:10], replicas=2), put(cluster, ARRAY[:10])
    cluster.keepers["b"].fetch(pack([info]), "a", kept=True)
    by = (8, gone.id, "a")
    assert short_calls(cluster, {"a": Call.of("drop", [(gone.id, None)]), "b": Call.of("drop", [(gone.id, None)])}) == {
        "a": [True],
        "b": [False],
    }
    assert cluster.holders(info.id) == {"a": True, "b": True}
    asked = [("s", "k", 8, by), ("s", "other", 9, None)]
    assert short_calls(cluster, {"b": Call.of("forbid", asked)}) == {"b": None}
    assert short_calls(cluster, {"a": Call.of("finish", [info.id, gone.id], 1)}) == {"a": [True, False]}
    assert short_calls(cluster, {"a": Call.of("drop", [(info.id, ("s", "k"))])}) == {"a": [True]}
    assert cluster.holders(info.id) == {"b": True}


def test_what_a_short_call_forbids_is_forbidden_as_through_ray(cluster: PlayedCluster) -> None:
    asked = [("s", "k", 8, (8, "1" * 32, "a")), ("s", "other", 9, None)]
    assert short_calls(cluster, {"a": Call.of("forbid", asked)}) == {"a": None}
    cluster.keepers["b"].forbid(asked)
    a, b = (
        {name: os.readlink(f"{shelf.names.folder}/{name}") for name in os.listdir(shelf.names.folder)}
        for shelf in (cluster.shelves["a"], cluster.shelves["b"])
    )
    assert a == b != {}


def test_a_reader_has_a_small_array_copied_by_a_short_call(cluster: PlayedCluster, streams: list[Call]) -> None:
    info = put(cluster, ARRAY[:10])
    fetch = Call.of("fetch", pack([info]), "a", False, 0)
    for _ in range(2):  # it may be made twice
        assert short_calls(cluster, {"b": fetch}) == {"b": None}
        assert cluster.holders(info.id) == {"a": True, "b": False}
    assert cluster.catalog.erase(pack([info]), "a")
    assert cluster.holders(info.id) == {}
    answer = short_calls(cluster, {"b": fetch})["b"]
    assert Located(*json.loads(answer)).nodes == []
    assert not streams


def test_a_copy_that_cannot_be_made_is_asked_for_through_ray_too(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the reader meets the error there."""
    info = put(cluster, ARRAY[:10])

    def full(*_: Any) -> None:
        raise StoreFull("it is full")

    monkeypatch.setattr(Draft, "make", full)
    made, fetch = ShortCalls(cluster.peers), Call.of("fetch", pack([info]), "a", False, 0)
    assert made.make({"b": fetch}) == {}
    monkeypatch.undo()
    assert made.make({"b": fetch}) == {"b": None}  # by the same connection
    made.close()
    assert made._links is not None and made._links._ways["b"].link._idle == []  # type: ignore[union-attr]


def test_small_arrays_alone_are_copied_by_short_calls(cluster: PlayedCluster) -> None:
    small, large = put(cluster, ARRAY[:10]), put(cluster, np.zeros((17, 1 << 20), np.uint8))
    assert is_small_fetch(Call.of("fetch", pack([small]), "a"))
    assert not is_small_fetch(Call.of("fetch", pack([large]), "a"))
    assert not is_small_fetch(Call.of("about"))


@pytest.mark.parametrize(
    "call",
    [
        Call.of("listing"),
        Call.of("fetch", pack([INFO._replace(id="../" + "1" * 29)]), "a"),
        Call.of("fetch", b"[]", "a"),
        Call.of("fetch", b"no JSON", "a"),
        Call.of("__init__", "x", "a"),
        Call.of("drop", [("../" + "1" * 29, None)]),
        Call.of("drop", [("1" * 32 + "\n", None)]),
        Call.of("finish", ["1/" + "1" * 30], 1),
        Call.of("drop", 5),
        Call.of("forbid", [("s",)]),
    ],
)
def test_what_is_no_short_call_goes_through_ray(cluster: PlayedCluster, call: Call) -> None:
    made = ShortCalls(cluster.peers)
    assert made.make({"a": call}) == {}
    gone = put(cluster, ARRAY[:10])
    assert made.make({"a": Call.of("drop", [(gone.id, None)])}) == {"a": [True]}  # by the same connection


def test_a_keeper_that_is_stopped_or_gone_is_asked_through_ray(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlive.cluster.short_calls._GRACE", 0.2)
    gate, keeper = threading.Event(), cluster.keepers["a"]
    monkeypatch.setattr(keeper, "drop", lambda _: gate.wait(60))
    made, call = ShortCalls(cluster.peers), {"a": Call.of("drop", [("1" * 32, None)])}
    assert made.make(call) == {}
    assert made._links is not None and made._links.through_ray()  # for a while
    gate.set()
    keeper.disconnect()
    assert ShortCalls(cluster.peers).make(call) == {}
    assert made.make(dict.fromkeys(map(str, range(20)), call["a"])) == {}  # more than are asked at a time
    monkeypatch.setenv("OUTLIVE_CALLS", "ray")
    assert ShortCalls(cluster.peers)._links is None


def test_a_removed_shelf_confirms_nothing(cluster: PlayedCluster) -> None:
    made, call = ShortCalls(cluster.peers), {"a": Call.of("drop", [("1" * 32, None)])}
    assert made.make(call) == {"a": [False]}
    cluster.shelves["a"].remove()
    Shelf(cluster.shelves["a"].path)  # another one, at its path
    assert made.make(call) == {}


# --- what goes wrong


def test_what_is_deleted_is_not_found(cluster: PlayedCluster, streams: list[Call]) -> None:
    info = put(cluster, ARRAY)
    cluster.shelves["a"].delete(info.id)
    with pytest.raises(ArrayNotFound):
        by_handle(cluster.session("b"), info, "a")
    assert not streams


def test_what_is_deleted_before_it_is_marked_is_not_copied(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, mark = put(cluster, ARRAY), serving.mark

    def delete_first(*args: Any, **options: Any) -> bool:
        cluster.shelves["a"].delete(info.id)
        return mark(*args, **options)

    monkeypatch.setattr(serving, "mark", delete_first)
    with pytest.raises(ArrayNotFound):
        by_handle(cluster.session("b"), info, "a")
    assert cluster.holders(info.id) == {}


def test_a_segment_that_is_being_sent_is_not_recycled(
    cluster: PlayedCluster, streams: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted meanwhile, and others put: what arrives is what was asked for."""
    info, shelf, into = put(cluster, ARRAY), cluster.shelves["a"], client._Reply.into
    server = cluster.keepers["a"].serving._server  # type: ignore[union-attr]

    def overwrite_first(self: Any, *args: Any) -> None:
        eventually(lambda: server.counts.sent)  # type: ignore[union-attr]
        assert shelf.delete(info.id)
        for number in range(2):
            put(cluster, np.full_like(ARRAY, number))
        assert server.counts.sent < info.size  # type: ignore[union-attr]
        into(self, *args)

    monkeypatch.setattr(client._Reply, "into", overwrite_first)
    source = transfer.Source(cluster.peers, "a", MIB, 0, cluster.session("b").links)
    draft = transfer.copy(
        cluster.shelves["b"], source, info.id, kept=False
    )  # by one connection, as its size is unknown
    with open(draft.path, "rb") as file:
        assert file.read()[info.offset : info.offset + info.nbytes] == ARRAY.tobytes()
    draft.discard()
    assert not streams
    (free,) = os.listdir(shelf.pool.folder)

    def is_free() -> bool:
        file = open_owned(f"{shelf.pool.folder}/{free}")
        return file is not None and file.close() is None

    eventually(is_free)


def test_where_no_server_is_reached_arrays_come_through_ray(
    cluster: PlayedCluster, streams: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_SOON", 0.0)
    monkeypatch.setattr(links, "_LATER", 1000.0)
    keeper, session = cluster.keepers["a"], cluster.session("b")
    assert keeper.serving is not None and session.links is not None
    first = put(cluster, ARRAY)
    by_handle(session, first, "a")
    keeper.serving.close()  # as its keeper ends
    eventually(lambda: not keeper.serving._server._door._inside)  # type: ignore[union-attr]
    second = put(cluster, ARRAY)
    np.testing.assert_array_equal(by_handle(session, second, "a"), ARRAY)
    assert [call.args[0] for call in streams] == [second.id]
    assert session.links.through_ray()
    assert session.shelf.tally.totals()[FELL_BACK] == 1
    keeper.serving = serving_of(cluster)  # it started anew, at another port
    third = put(cluster, ARRAY)
    np.testing.assert_array_equal(by_handle(session, third, "a"), ARRAY)
    assert len(streams) == session.shelf.tally.totals()[FELL_BACK] == 1
    assert not session.links.through_ray()


@pytest.mark.parametrize("how", ["off", "taken", "old", "stranger"])
def test_a_keeper_without_a_server_says_why(
    cluster: PlayedCluster, streams: list[Call], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    keeper, session = cluster.keepers["a"], cluster.session("b")
    assert keeper.serving is not None and session.links is not None
    info = put(cluster, ARRAY)
    if how == "off":
        monkeypatch.setenv("OUTLIVE_TRANSFER", "ray")
        keeper.serving = serving_of(cluster)
    elif how == "taken":
        monkeypatch.setenv("OUTLIVE_TRANSFER_PORT", str(keeper.serving.about()[1]))  # type: ignore[index]
        keeper.serving = serving_of(cluster)
    elif how == "old":
        monkeypatch.setattr(type(keeper), "about", lambda _: {"protocol": 7})
    else:
        cluster.peers.save(links.SECRET, b"another")
    np.testing.assert_array_equal(by_handle(session, info, "a"), ARRAY)
    small = [put(cluster, np.arange(5), replicas=2) for _ in range(3)]
    cluster.keepers["b"].fetch_many(pack(small), "a")
    assert [call.method for call in streams] == ["send", "send_many"]  # and tried once, not each time
    assert session.shelf.tally.totals()[FELL_BACK] == 1 + len(small)
    ((node, why),) = session.links.through_ray()
    said = {"off": "OUTLIVE_TRANSFER=ray", "taken": "in use", "old": "version", "stranger": "secret"}
    assert node == "a" and said[how] in why


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize("altered", [0, 7])
def test_what_is_altered_on_the_way_comes_through_ray(
    cluster: PlayedCluster, streams: list[Call], monkeypatch: pytest.MonkeyPatch, altered: int
) -> None:
    info, numbers = put(cluster, ARRAY), itertools.count()
    real = cluster.keepers["a"].serving._server._checksum  # type: ignore[union-attr]

    def wrong(data: Any) -> int:
        return int(real(data)) ^ (next(numbers) == altered)

    monkeypatch.setattr(cluster.keepers["a"].serving._server, "_checksum", wrong)  # type: ignore[union-attr]
    np.testing.assert_array_equal(by_handle(cluster.session("b"), info, "a"), ARRAY)
    assert [call.method for call in streams] == ["send"]


@pytest.mark.usefixtures("connections")
def test_what_stops_on_the_way_comes_through_ray(
    cluster: PlayedCluster, streams: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender is stopped: here for as long as the test takes."""
    for patience in ("_STALLED", "_ANSWER"):
        monkeypatch.setattr(client, patience, 0.2)
    info, goes_on, numbers = put(cluster, ARRAY), threading.Event(), itertools.count()
    server = cluster.keepers["a"].serving._server  # type: ignore[union-attr]
    real = server._checksum  # type: ignore[union-attr]
    monkeypatch.setattr(server, "_checksum", lambda data: goes_on.wait(60) if next(numbers) > 4 else real(data))
    np.testing.assert_array_equal(by_handle(cluster.session("b"), info, "a"), ARRAY)
    assert [call.method for call in streams] == ["send"]
    assert not [one for one in threading.enumerate() if one.name == "transfer-part"]  # nobody writes any more
    goes_on.set()


def test_a_thread_of_a_read_that_was_interrupted_writes_into_no_other_file(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C ends the wait for it. The number of the draft's descriptor is another file's then."""
    monkeypatch.setattr(client.cores, "usable", lambda: 2.0)
    info, write, goes_on = put(cluster, ARRAY), Target.write, threading.Event()

    def late(self: Target, offset: int, data: memoryview) -> None:
        if threading.current_thread().name == "transfer-part":
            assert goes_on.wait(60)
        write(self, offset, data)

    def interrupted(part: Any) -> None:
        if part._thread.is_alive():
            raise KeyboardInterrupt

    monkeypatch.setattr(Target, "write", late)
    monkeypatch.setattr(client._Part, "join", interrupted)
    source = transfer.Source(cluster.peers, "a", MIB, 0, cluster.session("b").links)
    with pytest.raises(KeyboardInterrupt):
        transfer.copy(cluster.shelves["b"], source, info.id, kept=False, size=info.size)
    assert cluster.holders(info.id) == {"a": True} and not cluster.shelves["b"].ledger.used
    with ExitStack() as stack:
        others = [stack.enter_context(open(tmp_path / str(number), "w+b")) for number in range(30)]
        goes_on.set()
        eventually(lambda: not [one for one in threading.enumerate() if one.name == "transfer-part"])
        assert not any(os.fstat(other.fileno()).st_size for other in others)


def test_a_damaged_segment_is_no_array_elsewhere(cluster: PlayedCluster) -> None:
    info = put(cluster, ARRAY)
    with open(f"{cluster.shelves['a'].mem}/{info.id}", "r+b") as file:
        file.write(b"x")
    with pytest.raises(CorruptArray):
        by_handle(cluster.session("b"), info, "a")
    assert not cluster.shelves["b"].has(info.id)
    assert cluster.shelves["b"].ledger.used == 0


def test_a_small_array_that_another_version_wrote_is_read(
    cluster: PlayedCluster, streams: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its footer says the same in another order."""
    footer = segment.footer

    def in_another_order(info: ArrayInfo) -> bytes:
        fields = json.loads(footer(info)[: -segment.TRAILER.size])
        text = json.dumps(dict(reversed(fields.items())), ensure_ascii=False, separators=(",", ":")).encode()
        identity, checksum = bytes.fromhex(info.id), zlib.crc32(text, zlib.crc32(segment.header_of(info)))
        return text + segment.TRAILER.pack(len(text), checksum, identity, segment.MAGIC)

    with monkeypatch.context() as patched:
        patched.setattr(segment, "footer", in_another_order)
        info = put(cluster, ARRAY[0])
    np.testing.assert_array_equal(by_handle(cluster.session("b"), info, "a"), ARRAY[0])
    assert not streams


def test_a_small_array_is_verified_whole(
    cluster: PlayedCluster, streams: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    info, told = put(cluster, ARRAY[0]), direct._told
    monkeypatch.setattr(direct, "_told", lambda *sent: (told(*sent)[0]._replace(version=1), 0))
    np.testing.assert_array_equal(by_handle(cluster.session("b"), info, "a"), ARRAY[0])
    assert [call.method for call in streams] == ["send"]
    assert cluster.shelves["b"].ledger.used == sum(map(_size_on_disk, _files(cluster.shelves["b"])))


def _altered(head: bytes, at: int, by: int) -> bytes:
    changed = bytearray(head)
    changed[at] ^= by
    return bytes(changed)


@pytest.mark.parametrize("rows", [1, 9])
def test_whatever_comes_instead_of_a_head_the_array_is_read_as_it_is(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """A head has no checksum of its own. What it says is compared with the segment, whose footer has one."""
    session, real = cluster.session("b"), direct.head
    infos = [put(cluster, ARRAY[:rows]) for _ in range(2)]
    own = reader_on_b(cluster).own_copies
    assert own is not None
    monkeypatch.setattr(links.Links, "lost", lambda *_: None)  # so that each head is asked for
    length = len(real(infos[0], 0))
    for at, by in itertools.product(range(8, length), (1, 0x80, 0xFF)):
        monkeypatch.setattr(serving, "head", lambda *args, at=at, by=by: _altered(real(*args), at, by))
        own.make_many(infos, "a", 0)
        np.testing.assert_array_equal(by_handle(session, infos[0], "a"), ARRAY[:rows])
        for info in infos:
            cluster.shelves["b"].delete(info.id)
    assert not list(Path(cluster.shelves["b"].new).glob("*/*"))


@pytest.mark.parametrize("name", ["../../mem/{}", "../../ledger", "x" * 32, ""])
def test_a_head_names_no_other_file(
    cluster: PlayedCluster, streams: list[Call], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    other, infos = put(cluster, ARRAY[0], "b"), [put(cluster, ARRAY[0], replicas=2) for _ in range(2)]
    said, real = name.format(other.id), direct.head
    monkeypatch.setattr(serving, "head", lambda info, at: real(info._replace(id=said), at))
    cluster.keepers["b"].fetch_many(pack(infos), "a")
    assert [call.method for call in streams] == ["send_many"]
    assert all(cluster.holders(info.id) == {"a": True, "b": True} for info in infos)
    assert cluster.shelves["b"].has(other.id) and cluster.shelves["b"].exists()


@pytest.mark.parametrize("size", [0, 100, 1 << 45, (1 << 64) - 1])
def test_a_length_that_lies_makes_no_memory(
    cluster: PlayedCluster, streams: list[Call], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    infos, packed = [put(cluster, ARRAY[0], replicas=2) for _ in range(3)], wire.Answer.packed
    monkeypatch.setattr(wire.Answer, "packed", lambda self: packed(self._replace(size=self.size and size)))
    cluster.keepers["b"].fetch_many(pack(infos), "a")
    assert [call.method for call in streams] == ["send_many"]
    assert all(cluster.holders(info.id) == {"a": True, "b": True} for info in infos)


def test_small_arrays_of_which_some_came_go_on_through_ray(
    cluster: PlayedCluster, streams: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    infos = [put(cluster, np.full(1000, number), replicas=2) for number in range(30)]
    server = cluster.keepers["a"].serving._server  # type: ignore[union-attr]
    opened = server._opened  # type: ignore[union-attr]

    def fails(request: Any) -> Any:
        if request.array_id == infos[20].id:
            raise ValueError("damaged")
        return opened(request)

    monkeypatch.setattr(server, "_opened", fails)
    source = transfer.Source(cluster.peers, "a", 40_000, 0, cluster.session("b").links)
    parcels = list(small_copies.receive_small(source, [info.id for info in infos]))
    assert [one.id for parcel in parcels for one in small_copies.unpack(parcel.infos)] == [info.id for info in infos]
    assert len(streams) == 1 and len(streams[0].args[0]) < 30


@pytest.mark.parametrize(
    ("error", "worked", "again"),
    [
        (channel.Lost("reset"), True, 1.0),
        (channel.Silent("stopped"), True, 1.0),
        (proof.Refused("another secret"), True, 60.0),
        (proof.Full("too many connections"), False, 1.0),
        (channel.Lost("Connection refused"), False, 60.0),
        (channel.Silent("a firewall"), False, 600.0),  # each try takes seconds
    ],
)
def test_when_a_way_is_tried_again(cluster: PlayedCluster, error: channel.Lost, worked: bool, again: float) -> None:
    here = links.Links(cluster.peers, "b")
    link = here.to("a")
    assert link is not None
    link.worked = worked
    now = cluster.peers.now()
    cluster.peers.now = lambda: now  # type: ignore[method-assign]
    here.lost("a", link, error)
    assert here.to("a") is None
    cluster.peers.now = lambda: now + again - 0.1  # type: ignore[method-assign]
    assert here.to("a") is None
    cluster.peers.now = lambda: now + again  # type: ignore[method-assign]
    assert here.to("a") is not None


def test_a_way_that_fails_after_each_proof_is_tried_ever_later(cluster: PlayedCluster) -> None:
    """Large packets may be lost on the way, and small ones not: then each try is a wait of seconds."""
    here, now, waits = links.Links(cluster.peers, "b"), cluster.peers.now(), list[float]()
    cluster.peers.now = lambda: now  # type: ignore[method-assign]

    def fail(after: float) -> float:
        """How long the way is not tried again, if it fails so long after it was found."""
        nonlocal now
        link = here.to("a")
        assert link is not None
        link.worked = True
        now += after
        here.lost("a", link, channel.Silent("nothing came for too long"))
        since, now = now, here._ways["a"].until
        return now - since

    waits = [round(fail(20.0)) for _ in range(12)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert round(fail(3600.0)) == 1, "it had worked for long"
    assert round(fail(20.0)) == 2


def test_a_server_that_could_not_start_is_started_later(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cluster.keepers["a"].serving
    assert first is not None
    monkeypatch.setenv("OUTLIVE_TRANSFER_PORT", str(first.about()[1]))  # type: ignore[index]
    second = serving_of(cluster)
    second.try_again()
    assert "in use" in str(second.why_not)
    first.close()
    eventually(lambda: first._server._door.listener.fileno() < 0)  # type: ignore[union-attr]
    second.try_again()
    assert second.why_not is None
    assert second.about() == first.about()
    first.try_again()
    second.close()
    second.try_again()
    assert not first._server.listens  # type: ignore[union-attr] # who closed it wants no other
    assert not second._server.listens  # type: ignore[union-attr]


def test_rounds_go_on_while_the_head_says_nothing(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper asks it before it starts a server, and before it adopts shelves."""
    monkeypatch.setattr(keeper, "_ROUNDS_EVERY", 0.01)
    monkeypatch.setattr(keeper, "_SERVE_EVERY", 0.01)
    asked, answers = list[str](), threading.Event()

    class OfOneShelf(keeper.Keeper):
        def take_over(self, _: str) -> Shelf:
            self._tenure: Any = SimpleNamespace(adopted=0, adopt_again=lambda thorough: self._peers.nodes())
            return cluster.shelves["c"]

    def silent(what: str) -> Any:
        asked.append(what)
        answers.wait(60)
        raise NoAnswer("the head is silent")

    def unknown(node: str) -> None:
        assert node == "c"

    monkeypatch.setattr(cluster.peers, "node", unknown)
    one = OfOneShelf(cluster.peers, "played", "c")
    try:
        for method in ("node", "nodes"):
            monkeypatch.setattr(cluster.peers, method, lambda *_, what=method: silent(what))
        eventually(lambda: {"node", "nodes"} <= set(asked))
        before = one.rounds()
        ending = Writer(cluster.shelves["c"]).put(ARRAY[:10], options=PutOptions(Lifetime(TTL, 0, 0.01)))
        eventually(lambda: one.rounds() > before + 2 and not cluster.shelves["c"].has(ending.id))
        assert one._serving is not None
        one._serving.close()  # nor does this wait
        assert not answers.is_set()
    finally:
        answers.set()
        one._stop.set()
        for thread in one._threads:
            thread.join()


def test_a_server_without_a_thread_is_none(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keeper goes on: Ray gives up an actor whose constructor raises."""
    start = threading.Thread.start

    def limited(self: threading.Thread) -> None:
        if self.name == "transfer":
            raise RuntimeError("can't start new thread")
        start(self)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", limited)
        one = serving_of(cluster)
    assert "no more threads" in str(one.about())
    one.try_again()
    assert one.why_not is None
    one.close()


def test_how_much_travels_at_a_time_is_asked_again_until_the_head_says(cluster: PlayedCluster) -> None:
    fetches, real = cluster.keepers["b"].fetches, cluster.peers.node
    cluster.peers.node = lambda _: None  # type: ignore[method-assign]
    session = cluster.session("b")
    del session._chunks
    assert fetches.chunk_size() == session.chunk_size == transfer.CHUNK
    cluster.peers.node = lambda node: real(node)._replace(object_store_memory=64 * MIB)  # type: ignore[method-assign, union-attr]
    assert fetches.chunk_size() == session.chunk_size == 4 * MIB


def test_connections_to_nodes_that_nothing_comes_from_any_more_are_closed(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their nodes may be gone for good: each would keep up to four descriptors until this process ends."""
    info = put(cluster, ARRAY)
    here = links.Links(cluster.peers, "b")
    transfer.rows(transfer.Source(cluster.peers, "a", MIB, 0, here), info, 0, 80, memoryview(bytearray(80)))
    link = here.to("a")
    assert link is not None
    assert len(link._idle) == 1
    used = link._idle[0][1]
    assert here.to("c") is not None
    assert link._idle, "it is used again soon"
    monkeypatch.setattr(client, "KEPT_FOR", 0.0)
    now = cluster.peers.now() + 3600
    cluster.peers.now = lambda: now  # type: ignore[method-assign]
    assert here.to("c") is not None
    assert not link._idle
    assert used.socket.fileno() == -1
