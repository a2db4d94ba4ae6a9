"""A keeper starts and leaves, and what a session makes of what it answers."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import GetTimeoutError, RayTaskError

from outlive.arrays.lifetimes import join_scope, joined_scopes
from outlive.arrays.reader import Reader
from outlive.arrays.root import private_folder, shelf_folder
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import spill
from outlive.arrays.writer import Writer
from outlive.catalog.wire import Located, unpack_listed
from outlive.cluster import ending, keeper, ray_errors, ray_port, shelf_calls, starters, tenure, transfer
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.port import Call, Failed, Left, NoAnswer, Nobody
from outlive.errors import ArrayNotFound, StoreFull, StoreUnavailable
from outlive.node import Autoscaler, Node
from outlive.store import own_cluster, session
from outlive.store.elsewhere import fetch
from outlive.store.scopes import Scope, enter_scope, open_scope
from outlive.store.session import Session
from tests.conftest import ROOT


@pytest.fixture
def shelf(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    Path(ROOT, "starts").mkdir(mode=0o700, exist_ok=True)
    shelf = Shelf(f"{ROOT}/starts/{request.node.name[:60]}", budget=1 << 20)
    yield shelf
    if shelf.exists():
        shelf.remove()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), StoreFull("no room")])
def test_a_keeper_waits_for_room_and_does_not_die(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenure, "_TRY_AGAIN", 0)
    left = [error, error]

    def begin() -> None:
        if left:
            raise left.pop()

    tenure.wait_for_room(begin, "path")
    assert not left


def test_a_keeper_reaches_the_catalog_as_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its first fetch would wait while Ray looks up the catalog. Its work begins later.

    The first keeper of a cluster is there before the catalog: it looks again, and does not say for long that its calls
    go through Ray.
    """
    monkeypatch.setattr(keeper, "_REACH_AGAIN", (0.0, 0.0, 0.0))
    answers = ["the catalog has no server", "the catalog has no server", None]
    one = keeper.Keeper.__new__(keeper.Keeper)
    monkeypatch.setattr(one, "_peers", SimpleNamespace(calls_through_ray=lambda: answers.pop(0)), raising=False)
    monkeypatch.setattr(one, "_stop", threading.Event(), raising=False)
    monkeypatch.setattr(one, "connect", lambda: None)
    monkeypatch.setattr(one, "works", dict)
    one.go_on()
    for thread in one._threads:
        thread.join(60)
    assert (answers, one._asks_through_ray) == ([], None)


def test_a_keeper_that_is_refused_for_another_reason_says_so() -> None:
    def begin() -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(PermissionError):
        tenure.wait_for_room(begin, "path")


def test_a_lock_that_could_not_be_written_is_given_back(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tenure.os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            tenure.lock_file(f"{shelf.path}/keeper", 0)
    tenure.os.close(tenure.lock_file(f"{shelf.path}/keeper", 0))


# --- leaving


@pytest.mark.parametrize("its_program_ends", [False, True])
def test_a_keeper_has_nothing_to_say_of_a_program_that_ends_and_takes_its_cluster_along(
    shelf: Shelf, its_program_ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(keeper.os, "_exit", lambda code: said.append(f"exit {code}"))
    monkeypatch.setattr(keeper._log, "error", lambda text, *_: said.append(text))
    stop = SimpleNamespace(is_set=lambda: False, wait=lambda _=None: True)  # the cluster ends in time
    seen: Any = SimpleNamespace(_shelf=shelf, _stop=stop, _evacuation=SimpleNamespace(leaving=False))
    folder = os.path.dirname(shelf.path)
    own_cluster.end_with_this_process(os.path.dirname(folder), os.path.basename(folder), shelf.ledger)
    try:
        if its_program_ends:
            own_cluster._remove_owned(folder, os.getpid())
        else:
            shelf.remove()
        assert not shelf.exists()
        assert not shelf.ledger.keeper_left, "nobody has to look for another"
        keeper.Keeper._leave_if_removed(seen)
        assert len(said) == (0 if its_program_ends else 2)
    finally:
        atexit.unregister(own_cluster._remove_owned)
        os.close(own_cluster._owned.pop(folder))
        shutil.rmtree(folder, ignore_errors=True)


def test_a_keeper_that_has_left_ends_itself_and_no_other(shelf: Shelf) -> None:
    killed: list[str] = []
    told: list[Call] = []
    peers: Any = SimpleNamespace(ask_catalog=told.append, leave=lambda: killed.append("this actor"))
    leaving = Evacuation(shelf, "n", peers)
    assert leaving.leave() is None
    assert told == [Call.of("left", "n", shelf.ledger.epoch)]
    assert not killed  # the answer comes first
    leaving._on_head = True
    leaving.consider()
    assert killed == ["this actor"]


def test_a_keeper_asks_the_head_for_its_own_node_alone(shelf: Shelf) -> None:
    here = Node("n", "", "", False, True, None, None, None, 0, None)
    asked: list[str] = []
    peers: Any = SimpleNamespace(
        now=lambda: 100.0, node=lambda node: asked.append(node) or here, autoscaler=lambda: None, sleep=None
    )
    staying = Evacuation(shelf, "n", peers)
    for _ in range(3):
        staying.consider()
    assert asked == ["n", "n", "n"] and staying.stays is None
    here, peers.autoscaler = here._replace(occupied=True), lambda: Autoscaler({}, {})
    staying = Evacuation(shelf, "n", peers)
    staying.consider()  # where a program works there, no other node is asked about, nor what else is there
    assert staying._idle_since is None


def test_a_keeper_asks_seldom_what_scales_the_cluster(shelf: Shelf) -> None:
    here, clock, asked = Node("n", "", "", False, True, None, None, None, 0, None), [0], list[int]()
    peers: Any = SimpleNamespace(now=lambda: clock[0], node=lambda _: here, sleep=None)
    peers.autoscaler = lambda: asked.append(clock[0])
    staying = Evacuation(shelf, "n", peers)
    for clock[0] in range(300):
        staying.consider()
    assert asked == [0, 11, 32, 73, 154, 235]


def test_a_keeper_that_rests_between_two_portions_takes_no_replicas(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has just left would come back, at the rate at which it leaves."""
    clock = [100.0]
    leaving = Evacuation(shelf, "n", SimpleNamespace(now=lambda: clock[0]))  # type: ignore[arg-type]
    infos = [Writer(shelf).put(np.zeros(5000, "u1"), key=f"k{i}", store="s") for i in range(4)]
    leaving._rate, leaving._idle_since = infos[0].size * 2, 0.0
    took = list[bool]()

    def evacuate(array_ids: list[str], *, anywhere: bool) -> list[bool]:
        took.append(leaving.takes_replicas)
        return [shelf.delete(array_id) for array_id in array_ids]

    monkeypatch.setattr(leaving, "evacuate", evacuate)
    assert leaving.takes_replicas
    leaving._leave_with_everything(anywhere=False)
    assert len(leaving.kept()) == 2
    clock[0] = leaving._rests_until
    assert took == [False] and not leaving.takes_replicas
    leaving._idle_since = None  # a program works here again
    assert leaving.takes_replicas


def test_a_keeper_stays_where_something_is_kept(shelf: Shelf) -> None:
    Writer(shelf).put(np.ones(3))
    leaving = Evacuation(shelf, "n", SimpleNamespace())  # type: ignore[arg-type]
    assert leaving.leave() == "arrays are being put there"
    assert not leaving.leaving
    assert not leaving.left


def test_a_keeper_stays_while_the_disk_that_its_arrays_are_on_is_not_mounted(shelf: Shelf, tmp_path: Path) -> None:
    """It took the shelf for empty, and left. The catalog forgot the only copies, which came back with the disk."""
    shelf.ledger.disk.budget = 1 << 30
    shelf.spill_to(str(tmp_path / "mount" / "disk"))
    info = Writer(shelf).put(np.ones(3))
    assert shelf.disk is not None and spill(shelf, shelf.disk, info.id)
    leaving = Evacuation(shelf, "n", SimpleNamespace())  # type: ignore[arg-type]
    (tmp_path / "mount").rename(tmp_path / "elsewhere")
    said = f"arrays were spilled to {shelf.disk.path}, and nothing is there now: is that disk mounted?"
    shelf.disk.make_again()  # as the keeper's rounds do
    assert leaving.leave() == said
    with pytest.raises(ArrayNotFound, match="is that disk mounted"):
        Reader(shelf).view(info)
    shutil.rmtree(tmp_path / "mount")
    (tmp_path / "elsewhere").rename(tmp_path / "mount")
    assert leaving.leave() == "arrays are being put there"
    assert Reader(shelf).view(info).sum() == 3
    shutil.rmtree(tmp_path / "mount")  # it is gone for good
    shelf.recount()
    leaving._peers = SimpleNamespace(ask_catalog=lambda _: None)  # type: ignore[assignment]
    assert leaving.leave() is None


def test_a_keeper_stays_until_it_has_adopted_what_a_dead_node_left(shelf: Shelf) -> None:
    """The autoscaler takes the machine once the keeper has left, and those arrays with it."""
    adopts, told = True, list[Call]()
    leaving = Evacuation(shelf, "n", SimpleNamespace(ask_catalog=told.append), lambda: adopts)  # type: ignore[arg-type]
    assert leaving.leave() == "the arrays of a node that died on this machine are still to be adopted"
    assert shelf.exists() and not told
    adopts = False
    assert leaving.leave() is None


def test_a_keeper_that_starts_tells_the_catalog_what_the_one_before_had_adopted(shelf: Shelf) -> None:
    told = list[Call]()
    seen: Any = SimpleNamespace(_shelf=shelf, _node="n")

    def ask_catalog(call: Call, _: float) -> None:
        told.append(call)
        with shelf.ledger.locked():
            shelf.ledger.note_adopted(1)  # more comes meanwhile

    seen._peers = SimpleNamespace(ask_catalog=ask_catalog)
    keeper.Keeper._tell_of_adopted(seen)
    assert not told
    with shelf.ledger.locked():
        shelf.ledger.note_adopted(3)
    keeper.Keeper._tell_of_adopted(seen)
    assert told == [Call.of("welcome", "n")] and shelf.ledger.adopted == 1


# --- what a session says of errors


class _Asked(Session):
    """A session whose keeper answers as it is told."""

    def __init__(self, *answers: Any, left: bool = False) -> None:
        self.node, self.left, self.answers, self.started = "n", left, list(answers), 0
        self.peers: Any = SimpleNamespace(ask_keeper=self._answer)
        self.shelf: Any = SimpleNamespace(ledger=SimpleNamespace(mine=False))

    def stands(self) -> bool:
        return not self.left

    def _answer(self, node: str, call: Call, patience: float | None) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _start_keeper(self) -> None:
        self.started += 1


def _raised(error: Exception) -> Any:
    """As `ray.get` raises what an actor raised."""
    return RayTaskError("method", "Traceback", error, proctitle="", pid=1, ip="ip").as_instanceof_cause()


def test_an_error_of_outlive_is_raised_as_it_is() -> None:
    told = ray_errors.told(_raised(ArrayNotFound("no array 'k'")))
    assert type(told) is ArrayNotFound
    assert str(told) == "no array 'k'"


def test_an_error_that_one_actor_had_from_another_is_raised_as_it_is() -> None:
    assert type(ray_errors.told(_raised(_raised(ArrayNotFound("no array 'k'"))))) is ArrayNotFound


def test_one_who_had_no_answer_is_not_taken_for_one_who_does_not_answer() -> None:
    told = ray_errors.told(_raised(NoAnswer("the catalog did not answer")))
    assert type(told) is StoreUnavailable
    assert str(told) == "the catalog did not answer"


def test_any_other_error_is_one_of_outlive_too() -> None:
    told = ray_errors.told(_raised(ValueError("no such actor")))
    assert type(told) is Failed
    assert "ValueError: no such actor" in str(told)


@pytest.mark.parametrize("error", [Left("gone for good"), Nobody("no keeper")])
def test_a_keeper_that_is_gone_for_good_is_started_anew_and_asked_again(error: Exception) -> None:
    session = _Asked(error, 7)
    assert session.ask_keeper("rounds") == 7
    assert session.started == 1


def test_a_keeper_of_which_another_has_the_name_by_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port asks that one; if nobody has, it says that the keeper left."""
    named = ["old"]
    monkeypatch.setattr(ray_port.actors, "keeper", lambda _: named[0])

    def answer(actor: str, call: Call, patience: float | None) -> str:
        if actor == "old":
            raise Left("gone for good")
        return actor

    monkeypatch.setattr(ray_port, "_answer", answer)
    peers = ray_port.RayPeers()
    for _ in range(2):  # looked up, and then known
        with pytest.raises(Left):
            peers.ask_keeper("n", Call.of("rounds"))
    named[0] = "new"
    assert peers.ask_keeper("n", Call.of("rounds")) == "new"


class _AskedCatalog(Session):
    """A session whose catalog answers as it is told."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.started = list(answers), 0
        self.peers: Any = SimpleNamespace(ask_catalog=self._answer, tell_catalog=self._answer)

    def _answer(self, call: Call, patience: float | None = None) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _start_actors(self) -> None:
        self.started += 1


def test_a_catalog_that_nobody_has_started_is_started_and_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _AskedCatalog(Nobody("this cluster has no catalog"), 7)
    assert asked.ask_catalog("count", "s") == 7
    assert asked.started == 1
    _AskedCatalog(Nobody("this cluster has no catalog")).tell_catalog("release", 1)  # nobody hears of it


def test_a_catalog_that_was_shut_down_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []
    monkeypatch.setattr(session, "forget", lambda _: forgotten.append("session"))
    asked = _AskedCatalog(Left("the store was shut down"))
    with pytest.raises(Left, match="shut down"):
        asked.ask_catalog("count", "s")
    assert forgotten == ["session"] and asked.started == 0


def test_a_port_that_was_told_that_the_catalog_left_looks_it_up_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    named = ["old"]
    monkeypatch.setattr(ray_port.actors, "catalog", lambda: named[0])

    def answer(actor: str, call: Call, patience: float | None) -> str:
        if actor == "old":
            raise Left("gone for good")
        return actor

    monkeypatch.setattr(ray_port, "_answer", answer)
    peers = ray_port.RayPeers()
    with pytest.raises(Left):
        peers.ask_catalog(Call.of("ping"))
    named[0] = "new"
    assert peers.ask_catalog(Call.of("ping")) == "new"


def test_a_shutdown_names_the_nodes_that_confirmed_no_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keepers and catalog are stopped all the same."""

    def close(node: str, call: Call, patience: float) -> int:
        if node == "b":
            raise NoAnswer("stopped") from GetTimeoutError()
        if node == "c":
            raise Nobody("its node is gone")
        return 5

    stopped: list[object] = []
    monkeypatch.setattr(
        ray_port, "RayPeers", lambda: SimpleNamespace(keeper_nodes=lambda: ["a", "b", "c"], ask_keeper=close)
    )
    monkeypatch.setattr(starters, "stop_mirrors", lambda: stopped.append("mirrors"))
    monkeypatch.setattr(starters, "stop", stopped.append)
    with pytest.raises(StoreUnavailable, match="did not confirm deletion on nodes b; check their shelves"):
        session.close()
    assert stopped == ["mirrors", ["a", "b", "c"]]  # a mirror would start keepers again


# --- others that do not answer


def test_a_reader_gives_up_when_no_node_that_has_the_array_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 50))
    monkeypatch.setattr(transfer, "time", SimpleNamespace(monotonic=lambda: next(now), sleep=lambda _: None))

    def use(node: str) -> None:
        raise transfer.Unreachable(node)

    with pytest.raises(StoreUnavailable, match="node b has the array"):
        transfer.from_nodes(["b"], lambda: Located(["b"]), use, lambda _: None)


def test_a_node_that_did_not_answer_is_asked_last() -> None:
    asked: list[str] = []

    def use(node: str) -> None:
        asked.append(node)
        if node == "b":
            raise transfer.Unreachable(node)

    assert transfer.from_nodes(["b"], lambda: Located(["b", "c"]), use, lambda _: None) is None
    assert asked == ["b", "c"]


def test_a_keeper_is_started_where_the_catalog_knows_an_array_and_none_is() -> None:
    """Else no copy of its arrays would be made, as long as nobody else meets that node."""
    started: list[str] = []

    def use(node: str) -> None:
        if node not in started:
            raise transfer.NoKeeper(node)

    assert transfer.from_nodes(["a"], lambda: Located(["b"]), use, started.append) is None
    assert started == ["b"]


@pytest.mark.parametrize(("there", "served"), [(True, True), (False, False)])
def test_a_sender_that_is_stopped_is_told_from_one_that_is_busy(
    monkeypatch: pytest.MonkeyPatch, there: bool, served: bool
) -> None:
    answers = iter([False, there, True])
    monkeypatch.setattr(
        ray_port, "ray", SimpleNamespace(wait=lambda refs, timeout: (refs, []) if next(answers) else ([], refs))
    )
    sender = SimpleNamespace(rounds=SimpleNamespace(remote=lambda: "rounds"))
    if served:
        ray_port.wait_for("parts", sender)
    else:
        with pytest.raises(GetTimeoutError):
            ray_port.wait_for("parts", sender)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (StoreUnavailable("the store was shut down"), transfer.Unreachable),  # it leaves as it is asked
        (NoAnswer("stopped"), transfer.Unreachable),
        (Nobody("never had a keeper"), transfer.NotThere),
        (Failed("met an error"), Failed),
    ],
)
def test_a_sender_that_leaves_as_it_is_asked_is_no_end_of_the_search(error: Exception, raised: type[Exception]) -> None:
    def stream(node: str, call: Call) -> Iterator[Any]:
        yield from ()
        raise error

    peers: Any = SimpleNamespace(stream=stream)
    with pytest.raises(raised):
        list(transfer.receive(transfer.Source(peers, "b", 1), "id", 0, None))


def test_what_a_sender_raises_is_outlive_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(part: str, timeout: float) -> None:
        raise _raised(StoreUnavailable("the store was shut down"))

    sender = SimpleNamespace(send=SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: ["part"])))
    monkeypatch.setattr(ray_port, "ray", SimpleNamespace(get=get, wait=lambda refs, timeout: (refs, [])))
    monkeypatch.setattr(ray_port.actors, "keeper", lambda _: sender)
    with pytest.raises(StoreUnavailable, match="was shut down") as caught:
        list(ray_port.RayPeers().stream("b", Call.of("send")))
    assert type(caught.value) is StoreUnavailable


@pytest.mark.parametrize("timeout", [None, 20.0])
def test_a_keeper_that_does_not_answer_is_named_by_its_node(
    monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    """Whatever asks each node has an end, and says which one was silent."""
    waited: list[float] = []

    def get(ref: Any, timeout: float) -> None:
        waited.append(timeout)
        raise GetTimeoutError

    class Nowhere(Session):
        def __init__(self) -> None:
            self.peers = ray_port.RayPeers()

    ref: Any = SimpleNamespace(task_id=lambda: SimpleNamespace(actor_id=lambda: "k"))
    stopped: Any = SimpleNamespace(
        _actor_id="k", stats=SimpleNamespace(remote=lambda: ref), rounds=SimpleNamespace(remote=lambda: "rounds")
    )
    monkeypatch.setattr(ray_port, "ray", SimpleNamespace(get=get))
    monkeypatch.setattr(ray_port.actors, "keeper", lambda _: stopped)
    with pytest.raises(NoAnswer, match="node b: .* did not answer"):
        Nowhere().ask_node("b", "stats", patience=timeout)
    assert sum(waited) <= ray_port.PATIENCE + ray_port.RESTART


def test_a_scope_s_node_that_is_stopped_holds_up_no_other(shelf: Shelf) -> None:
    for number in (1, 2, 3):
        join_scope(shelf.scopes, number, "b" if number < 3 else "c")
    asked: list[str] = []

    def ask_keeper(node: str, call: Call, patience: float) -> bool:
        asked.append(node)
        if node == "b":
            raise NoAnswer("stopped")
        return True

    peers: Any = SimpleNamespace(ask_keeper=ask_keeper)
    ending.leave_scopes_that_ended(shelf, peers)
    assert sorted(asked) == ["b", "c"]
    assert sorted(joined_scopes(shelf.scopes)) == [1, 2]


@pytest.mark.parametrize("lives", [False, True])
def test_a_scope_is_not_over_as_its_node_s_keeper_died_for_good(shelf: Shelf, lives: bool) -> None:
    """A keeper does not leave beside a scope. On a node that lives another is started, and asked at the next round."""
    join_scope(shelf.scopes, 1, "b")
    started: list[str] = []

    def ask_keeper(node: str, *_: Any) -> bool:
        raise Nobody(node)

    nodes = [Node("b", "b", "b", False, lives, None, None, None, 0, None)]
    peers: Any = SimpleNamespace(
        ask_keeper=ask_keeper, nodes=lambda: nodes, find_keeper=lambda node, *, start: started.append(node)
    )
    ending.leave_scopes_that_ended(shelf, peers)
    assert list(joined_scopes(shelf.scopes)) == ([1] if lives else [])
    assert started == (["b"] if lives else [])


def test_a_scope_is_not_opened_on_a_shelf_that_was_left(shelf: Shelf) -> None:
    """Its arrays would be put on the next one, where nobody knows of it."""
    session: Any = SimpleNamespace(shelf=shelf, node="a", ask_node=lambda *_, **__: None)
    shelf.ledger.leave()
    for begin in (lambda: open_scope(session), lambda: enter_scope(session, Scope(1, "b"))):
        with pytest.raises(StoreUnavailable, match="keeper has just left.*is gone; try again"):
            begin()


# --- in a keeper's stead


def test_another_process_does_what_a_keeper_is_asked() -> None:
    private_folder(ROOT)
    shelf = Shelf(shelf_folder(ROOT, "stead", "n"), budget=1 << 20)
    try:
        info = Writer(shelf).put(np.ones(3), key="k", store="s")
        assert shelf_calls.call("stead", "n", "holds", ([info.id, "no"],)) == [True, False]
        epoch, listed = shelf_calls.call("stead", "n", "listing", ())
        assert epoch == shelf.ledger.epoch
        assert [one.info for one in unpack_listed(listed)] == [info]
        shelf_calls.call("stead", "n", "forbid", ([("s", "k", info.version + 1, None)],))
        assert shelf.named_info("s", "k") is None
        assert shelf_calls.call("stead", "n", "drop", ([(info.id, None)],)) == [True]
        assert not shelf.has(info.id)
    finally:
        shelf.remove()


def test_nobody_makes_a_shelf_where_a_keeper_has_left() -> None:
    with pytest.raises(StoreUnavailable, match="has no shelf"):
        shelf_calls.call("stead", "left", "holds", (["id"],))
    assert not Path(ROOT, "stead", "left").exists()


def test_a_keeper_that_leaves_as_it_is_asked_is_started_again_and_asked_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was asked failed in the middle: its shelf was on its way out."""

    def left() -> _Asked:
        return _Asked(*[StoreUnavailable("the store was shut down: its shelf is gone")] * 9, left=True)

    sessions = [left(), _Asked("asked")]
    monkeypatch.setattr(session, "current", lambda: sessions.pop(0))
    assert left().ask_keeper("fetch") == "asked"
    monkeypatch.setattr(session, "current", left)
    with pytest.raises(StoreUnavailable):  # not for ever
        left().ask_keeper("fetch")
    info = Writer(shelf).put(np.ones(3))
    with pytest.raises(StoreFull):  # so that the array is read without a copy here
        fetch(left(), info, None)
    with pytest.raises(StoreFull):  # it found its shelf full of what others write, or had no answer from the catalog
        fetch(_Asked(StoreUnavailable("the catalog did not answer")), info, None)
    with pytest.raises(NoAnswer):
        fetch(_Asked(NoAnswer("keeper or catalog did not answer")), info, None)
