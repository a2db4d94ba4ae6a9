"""What one process of a node finds out of another node's port, all of its processes know: on a cluster that is played.

A process is played by `Links` of its own. They have nothing in common but the shelf.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outlive.arrays.clock import uptime
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import TALLY, WAYS
from outlive.arrays.shelf import Shelf
from outlive.arrays.tally import FELL_BACK
from outlive.arrays.tend.fsck import check_shelf
from outlive.cluster import failures, keeper, links, transfer
from outlive.cluster.failures import Failure, Failures
from outlive.cluster.links import Links
from outlive.cluster.port import NoAnswer
from outlive.errors import CorruptArray
from outlive.store.nodes import _through_ray
from outlive.store.reading import by_handle
from outlive.transfer import proof
from outlive.transfer.channel import Lacking, Lost, Silent
from tests.conftest import ROOT, eventually
from tests.nodes.played import PlayedCluster, play_connected, put, reader_on_b

SECOND = 10**9


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    yield from play_connected(f"{ROOT}/failures-{request.node.name[:80]}", 2)


class Clocks:
    """What processes take for the time."""

    def __init__(self, cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = cluster.peers.now()
        self._since = uptime() - int(self.now * SECOND)
        monkeypatch.setattr(cluster.peers, "now", lambda: self.now)
        for module in (links, failures, "outlive.transfer.client"):
            target = module if isinstance(module, str) else module.__name__
            monkeypatch.setattr(f"{target}.uptime", lambda: self._since + int(self.now * SECOND))


@pytest.fixture
def clocks(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(cluster, monkeypatch)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses to which anybody has tried to connect. While `tries.error` is set, all tries end so."""

    class Tries(list[Any]):
        error: Lost | None = None

    found, connect = Tries(), proof.connect

    def note(address: Any, seconds: float) -> Any:
        found.append(address)
        if found.error is not None:
            raise found.error
        return connect(address, seconds)

    monkeypatch.setattr(proof, "connect", note)
    return found


def process(cluster: PlayedCluster) -> Links:
    """A process of node `b`."""
    return Links(cluster.peers, "b", Shelf(cluster.shelves["b"].path))


def reads(cluster: PlayedCluster, own: Links, info: ArrayInfo) -> bool:
    """Read an array of node `a`; whether it came by its port."""
    into = memoryview(bytearray(info.nbytes))
    streams = list[Any]()
    cluster.peers.instead["send"] = lambda _, call, make: streams.append(call) or make()
    transfer.rows(transfer.Source(cluster.peers, "a", 1 << 20, 0, own), info, 0, info.nbytes, into)
    assert bytes(into) == bytes(info.nbytes)
    return not streams


def test_a_port_that_one_process_could_not_reach_is_left_by_all(
    cluster: PlayedCluster, clocks: Clocks, tries: Any
) -> None:
    info, some = put(cluster, np.zeros(10)), [process(cluster) for _ in range(5)]
    tries.error = Silent("nothing came for too long")
    for one in some:
        assert not reads(cluster, one, info)
    assert len(tries) == 1
    assert not reads(cluster, process(cluster), info)  # nor does one that has just begun try
    clocks.now += 599
    assert not reads(cluster, process(cluster), info)
    assert len(tries) == 1
    tries.error = None
    clocks.now += 2
    assert all(reads(cluster, one, info) for one in [some[3], *some, process(cluster)])


def test_after_the_pause_one_process_tries(cluster: PlayedCluster, clocks: Clocks, tries: Any) -> None:
    info, some = put(cluster, np.zeros(10)), [process(cluster) for _ in range(3)]
    tries.error = Lost("Connection refused")
    assert not any(reads(cluster, one, info) for one in some)
    clocks.now += 61
    trying = some[1].to("a")
    assert trying is not None
    assert [one.to("a") for one in (some[0], some[2], process(cluster))] == [None] * 3
    assert some[1].to("a") is trying
    some[1].lost("a", trying, tries.error)
    clocks.now += 59
    assert [one.to("a") for one in (*some, process(cluster))] == [None] * 4
    clocks.now += 2
    assert some[2].to("a") is not None  # this one is killed then
    clocks.now += links._TRY - 1
    assert some[0].to("a") is None
    clocks.now += 2
    assert some[0].to("a") is not None


def test_each_pause_is_longer_whichever_process_fails(cluster: PlayedCluster, clocks: Clocks) -> None:
    waits = list[int]()
    for _ in range(6):
        own = process(cluster)
        link = own.to("a")
        assert link is not None
        link.worked = True
        own.lost("a", link, Lost("reset"))
        failure = Failures(f"{cluster.shelves['b'].path}/{WAYS}").of("a")
        assert failure is not None
        waits.append(round(failure.pause))
        clocks.now += failure.pause + 0.1
    assert waits == [1, 2, 4, 8, 16, 32]


def test_a_keeper_that_started_anew_is_tried_at_once(
    cluster: PlayedCluster, clocks: Clocks, tries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, about = put(cluster, np.zeros(10)), cluster.keepers["a"].about()
    monkeypatch.setattr(cluster.keepers["a"], "about", lambda: {**about, "pid": 7})
    tries.error = Silent("nothing came for too long")
    for _ in range(2):
        assert not reads(cluster, process(cluster), info)
    assert len(tries) == 1
    monkeypatch.setattr(cluster.keepers["a"], "about", lambda: {**about, "pid": 8})  # at the same port
    tries.error = None
    assert reads(cluster, process(cluster), info)
    assert cluster.session("b").links.through_ray() == ()  # type: ignore[union-attr]


def test_a_link_that_works_here_is_used_on(cluster: PlayedCluster, clocks: Clocks, tries: Any) -> None:
    """The other process may have been stopped in the middle of its try. What is newer counts."""
    info, ours, other, third = put(cluster, np.zeros(10)), process(cluster), process(cluster), process(cluster)
    assert reads(cluster, ours, info) and reads(cluster, third, info)
    clocks.now += 1
    link = other.to("a")
    assert link is not None
    link.began_at = links.uptime()
    clocks.now += 10
    assert reads(cluster, ours, info)
    clocks.now += 10
    other.lost("a", link, Silent("nothing came for too long"))
    assert third.to("a") is None
    assert reads(cluster, ours, info)
    assert reads(cluster, third, info)  # what works makes good what failed
    assert other.to("a") is None  # its own way may be at fault


def test_a_link_that_works_changes_nothing_on_the_shelf(
    cluster: PlayedCluster, clocks: Clocks, tries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many processes read at a time, and each change of a folder holds up the others'."""
    changed, unlink = list[str](), os.unlink
    monkeypatch.setattr("outlive.cluster.failures.os.unlink", lambda path: changed.append(path) or unlink(path))
    info, ours, other = put(cluster, np.zeros(10)), process(cluster), process(cluster)
    assert all(reads(cluster, ours, info) for _ in range(3))
    assert not changed
    tries.error = Lost("Connection refused")
    assert not reads(cluster, other, info)
    tries.error = None
    clocks.now += 61
    assert reads(cluster, other, info)
    assert changed
    changed.clear()
    assert all(reads(cluster, one, info) for one in (ours, other) * 2)
    assert not changed


def test_a_link_that_worked_before_another_process_failed_is_left(cluster: PlayedCluster, clocks: Clocks) -> None:
    info, ours, other = put(cluster, np.zeros(10)), process(cluster), process(cluster)
    assert reads(cluster, ours, info)
    clocks.now += 1
    link = other.to("a")
    assert link is not None
    link.began_at = links.uptime()
    other.lost("a", link, Silent("nothing came for too long"))
    assert ours.to("a") is None


def test_an_array_that_a_server_cannot_send_says_nothing_of_its_port(
    cluster: PlayedCluster, clocks: Clocks, tries: Any
) -> None:
    """Somebody damaged its file, say. Whoever reads it meets that through Ray, and all others are read by the port."""
    damaged, good, ours = put(cluster, np.ones(10)), put(cluster, np.zeros(10)), process(cluster)
    with open(f"{cluster.shelves['a'].mem}/{damaged.id}", "r+b") as file:
        file.write(b"x")
    for _ in range(3):
        with pytest.raises(CorruptArray):
            reads(cluster, ours, damaged)
        assert reads(cluster, ours, good) and reads(cluster, process(cluster), good)
    assert ours.through_ray() == ()


@pytest.mark.parametrize("error", [Lacking("Too many open files"), proof.Full("too many connections")])
def test_what_says_nothing_of_the_port_concerns_one_process(
    cluster: PlayedCluster, clocks: Clocks, tries: Any, error: Lost
) -> None:
    info = put(cluster, np.zeros(10))
    tries.error = error
    assert not reads(cluster, process(cluster), info)
    tries.error = None
    assert reads(cluster, process(cluster), info)


def test_too_many_open_files_are_a_lack_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("outlive.transfer.channel.socket.socket", full)
    with pytest.raises(Lacking, match="Too many open files"):
        proof.connect(("127.0.0.1", 1), 1.0)


def test_an_array_that_comes_through_ray_is_counted_once(cluster: PlayedCluster, clocks: Clocks, tries: Any) -> None:
    """However often its node is asked for it, and whoever looked for a way before its keeper did."""
    session, answers = reader_on_b(cluster), iter([False, False, True])
    tries.error = Lost("Connection refused")

    def away_at_first(_: str, __: Any, make: Any) -> Any:
        if not next(answers):
            raise NoAnswer("it is starting again")
        return make()

    info, before = put(cluster, np.zeros(10)), session.shelf.tally.totals()[FELL_BACK]
    assert session.links is not None
    session.links.close()
    cluster.peers.instead["send"] = away_at_first
    assert by_handle(session, info, "a").tolist() == [0.0] * 10
    assert session.shelf.tally.totals()[FELL_BACK] == before + 1


def test_the_keeper_says_what_any_process_found(cluster: PlayedCluster, clocks: Clocks, tries: Any) -> None:
    class OfOneShelf(keeper.Keeper):
        def take_over(self, _: str) -> Shelf:
            self._tenure: Any = SimpleNamespace(adopted=0, adopt_again=lambda thorough: None)
            return Shelf(cluster.shelves["b"].path)

        def works(self) -> dict[Any, float]:
            return {}

    one = OfOneShelf(cluster.peers, "played", "b")
    info, reader = put(cluster, np.zeros(10)), process(cluster)
    try:
        assert (one.stats().through_ray, one.stats().fallbacks) == ((), 0)
        tries.error = Lost("Connection refused")
        for own in (reader, reader, process(cluster)):
            assert not reads(cluster, own, info)
        stats = one.stats()
        assert stats.through_ray == (("a", "Connection refused"),)
        assert stats.fallbacks == 3
        assert _through_ray(stats, {"a", "b"}) == "from a through Ray: Connection refused"
        tries.error = None
        clocks.now += 61
        assert reads(cluster, process(cluster), info)
        assert (one.stats().through_ray, one.stats().fallbacks) == ((), 3)
        one._before = one._shelf.tally.totals()  # as if it had started now
        os.unlink(f"{cluster.shelves['b'].path}/{TALLY}")  # a stranger did
        Shelf(cluster.shelves["b"].path)
        assert (one.stats().fetched, one.stats().fallbacks) == (0, 0)
    finally:
        one._serving.close()  # type: ignore[union-attr]


def test_a_shelf_with_failures_is_in_order_and_forgets_old_ones(
    cluster: PlayedCluster, clocks: Clocks, tries: Any
) -> None:
    info, shelf = put(cluster, np.zeros(10)), cluster.shelves["b"]
    tries.error = Lost("Connection refused")
    assert not reads(cluster, process(cluster), info)
    assert check_shelf(shelf, lambda: None)[0] == []  # type: ignore[arg-type]
    keepers = process(cluster)
    assert not reads(cluster, keepers, info)
    clocks.now += 61  # nobody asks for the node any more: it may be dead
    assert keepers.through_ray() == (("a", "Connection refused"),)
    clocks.now += 600
    assert keepers.through_ray() == ()
    assert os.listdir(f"{shelf.path}/{WAYS}") == []


def test_what_a_process_found_itself_is_forgotten_too(cluster: PlayedCluster, clocks: Clocks, tries: Any) -> None:
    own = Links(cluster.peers, "b")
    tries.error = Lost("Connection refused")
    assert not reads(cluster, own, put(cluster, np.zeros(10)))
    assert own.through_ray() == (("a", "Connection refused"),)
    clocks.now += 661
    assert own.through_ray() == ()


# --- what may be in the folder


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "[]",
        "[1, 2, 3]",
        "[" * 4000,
        '[1, LATER, "60", "127.0.0.1:1 1", "why"]',
        '[1, LATER, 60.0, "127.0.0.1:1 1", 5]',
        '["a", "b", 1.0, "127.0.0.1:1 1", "why"]',
        '[LATER, LATER, 60.0, "127.0.0.1:1 1", "it was before the machine started anew"]',
        '[0, MUCH_LATER, 60.0, "127.0.0.1:1 1", "somebody else wrote it"]',
    ],
)
def test_what_is_no_failure_is_none(tmp_path: Path, text: str) -> None:
    for word, seconds in (("MUCH_LATER", 10**6), ("LATER", 100)):
        text = text.replace(word, str(uptime() + seconds * SECOND))
    os.symlink(text, tmp_path / "a")
    assert Failures(str(tmp_path)).of("a") is None
    assert Failures(str(tmp_path)).all() == {}


@pytest.mark.parametrize("what", ["file", "folder", "read-only", "removed"])
def test_where_none_can_be_noted_each_finds_out_for_itself(
    cluster: PlayedCluster, clocks: Clocks, tries: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = f"{cluster.shelves['b'].path}/{WAYS}"
    some = [process(cluster) for _ in range(2)]
    if what == "file":
        Path(path).touch()
    elif what == "folder":
        os.makedirs(f"{path}/a")
    else:
        code = errno.ENOSPC if what == "read-only" else errno.ENOENT

        def refused(*_: Any) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr("outlive.cluster.failures.os.symlink", refused)
    info = put(cluster, np.zeros(10))
    tries.error = Lost("Connection refused")
    for number, own in enumerate(some):
        assert not reads(cluster, own, info)
        assert not reads(cluster, own, info)
        assert len(tries) == number + 1
        assert own.through_ray() == (("a", "Connection refused"),)
    clocks.now += 61
    tries.error = None
    assert all(reads(cluster, own, info) for own in some)


@pytest.mark.parametrize("call", ["readlink", "symlink", "unlink", "listdir"])
def test_what_a_signal_handler_raises_reaches_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A program's own time limit, say: each read looks here."""
    made = Failures(str(tmp_path))
    made.note("a", Failure(uptime(), uptime() + SECOND, 1.0, "s", "why"))

    def interrupted(*_: Any) -> None:
        raise TimeoutError("the program's own")

    def use() -> None:
        made.all()
        made.note("a", Failure(uptime(), uptime() + SECOND, 1.0, "s", "why"))

    monkeypatch.setattr(f"outlive.cluster.failures.os.{call}", interrupted)
    with pytest.raises(TimeoutError):
        use()


def test_long_and_odd_texts(tmp_path: Path) -> None:
    made = Failures(str(tmp_path / "ways"))
    for why in ("x" * 100_000, "\ud800\0\n", ""):
        made.note("a", Failure(uptime(), uptime() + SECOND, 1.0, "s", why))
        found = made.of("a")
        assert found is not None and found.why == why[:300] and found.stands()
    made.forget("a")
    made.forget("a")
    assert made.of("a") is None and made.all() == {}


def test_processes_that_are_killed_leave_a_failure_or_none(tmp_path: Path) -> None:
    """Many write at a time, and are killed at any moment. What is read is whole."""
    program = (
        "import sys; from outlive.cluster.failures import Failure, Failures; from outlive.arrays.clock import uptime\n"
        "made = Failures(sys.argv[1]); print(flush=True)\n"
        "while True: made.note('a', Failure(uptime(), uptime() + 10**9, 1.0, sys.argv[2], sys.argv[2] * 100))"
    )
    folder = str(tmp_path / "ways")
    writers = [
        subprocess.Popen([sys.executable, "-c", program, folder, name], stdout=subprocess.PIPE) for name in "xyz"
    ]
    made = Failures(folder)
    try:
        for one in writers:
            assert one.stdout is not None and one.stdout.readline()
        for one in writers:
            whole = 0

            def is_seen_often() -> bool:
                nonlocal whole
                for _ in range(1000):
                    failure = made.of("a")
                    if failure is not None:
                        assert failure.why == failure.server * 100
                        whole += 1
                return whole > 100

            eventually(is_seen_often)
            one.send_signal(signal.SIGKILL)
    finally:
        for one in writers:
            one.kill()
            one.wait()
            assert one.stdout is not None
            one.stdout.close()
    made.note("a", Failure(uptime(), uptime() + SECOND, 1.0, "s", "after"))
    assert set(made.all()) == {"a"} and os.listdir(folder) == ["a"]
