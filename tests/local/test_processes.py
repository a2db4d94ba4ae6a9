"""Processes that share a local store: they are spawned, forked, killed, and come and go."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import outlive
from outlive.arrays.lock import OwnedFile, try_lock
from outlive.cluster.port import Call
from outlive.local import jobs, starting
from outlive.local.channel import connect, listen
from outlive.local.peers import LocalPeers
from outlive.local.place import clear, place_of
from outlive.local.questions import KEEPER, Question
from tests.conftest import eventually

from . import work
from .conftest import REPOSITORY, is_running, keeper_of, run, start

spawn = multiprocessing.get_context("spawn")


def ids(root: str) -> set[str]:
    """The arrays that are stored, by their files."""
    place = place_of(root)
    return {one for shelf in place.shelves() for one in os.listdir(f"{place.folder}/{shelf}/mem")}


def a_few_rounds(root: str) -> None:
    """Wait until the keeper has looked some times at all that it looks at each second."""
    peers = LocalPeers(place_of(root))
    now = lambda: peers.ask_keeper(peers.find().node, Call.of("rounds"))  # noqa: E731
    enough = now() + 4
    eventually(lambda: now() >= enough)
    peers.hang_up()


def test_a_pool_that_is_spawned(store, shared_root):
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        handles = list(pool.map(work.put, [shared_root] * 4, range(4)))
        totals = list(pool.map(work.total, handles))
        assert [one for _, one in totals] == [50_000 * number for number in range(4)]
        pids = set(pool.map(work.put_by_key, [store] * 4, range(4)))
    eventually(lambda: not any(map(is_running, pids)))
    a_few_rounds(shared_root)  # in which the keeper is to end nothing
    assert [handle.get()[0] for handle in handles] == [0, 1, 2, 3]  # they are of this process's job
    assert sorted(store) == ["k/0", "k/1", "k/2", "k/3"]


def test_a_keeper_is_killed_and_no_other_program_comes(root):
    """What ends with the program does end: it leaves a keeper."""
    code = """
import os
from outlive.local.starting import _listens
store.put(np.ones(100_000))
os.kill(store.stats().shelves[0].keeper_pid, 9)
while _listens(store.place): pass
print(len(os.listdir(store.place.folder + "/" + store.place.shelves()[0] + "/mem")))
"""
    assert run(code, root) == "1"
    eventually(lambda: not os.path.exists(f"{root}/local"))


def test_a_keeper_that_is_about_to_be_dead_is_none(root):
    """The kernel ends its threads one after the other, and its socket takes connections until then."""
    place = place_of(root)
    starting.make_folders(place)
    lock, listener = OwnedFile(place.keeper, os.O_CREAT), listen(place.socket)
    assert try_lock(lock)

    def die():
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.poll()  # somebody has connected
        listener.close()
        lock.close()

    dying = threading.Thread(target=die)
    dying.start()
    starting.start(place)
    dying.join()
    with contextlib.closing(connect(place.socket)) as channel:  # by whoever is there, and starts nobody
        assert channel.receive().pid != os.getpid()
    eventually(lambda: not os.path.exists(f"{root}/local"))


def test_a_worker_that_is_killed(shared_root):
    store = outlive.open(local=True, root=shared_root)
    handle = store.put(np.ones(50_000))
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=work.hold, args=(handle, theirs))
    process.start()
    pid = ours.recv()
    os.kill(pid, signal.SIGKILL)
    process.join()
    assert store["by the killed one"].sum() == handle.get().sum() == 50_000
    store.clear()


def test_a_draft_of_a_process_that_is_killed(root):
    store = outlive.open(local=True, root=root)
    with start("with store.create((1000, 1000)) as out:\n    print('begun', flush=True); input()", root) as writer:
        writer.stdout.readline()
        [shelf] = place_of(root).shelves()
        assert store.stats().shelves[0].used > 8_000_000
        writer.kill()
    eventually(lambda: store.stats().shelves[0].used == 0)
    assert store.check() == [] and shelf in place_of(root).shelves()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a fork of a process with threads warns")
def test_a_forked_child(shared_root):
    store = outlive.open("forked", local=True, root=shared_root)
    store["parent"] = np.ones(3)  # there are connections that the child must not use
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            store["child"] = store["parent"] + 1
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert store["child"].sum() == 6 and store["parent"].sum() == 3
    store.clear()


def test_two_programs_and_their_jobs(root):
    """Each has a job of its own. What is detached stays, and the store with it."""
    begin = "store['NAME'] = np.ones(3)\nhandle = store.put(np.ones(50_000))\nprint(handle.id, flush=True)\ninput()"
    first, second = (start(begin.replace("NAME", name), root) for name in ("first", "second"))
    with first, second:
        one, two = first.stdout.readline().strip(), second.stdout.readline().strip()
        assert {one, two} <= ids(root)
        first.kill()
        first.wait()
        eventually(lambda: one not in ids(root))
        assert two in ids(root)
        second.stdin.write("\n")
        second.stdin.flush()
        second.wait()
        eventually(lambda: two not in ids(root))
    assert run("print(sorted(store))", root) == "['first', 'second']"


def test_a_shelf_that_another_thread_is_removing_goes_with_the_rest(root):
    """The keeper's process ends when a thread of it finds no shelf, which is renamed before it is removed."""
    place = place_of(root)
    for folder in (f"{place.folder}/0123456789abcdef.01234567.removed/mem", place.jobs):
        os.makedirs(folder)
    clear(place)
    assert os.listdir(root) == []


def test_nothing_stays(root):
    said = run(
        """
store["k"] = np.ones(50_000)
handle = store.put(np.ones(50_000))
pid = store.stats().shelves[0].keeper_pid
del store["k"]
print(pid)
""",
        root,
    )
    eventually(lambda: not os.path.exists(f"{root}/local"))
    eventually(lambda: not is_running(int(said)))
    assert os.listdir(root) == []


def test_a_job_that_has_a_name(root):
    code = "print(store.put(np.ones(50_000)).id, flush=True); input()"
    with start(code, root, OUTLIVE_JOB="night") as first, start(code, root, OUTLIVE_JOB="night") as second:
        one, _ = first.stdout.readline().strip(), second.stdout.readline()
        first.kill()
        first.wait()
        a_few_rounds(root)  # in which the keeper is to end nothing
        assert one in ids(root)
        second.kill()
        second.wait()
        eventually(lambda: not ids(root))


def test_children_are_of_the_job_of_those_that_started_them(root):
    """A worker may be there before its parent has opened the store; and stay when the parent ends."""
    outlive.open(local=True, root=root)  # this process's job
    folder = place_of(root).jobs
    assert len(jobs.living(folder)) == 1
    with start("print(store.put(np.ones(5)).id[-8:], flush=True); input()", root) as child:
        number = int(child.stdout.readline(), 16)
        assert jobs.living(folder) == {number}
        child.kill()
    with start("input()", root, OUTLIVE_JOB="another") as child:
        eventually(lambda: len(jobs.living(folder)) == 2)
        child.kill()
    eventually(lambda: jobs.living(folder) == {number})


def test_the_keeper_is_killed(root):
    store = outlive.open(local=True, root=root)
    store["k"] = np.arange(50_000)
    handle = store.put(np.ones(50_000))
    for _ in range(2):
        pid = keeper_of(root)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid))  # noqa: B023
        assert store["k"].sum() == 1249975000 and handle.get().sum() == 50_000  # nobody is asked
        store["another"] = np.ones(3)  # another keeper is started
        assert sorted(store) == ["another", "k"] and keeper_of(root) != pid
    assert store.check() == []
    with store.scope() as scope:
        os.kill(keeper_of(root), signal.SIGKILL)
        scope["inside"] = np.ones(3)
    assert sorted(store) == ["another", "k"]


def test_the_keeper_is_killed_while_processes_read_and_write(root):
    store = outlive.open(local=True, root=root)
    over, failed, rounds = threading.Event(), [], [0, 0]

    def write(me: int) -> None:
        try:
            while not over.is_set() or not rounds[me]:
                rounds[me] += 1
                store[f"k{me}"] = np.full(20_000, rounds[me])
                assert store[f"k{me}"][0] == rounds[me]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(me,)) for me in range(2)]
    code = "i = 0\nwhile True:\n    i += 1; store['other'] = np.full(20_000, i); print(i, flush=True)"
    with start(code, root) as one:
        one.stdout.readline()
        for thread in threads:
            thread.start()
        for _ in range(3):
            os.kill(keeper_of(root), signal.SIGKILL)
            before = list(rounds)
            eventually(lambda: all(now > then for now, then in zip(rounds, before, strict=True)) or failed)  # noqa: B023
        over.set()
        for thread in threads:
            thread.join()
        assert failed == []
        one.kill()
        last = int(one.stdout.read().split()[-1])
    assert store["other"][0] in (last, last + 1)
    assert all(one.mended for one in store.check()) and store.check() == []


def test_interrupted_in_the_middle(root):
    """Ctrl-C ends a call at any moment: the put is there or not, and the program goes on."""
    said = run(
        """
import os, signal, threading, time
store["k"] = np.zeros(20_000)
threads = threading.active_count()
count, interrupted = 0, 0
ticks = iter(np.random.default_rng(3).uniform(0, 0.004, 50))
for tick in ticks:
    try:
        threading.Timer(tick, os.kill, (os.getpid(), signal.SIGINT)).start()
        until = time.monotonic() + 5
        while time.monotonic() < until:
            count += 1
            store["k"] = np.full(20_000, count)
    except KeyboardInterrupt:
        interrupted += 1
        value = store["k"]
        assert (value == value[0]).all() and value[0] in (count, count - 1, count - 2), (value[0], count)
        count = int(value[0])
print(interrupted, len(store), [one for one in store.check() if not one.mended])
""",
        root,
    )
    assert said == "50 1 []"


def test_the_folder_is_removed_by_hand(root):
    store = outlive.open(local=True, root=root)
    store["k"] = np.ones(3)
    pid = keeper_of(root)
    shutil.rmtree(f"{root}/local")
    eventually(lambda: not is_running(pid))
    again = outlive.open(local=True, root=root)
    assert list(again) == []
    again["k"] = np.zeros(3)
    assert store["k"].sum() == 0


def test_the_folder_is_removed_and_a_program_opens_at_once(root):
    """The keeper of the removed folder is there still, and leaves its successor's store alone."""
    outlive.open(local=True, root=root)
    place, first = place_of(root), keeper_of(root)
    os.kill(first, signal.SIGSTOP)
    try:
        shutil.rmtree(place.folder)
        again = outlive.open(local=True, root=root)
        again["k"] = np.ones(3)
        second = keeper_of(root)
    finally:
        os.kill(first, signal.SIGCONT)
    eventually(lambda: not is_running(first))
    assert second != first and is_running(second)
    assert os.path.exists(place.keeper) and os.path.exists(place.socket) and len(jobs.living(place.jobs)) == 1
    assert again["k"].sum() == 3


def test_who_shuts_it_down_is_gone_before_the_answer(root):
    outlive.open(local=True, root=root)
    pid = keeper_of(root)
    channel = connect(place_of(root).socket)
    channel.receive()  # what the keeper's process is
    os.kill(pid, signal.SIGSTOP)
    try:
        channel.send(Question(KEEPER, Call.of("close")))
        channel.close()
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: not is_running(pid))
    assert not os.path.exists(place_of(root).folder)


@pytest.mark.parametrize("by", ["shutdown", "open"])
def test_a_keeper_that_is_killed_as_it_removes_the_shelf(root, by):
    """The memory of what is left is given back by whoever comes next."""
    outlive.open(local=True, root=root)["k"] = np.ones(50_000)
    place, pid = place_of(root), keeper_of(root)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))
    [shelf] = place.shelves()
    os.rename(f"{place.folder}/{shelf}", f"{place.folder}/{shelf}.01234567.removed")  # as `Shelf.remove` begins
    if by == "open":
        outlive.open(local=True, root=root)
        assert not [name for name in os.listdir(place.folder) if name.endswith(".removed")]
    outlive.shutdown(local=True, root=root)
    eventually(lambda: not os.path.exists(place.folder))


def test_the_keeper_starts_again_under_another_name_of_the_machine(root, tmp_path):
    """As in another container that shares the folder, after the one with the keeper has ended."""
    store = outlive.open(local=True, root=root)
    store["k"] = np.ones(3)
    pid = keeper_of(root)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))
    (tmp_path / "sitecustomize.py").write_text("import socket\nsocket.gethostname = lambda: 'other'\n")
    code = """
handle = store.put(np.zeros(3), key="k")
del store["k"]
try:
    handle.get()
except outlive.ArrayNotFound:
    print("gone", flush=True)
input()
"""
    with start(code, root, PYTHONPATH=str(tmp_path)) as other:
        assert other.stdout.readline() == "gone\n"
        store["k"] = np.full(3, 2.0)
        assert store["k"].sum() == 6 and store.handle("k").location == [store.handle("k").hint]
        other.kill()


def test_a_program_without_standard_streams(root):
    """As a daemon: the keeper has its lock all the same, and removes all as it ends."""
    code = f"import os\nfor fd in 0, 1, 2:\n    os.close(fd)\nimport outlive\noutlive.open(local=True, root={root!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
    eventually(lambda: not os.path.exists(place_of(root).folder))


def test_a_folder_on_disk_that_is_relative(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUTLIVE_SPILL_TO", "spilled")
    store = outlive.open(local=True, root=root)
    assert store.stats().shelves[0].spill_to.startswith(f"{tmp_path}/spilled/")


def test_programs_that_start_at_once(root):
    """They agree on one keeper."""
    code = "store['NAME'] = np.ones(3); print(store.stats().shelves[0].keeper_pid, flush=True); input()"
    programs = [start(code.replace("NAME", str(i)), root) for i in range(4)]
    pids = {int(one.stdout.readline()) for one in programs}
    assert len(pids) == 1
    for one in programs:
        with one:
            one.kill()
    assert run("print(sorted(store))", root) == "['0', '1', '2', '3']"


@pytest.mark.parametrize("python", ["", "/nowhere/python"])
def test_a_program_that_does_not_know_where_python_is(root, monkeypatch, python):
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(outlive.StoreUnavailable, match="Python is at"):
        outlive.open(local=True, root=root)


def test_a_keeper_that_cannot_start(root, monkeypatch):
    monkeypatch.setenv("OUTLIVE_MEMORY", "no size")
    with pytest.raises(outlive.OutliveError, match="OUTLIVE_MEMORY='no size'"):
        outlive.open(local=True, root=root)
    monkeypatch.delenv("OUTLIVE_MEMORY")
    outlive.open(local=True, root=root)


def test_a_keeper_that_is_stopped(root, monkeypatch):
    """Who asks it is told which process that is. Reads go on."""
    from outlive.local import peers

    store = outlive.open(local=True, root=root)
    store["k"] = np.ones(50_000)
    pid = keeper_of(root)
    monkeypatch.setattr(peers, "PATIENCE", 0.2)
    monkeypatch.setattr(peers, "_RESTART", 0.2)
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        assert store["k"].sum() == 50_000
        with pytest.raises(outlive.StoreUnavailable, match=f"process {pid}, did not answer"):
            store["j"] = np.ones(3)
    finally:
        os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    store["j"] = np.ones(3)
