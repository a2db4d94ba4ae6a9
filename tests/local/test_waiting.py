"""No process waits without end: for a keeper that hangs, has ended, or takes nothing more."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import numpy as np
import pytest

import outlive
from outlive.arrays.lock import OwnedFile, open_owned, try_lock
from outlive.cluster.port import Call
from outlive.local import connection, keeping, peers, server, starting
from outlive.local.channel import Ended, connect, listen
from outlive.local.connection import LocalConnection
from outlive.local.peers import LocalPeers
from outlive.local.place import place_of
from outlive.local.questions import About
from outlive.local.server import Server
from tests.conftest import eventually

from .conftest import is_running, keeper_of


def test_a_keeper_that_hangs_as_it_starts(root, monkeypatch, tmp_path):
    script = tmp_path / "hangs.py"
    script.write_text("import os, signal\nos.fork()\nsignal.pause()\n")
    with monkeypatch.context() as hung:
        hung.setattr(keeping, "__file__", str(script))
        hung.setattr(starting, "_SECONDS", 1.0)
        with pytest.raises(outlive.StoreUnavailable, match="did not start within 1 s"):
            outlive.open(local=True, root=root)
    lock = eventually(lambda: open_owned(place_of(root).keeper))  # no process has it any more
    lock.close()
    outlive.open(local=True, root=root)


FULL = """
import sys
sys.path.insert(0, {package!r})
from outlive.local import keeping, server
def refuse(*_):
    raise OSError(28, "No space left on device")
server.listen = refuse
keeping.main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


def test_no_room_for_a_store(root, monkeypatch, tmp_path):
    """It says so, the second time too, and leaves nothing."""
    script = tmp_path / "full.py"
    script.write_text(FULL.format(package=os.path.dirname(os.path.dirname(outlive.__file__))))
    with monkeypatch.context() as full:
        full.setattr(starting.keeping, "__file__", str(script))
        for _ in range(2):
            with pytest.raises(outlive.StoreFull, match="no room for a store"):
                outlive.open(local=True, root=root)
            assert not os.path.exists(place_of(root).folder)
    outlive.open(local=True, root=root)


@pytest.mark.parametrize("method", ["begin", "start"])
def test_no_room_for_its_folders(root, monkeypatch, method):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"begin": (connection, "make_folders"), "start": (starting, "OwnedFile")}[method], refuse)
    with pytest.raises(outlive.StoreFull, match="no room for a store"):
        outlive.open(local=True, root=root)
    monkeypatch.undo()
    outlive.open(local=True, root=root)


@pytest.mark.parametrize("said", [keeping.READY, b"a warning\n" + keeping.READY, keeping.FAILED + keeping.OVER])
def test_a_forked_process_keeps_the_pipe_open(said):
    ours, theirs = os.pipe()
    try:
        os.write(theirs, said)
        assert starting._read(ours, time.monotonic() + 600) == said
    finally:
        os.close(theirs)
    assert starting._read(ours, time.monotonic() + 600) == b""
    os.close(ours)


@pytest.mark.parametrize("told", [True, False], ids=["told", "asked"])
def test_a_keeper_that_takes_nothing_more(root, monkeypatch, told):
    outlive.open(local=True, root=root)
    pid, mine = keeper_of(root), LocalPeers(place_of(root))
    mine.find()
    monkeypatch.setattr(peers, "PATIENCE", 0.2)
    call = Call.of("release", b"x" * (8 << 20))  # more than a socket takes
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(outlive.StoreUnavailable, match=f"process {pid}, did not answer"):
            mine.tell_catalog(call) if told else mine.ask_catalog(call, 0.2)
    finally:
        os.kill(pid, signal.SIGCONT)
        mine.hang_up()


def test_the_store_ends_as_it_is_opened(root, monkeypatch):
    found = LocalConnection.is_tended
    ended = []

    def ends(self: LocalConnection) -> bool:
        if not ended:
            ended.append(self.peers.about.pid)
            self.peers.ask_keeper(self.node_id, Call.of("close"))
            eventually(lambda: not is_running(ended[0]))
        return found(self)

    monkeypatch.setattr(LocalConnection, "is_tended", ends)
    store = outlive.open(local=True, root=root)
    store["k"] = np.ones(3)
    assert keeper_of(root) not in ended


def test_a_keeper_that_takes_no_connection(tmp_path, monkeypatch):
    """As when the system gives it no more threads: who asks does not try for ever."""
    place = place_of(tmp_path)
    starting.make_folders(place)
    listener, lock, ended = listen(place.socket), OwnedFile(place.keeper, os.O_CREAT), []
    assert try_lock(lock)

    def take() -> None:
        while not ended:
            listener.accept()[0].close()

    taking = threading.Thread(target=take)
    taking.start()
    monkeypatch.setattr(peers, "_RESTART", 0.2)
    monkeypatch.setattr(starting, "_SECONDS", 0.2)
    refused = []

    def ask() -> None:
        try:
            LocalPeers(place).find()
        except outlive.StoreUnavailable as error:
            refused.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    try:
        asking.start()
        eventually(lambda: refused, 20)
    finally:
        ended.append(True)
        connect(place.socket).close()
        taking.join()
        listener.close()
        lock.close()


def test_no_thread_for_a_connection(tmp_path, monkeypatch):
    class Refused(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    path = str(tmp_path / "socket")
    about = About(1, os.getpid(), "local:x:/", "shelf")
    served = Server(path, about, object(), object(), lambda: None)
    with monkeypatch.context() as without:
        without.setattr(server.threading, "Thread", Refused)
        refused = connect(path)
        with pytest.raises(Ended):
            refused.receive()
        refused.close()
    channel = connect(path)
    assert channel.receive() == about
    channel.close()
    served._listener.shutdown(socket.SHUT_RDWR)
    served.close()
