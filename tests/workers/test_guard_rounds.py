"""A guard's rounds on a cluster that is played: what leaves, what is written down, and what a round survives."""

from __future__ import annotations

import itertools
import json
import threading
import time
from types import SimpleNamespace

import pytest

from outlive.ray_internals import leases, notes, processes, rpc
from outlive.ray_internals.named_actor import NamedActor
from outlive.workers import JobPolicy, Policy, ages, guard_book, guarding, inspection, watch
from outlive.workers.guard_record import KEPT, NAME, guard_log, guard_state
from outlive.workers.watch import Watch
from tests.conftest import eventually
from tests.workers.played import JOB, played_cluster

pytest.importorskip("grpc")
OTHER = "02000000"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def cluster():
    """Two nodes, of four idle workers each."""
    with played_cluster(2, 4) as cluster:
        yield cluster


@pytest.fixture
def soon_given_up(monkeypatch):
    """Whoever does not answer is given up soon."""
    patiences = [(rpc, "PATIENCE"), (rpc, "GCS_PATIENCE"), (processes, "RAYLET_PATIENCE"), (processes, "PATIENCE")]
    for module, name in patiences:
        monkeypatch.setattr(module, name, 3.0)


@pytest.fixture
def clock():
    return Clock()


def guard_of(policy, clock, actor_id="a", cpu=lambda: 0.0):
    return Watch(policy, notes, {"version": "0", "actor_id": actor_id, "node_id": "n", "pid": 1}, clock, cpu)


def idle(cluster):
    return [len(node.workers) for node in cluster.nodes]


def outcomes():
    return [one.outcome for one in guard_log() if one.outcome != "guard"]


def events():
    return [one.because for one in guard_log() if one.outcome == "guard"]


def test_what_is_too_much_leaves_and_each_is_written_down(cluster, clock):
    guard = guard_of(Policy(max_idle=1), clock)
    guard.step()
    assert idle(cluster) == [1, 1]
    assert outcomes() == ["left"] * 6
    assert {one.because for one in guard_log()[1:]} >= {"the largest of 4 idle workers, 1 may stay"}
    assert events() == ["started: max_idle=1"]
    assert (guard.record["let_go"], guard.record["looks"], guard.record["idle"]) == (6, 1, 8)
    guard.step()
    assert (guard.record["let_go"], guard.record["idle"]) == (6, 2)


def test_in_a_dry_run_nothing_leaves_and_nothing_is_written_twice(cluster, clock):
    guard = guard_of(Policy(max_idle=1, dry_run=True), clock)
    for _ in range(3):
        guard.step()
    assert idle(cluster) == [4, 4]
    assert outcomes() == ["would leave"] * 6
    assert (guard.record["would_leave"], guard.record["let_go"]) == (6, 0)
    assert cluster.calls["RequestWorkerLease"] == 0
    guard.change(lambda _: Policy(max_idle=1))
    guard.step()
    assert idle(cluster) == [1, 1]
    assert outcomes() == ["would leave"] * 6 + ["left"] * 6


def test_a_worker_that_refuses_is_asked_again_later_and_less_and_less_often(cluster, clock, monkeypatch):
    """It came to hold an object after the look. Each time that it is asked, its node is busy for a moment."""
    look, one = watch.inspect, cluster.nodes[0].workers[0]
    cluster.nodes[0].processes = [cluster.nodes[0].processes[0], one]

    def looked(**options):
        one.owned = 0
        report = look(**options)
        one.owned = 1
        return report

    monkeypatch.setattr(watch, "inspect", looked)
    guard = guard_of(Policy(max_idle=0, max_node_memory="1GiB"), clock)
    guard.step()
    assert idle(cluster) == [1, 0]
    first = cluster.exits.count(one.pid)
    assert first == 1
    waits = []
    for _ in range(60):
        clock.now += 30
        guard.step()
        if cluster.exits.count(one.pid) > first + len(waits):
            waits.append(clock.now)
    assert [after - before for before, after in zip([1000.0, *waits], waits, strict=False)] == [60, 120, 240, 480]
    assert outcomes().count("stays: it has come to hold an object or a reference") == 1
    one.executed += 1  # it may have dropped it
    guard.step()
    assert cluster.exits.count(one.pid) == first + len(waits) + 1


def test_a_worker_that_a_task_took_after_the_look_stays(cluster, clock, monkeypatch):
    look = watch.inspect

    def looked(**options):
        report = look(**options)
        for worker in cluster.nodes[0].workers:
            worker.running = 1
        return report

    monkeypatch.setattr(watch, "inspect", looked)
    guard = guard_of(Policy(max_idle=0), clock)
    guard.step()
    assert idle(cluster) == [4, 0]
    assert not {worker.pid for worker in cluster.nodes[0].workers} & {*cluster.exits}
    assert sorted(outcome[:20] for outcome in outcomes()) == ["left"] * 4 + ["stays: a task took i"] * 4


def test_a_policy_that_changes_after_the_look_calls_the_act_off(cluster, clock, monkeypatch):
    choose = watch.choose_in
    guard = guard_of(Policy(max_idle=0), clock)
    guard.load()

    def chosen(*args, **options):
        found = choose(*args, **options)
        guard.change(lambda _: Policy(max_idle=3))
        return found

    monkeypatch.setattr(watch, "choose_in", chosen)
    guard.step()
    assert cluster.exits == []
    monkeypatch.undo()
    guard.step()
    assert idle(cluster) == [3, 3]
    assert "changed: max_idle: 0 -> 3" in events()


@pytest.mark.parametrize("stop", [False, True], ids=["changed", "stopped"])
def test_once_a_change_returns_nobody_leaves_by_the_old_policy(cluster, clock, stop, monkeypatch):
    guard = guard_of(Policy(max_idle=0), clock)
    changed, written = [], []

    def change():
        if stop:
            guard.stop()
        else:
            guard.change(lambda _: Policy(max_idle=100))
        changed.append(len(cluster.exits))
        written.append(json.loads(cluster.kept[NAME.encode()])["let_go"])

    changing = threading.Thread(target=change)

    def at_exit(_):
        if len(cluster.exits) == 2:
            changing.start()
            while not guard._changes:
                time.sleep(0.001)

    write_down = guard._write_down

    def written_late(*args):
        changing.join(timeout=0.3)  # whoever changes it may go on now, if it does not wait for this
        write_down(*args)

    cluster.at_exit = at_exit
    monkeypatch.setattr(guard, "_write_down", written_late)
    guard.step()
    changing.join(timeout=60)
    assert len(cluster.exits) == 2, "the act went on"
    assert written == [2], "a guard that is stopped has its process ended: then nobody knows who left"
    assert changed == [2]
    assert [*cluster.nodes[0].leased, *cluster.nodes[1].leased] == []
    assert guard.record["let_go"] == 2
    if not stop:
        guard.step()
        assert idle(cluster) == [2, 4]


def test_jobs_of_their_own(cluster, clock):
    cluster.jobs[OTHER] = "python train.py --epochs 3"
    for node in cluster.nodes:
        for worker in node.workers[:2]:
            worker.job = OTHER
    guard = guard_of(Policy(max_idle=1, jobs={"python train.py*": JobPolicy()}), clock)
    guard.step()
    left = [worker.job for node in cluster.nodes for worker in node.workers]
    assert sorted(left) == [JOB] * 2 + [OTHER] * 4
    guard.change(lambda _: Policy(max_idle=1, jobs={OTHER: JobPolicy(max_idle=0)}))
    guard.step()
    assert [worker.job for node in cluster.nodes for worker in node.workers] == [JOB] * 2


def test_ages_are_what_it_has_seen_itself(cluster, clock):
    guard = guard_of(Policy(max_idle=0, min_idle_for="30s"), clock)
    guard.step()
    clock.now += 29
    young, *_ = cluster.nodes[0].workers
    guard.step()
    assert idle(cluster) == [4, 4]
    young.executed += 1
    clock.now += 2
    guard.step()
    assert cluster.nodes[0].workers == [young]
    clock.now += 29
    guard.step()
    assert idle(cluster) == [1, 0]
    clock.now += 2
    guard.step()
    assert idle(cluster) == [0, 0]


def test_workers_that_are_idle_for_too_long_leave(cluster, clock):
    guard = guard_of(Policy(min_idle=1, max_idle_for="1min"), clock)
    guard.step()
    clock.now += 61
    guard.step()
    assert idle(cluster) == [1, 1]
    assert guard_log()[-1].because == "idle for 1.0 min, longer than 1.0 min"


def test_a_clock_that_is_set_back_changes_nothing(cluster, clock, monkeypatch):
    guard = guard_of(Policy(max_idle=0, min_idle_for="30s"), clock)
    guard.step()
    back = SimpleNamespace(time=lambda: time.time() - 86400, monotonic=time.monotonic, process_time=time.process_time)
    for module in (ages, guard_book, inspection, processes, watch):  # grpcio has the clock too, for its deadlines
        monkeypatch.setattr(module, "time", back)
    clock.now += 10
    guard.step()
    assert idle(cluster) == [4, 4]
    clock.now += 30
    guard.step()
    assert idle(cluster) == [0, 0]


def test_a_node_that_does_not_answer_hides_no_other(cluster, clock, soon_given_up):
    cluster.nodes[1].silent = True
    for worker in cluster.nodes[1].workers:
        worker.silent = True
    guard = guard_of(Policy(max_idle=0), clock)
    guard.step()
    assert idle(cluster) == [0, 4]
    assert any(cluster.nodes[1].node_id[:8] in line for line in guard.record["unseen"])
    cluster.nodes[1].silent = False
    for worker in cluster.nodes[1].workers:
        worker.silent = False
    guard.step()
    assert idle(cluster) == [0, 0]
    assert guard.record["unseen"] == []


def test_a_node_that_stops_between_look_and_act(cluster, clock, soon_given_up, monkeypatch):
    look = watch.inspect

    def looked(**options):
        report = look(**options)
        cluster.nodes[0].silent = True
        return report

    monkeypatch.setattr(watch, "inspect", looked)
    guard = guard_of(Policy(max_idle=0), clock)
    guard.step()
    assert idle(cluster) == [4, 0]
    (outcome,) = {outcome for outcome in outcomes() if outcome != "left"}
    silent = cluster.nodes[0]
    assert outcome.startswith(
        f"stays: the raylet of node {silent.node_id[:8]} (127.0.0.1:{silent.port}) did not answer"
    )
    monkeypatch.undo()
    guard.step()
    silent.silent = False
    if not leases._names_leases():
        return  # before Ray 2.50 a late lease cannot be returned: see docs/limits.md
    eventually(lambda: silent.leased)  # it grants what nobody waits for any more
    clock.now += 120
    guard.step()
    assert not silent.leased
    assert idle(cluster) == [0, 0]


def test_nodes_that_stop_are_asked_for_their_leases_at_the_same_time(cluster, clock, soon_given_up, monkeypatch):
    """One after the other, each would take many seconds of each round."""
    look = watch.inspect

    def looked(**options):
        report = look(**options)
        for node in cluster.nodes:
            node.silent = True
        return report

    monkeypatch.setattr(watch, "inspect", looked)
    guard = guard_of(Policy(max_idle=0), clock)
    guard.step()
    monkeypatch.undo()
    cluster.calls.clear()
    returning = threading.Thread(target=leases.return_left)
    returning.start()
    eventually(lambda: cluster.calls["CancelWorkerLease"] == 2 or not returning.is_alive())
    both = cluster.calls["CancelWorkerLease"] == 2 and returning.is_alive()
    for node in cluster.nodes:
        node.silent = False
    returning.join(timeout=60)
    assert both, "one was asked after the other had been given up"
    if not leases._names_leases():
        return  # before Ray 2.50 a late lease cannot be returned: see docs/limits.md
    eventually(lambda: not any(node.leased for node in cluster.nodes))

    def all_gone() -> bool:  # a raylet that is slow to lease a worker counts as starting one, and is asked again later
        clock.now += 120
        guard.step()
        return idle(cluster) == [0, 0]

    eventually(all_gone)


def test_a_worker_that_ends_after_the_look(cluster, clock, monkeypatch):
    look, (node, _) = watch.inspect, cluster.nodes

    def looked(**options):
        report = look(**options)
        node.processes.remove(node.workers[1])
        return report

    monkeypatch.setattr(watch, "inspect", looked)
    guard = guard_of(Policy(max_idle=0), clock)
    guard.step()
    assert idle(cluster) == [0, 0]
    assert not node.leased
    assert (guard.record["let_go"], guard.record["stayed"]) == (7, 1)


def test_a_node_that_stops_while_a_worker_leaves(cluster, clock, soon_given_up):
    node = cluster.nodes[0]
    cluster.at_exit = lambda worker: setattr(worker.node, "silent", worker.node is node)
    guard = guard_of(Policy(max_idle=0), clock)
    guard.step()
    assert node.leased
    cluster.at_exit = lambda _: None
    node.silent = False
    clock.now += 120
    guard.step()
    assert not node.leased
    assert idle(cluster) == [0, 0]


def test_a_node_that_stops_is_asked_once_for_all_its_jobs(cluster, clock, soon_given_up, monkeypatch):
    """Each question to a stopped raylet takes many seconds."""
    cluster.jobs[OTHER] = "python other.py"
    look, (node, _) = watch.inspect, cluster.nodes
    node.workers[0].job = OTHER

    def looked(**options):
        report = look(**options)
        node.silent = True
        return report

    monkeypatch.setattr(watch, "inspect", looked)
    guard_of(Policy(max_idle=0), clock).step()
    assert idle(cluster) == [4, 0]
    assert cluster.calls["RequestWorkerLease"] == 1 + 4
    assert sum("did not answer" in outcome for outcome in outcomes()) == 4


def test_raylets_without_the_call(cluster, clock):
    for node in cluster.nodes:
        node.unknown.add("RequestWorkerLease")
    guard = guard_of(Policy(max_idle=0), clock)
    guard.step()
    assert idle(cluster) == [4, 4]
    assert all("did not answer (unimplemented)" in outcome for outcome in outcomes())
    guard.step()
    assert guard.record["stayed"] == 8, "they were not asked again at once"


def test_a_gcs_that_goes_and_comes_back(cluster, clock, soon_given_up):
    guard = guard_of(Policy(max_idle=0), clock)
    guard.load()
    cluster.silent = True
    guard.step()
    assert "the GCS did not answer" in guard.record["error"]
    cluster.silent = False
    guard.step()
    assert guard.record["error"] is None
    assert idle(cluster) == [0, 0]
    assert [event.partition(":")[0] for event in events()] == ["started", "could not look", "looks again"]


def test_a_gcs_that_goes_before_anybody_is_asked(cluster, clock, soon_given_up, monkeypatch):
    choose = watch.choose_in

    def chosen(*args, **options):
        cluster.silent = True
        return choose(*args, **options)

    monkeypatch.setattr(watch, "choose_in", chosen)
    guard = guard_of(Policy(max_idle=0), clock)
    guard.step()
    assert idle(cluster) == [4, 4]
    assert "the GCS did not answer" in guard.record["error"]
    monkeypatch.undo()
    cluster.silent = False
    guard.step()
    assert idle(cluster) == [0, 0]


@pytest.mark.parametrize("ended", [False, True], ids=["a task took others", "others are of a job that ended"])
def test_a_gcs_that_goes_while_workers_leave_hides_none_of_them(cluster, clock, soon_given_up, monkeypatch, ended):
    """The GCS is asked again for those that were not reached."""
    look, (_, other) = watch.inspect, cluster.nodes

    def looked(**options):
        report = look(**options)
        for worker in other.workers:
            worker.running = 0 if ended else 1
        return report

    if ended:
        cluster.jobs[OTHER] = "python other.py"
        cluster.ended.add(OTHER)
        for worker in other.workers:
            worker.job = OTHER
    monkeypatch.setattr(watch, "inspect", looked)
    cluster.at_exit = lambda _: setattr(cluster, "silent", True)
    guard = guard_of(Policy(max_idle=0), clock)
    guard.load()
    guard.step()
    left = 8 - sum(idle(cluster))
    assert left >= 4
    assert (guard.record["let_go"], guard.record["stayed"]) == (left, 8 - left)
    cluster.silent = False
    monkeypatch.undo()
    guard.step()
    assert outcomes().count("left") >= left


def test_a_policy_that_no_clock_can_wait_for(cluster, clock):
    """What it takes, by a share of a core that is next to nothing, makes a pause of millions of years."""
    guard = guard_of(Policy(max_idle=100, cpu_share=1e-300), clock, cpu=itertools.count().__next__)
    guard.step()
    guard.step()
    assert guard.record["pause"] <= threading.TIMEOUT_MAX
    assert json.loads(cluster.kept[NAME.encode()])["pause"] == guard.record["pause"]


def test_a_fault_of_its_own_does_not_end_it(cluster, clock, monkeypatch):
    def broken(**_):
        raise ZeroDivisionError("of its own")

    guard = guard_of(Policy(max_idle=0), clock)
    monkeypatch.setattr(watch, "inspect", broken)
    guard.step()
    assert guard.record["error"] == "ZeroDivisionError: of its own"
    monkeypatch.undo()
    guard.step()
    assert (guard.record["failed_looks"], guard.record["looks"]) == (1, 2)
    assert idle(cluster) == [0, 0]


def test_a_fault_of_its_report_does_not_end_it(cluster, clock, monkeypatch):
    guard = guard_of(Policy(max_idle=0), clock)
    guard.step()
    monkeypatch.setattr(guard, "_notes", None)
    guard.step()
    monkeypatch.undo()
    guard.step()
    assert guard_state().looks == 3


def test_its_log_can_be_read_while_another_thread_writes(cluster, clock):
    book, over = guard_book.Book(), threading.Event()

    def write():
        while not over.is_set():
            book.event("something")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(book.rows()) < book.decisions.maxlen:
            pass
        for _ in range(50):
            assert len(book.rows()) == book.decisions.maxlen
    finally:
        over.set()
        writer.join()


def test_one_that_comes_back_has_its_policy_counters_and_log(cluster, clock):
    first = guard_of(Policy(max_idle=3), clock)
    first.step()
    first.change(lambda _: Policy(max_idle=2))
    again = guard_of(Policy(max_idle=3), clock)  # what its actor was made with
    again.step()
    assert idle(cluster) == [2, 2]
    assert (again.record["restarts"], again.record["let_go"], again.record["looks"]) == (1, 4, 2)
    assert again.policy == Policy(max_idle=2)
    assert "came back after its process had ended" in events()
    other = guard_of(Policy(max_idle=1), clock, actor_id="b")
    other.step()
    assert other.policy == Policy(max_idle=1)
    assert (other.record["restarts"], other.record["let_go"]) == (0, 2)


def test_one_that_comes_back_with_an_older_version_lets_nobody_go_until_it_is_set_anew(cluster, clock):
    guard_of(Policy(max_idle=3), clock).step()
    record = json.loads(cluster.kept[NAME.encode()])
    record["policy"]["of_a_later_version"] = 1
    cluster.kept[NAME.encode()] = json.dumps(record).encode()
    again = guard_of(Policy(max_idle=0), clock)
    again.step()
    assert idle(cluster) == [3, 3]
    assert events()[-1].startswith("its policy was noted by another version of outlive")
    assert guard_state().policy["dry_run"] is True
    again.change(lambda _: Policy(max_idle=1))
    again.step()
    assert idle(cluster) == [1, 1]


def test_one_that_comes_back_while_the_gcs_is_away_waits_for_its_policy(cluster, clock, soon_given_up):
    guard_of(Policy(max_idle=3), clock).step()
    cluster.silent = True
    again = guard_of(Policy(max_idle=0), clock)
    again.step()
    assert json.loads(cluster.kept[NAME.encode()])["policy"]["max_idle"] == 3
    cluster.silent = False
    again.step()
    assert idle(cluster) == [3, 3]


def test_it_looks_less_often_while_nothing_is_idle(cluster, clock, monkeypatch):
    jitter = []
    monkeypatch.setattr(watch.random, "uniform", lambda *about: jitter.append(about) or 1.0)
    for node in cluster.nodes:
        for worker in node.workers:
            worker.running = 1
    guard = guard_of(Policy(max_idle=0, every="10s"), clock)
    pauses = []
    for _ in range(5):
        guard.step()
        pauses.append(guard.record["pause"])
    assert pauses == [20, 40, 60, 60, 60]
    cluster.nodes[0].workers[0].running = 0
    guard.step()
    assert guard.record["pause"] == 10
    assert {*jitter} == {(0.9, 1.1)}


def test_it_takes_no_more_than_its_share_of_a_core(cluster, clock):
    first = [0.0, 0.0, 0.0, 5.0, 5.0, 5.1]  # it loads what all others need
    spent = iter([*first, 5.1, 5.1, 9.1, 9.5, 9.5, 9.5])  # four seconds to let workers go are not for looking
    guard = guard_of(Policy(max_idle=100, every="1s"), clock, cpu=lambda: next(spent))
    guard.step()
    assert guard.record["pause"] <= 1.1
    guard.step()
    assert guard.record["pause"] == pytest.approx(100.0)


@pytest.mark.parametrize(("acted", "pause"), [(0.1, 22.0), (9.0, 60.0)])
def test_to_let_workers_go_counts_as_far_as_it_is_not_much(cluster, clock, acted, pause):
    """A minute at most by itself: else a guard that let a thousand go would pause for a quarter of an hour."""
    spent = iter([*[0.0] * 6, 0.0, 0.0, acted, acted + 0.01, 0.0, 0.0])
    guard = guard_of(Policy(max_idle=100, every="10s"), clock, cpu=lambda: next(spent))
    guard.step()
    guard.step()
    assert guard.record["pause"] == pytest.approx(pause)


def test_its_state_for_those_who_read_it(cluster, clock):
    guard_of(Policy(max_idle=1), clock).step()
    state = guard_state()
    assert (state.phase, state.let_go, state.words) == ("gone", 6, "max_idle=1")  # there is no such actor here
    assert not state.well


class Stopped:
    """A guard's actor, as `stop_guard` sees it: it answers, or it does not."""

    def __init__(self, answer=None, error=None):
        self._answer, self._error = answer, error
        self.killed = False
        self.stop = SimpleNamespace(remote=lambda: self)

    def get(self, _, timeout):
        if self._error is not None:
            raise self._error
        if self._answer is not None:
            self._answer()

    def kill(self, _, no_restart):
        assert no_restart
        self.killed = True


def stop_of(actor, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(guarding, "_running", lambda: actor)
    monkeypatch.setattr(ray, "get", actor.get)
    monkeypatch.setattr(ray, "kill", actor.kill)
    assert guarding.stop_guard()
    assert actor.killed
    monkeypatch.undo()


def test_a_guard_that_does_not_answer_is_killed_and_its_record_says_that_it_was_stopped(cluster, clock, monkeypatch):
    guard_of(Policy(max_idle=1), clock).step()
    stop_of(Stopped(error=pytest.importorskip("ray").exceptions.GetTimeoutError()), monkeypatch)
    state = guard_state()
    assert (state.phase, state.about, state.let_go, state.words) == ("stopped", "stopped", 6, "max_idle=1")
    assert events() == ["started: max_idle=1", "stopped: it did not answer, and was killed"]


def test_a_guard_that_stopped_but_could_not_note_it_is_noted_as_stopped(cluster, clock, monkeypatch):
    guard = guard_of(Policy(max_idle=1), clock)
    guard.step()
    stop_of(Stopped(lambda: None), monkeypatch)
    assert guard_state().phase == "stopped"
    assert events()[-1] == "stopped"


def test_a_guard_that_noted_that_it_stopped_is_not_noted_again(cluster, clock, monkeypatch):
    guard = guard_of(Policy(max_idle=1), clock)
    guard.step()
    stop_of(Stopped(guard.stop), monkeypatch)
    assert guard_state().phase == "stopped"
    assert events() == ["started: max_idle=1", "stopped"]


def test_a_guard_that_never_reported_has_no_record_when_it_is_stopped(cluster, monkeypatch):
    stop_of(Stopped(error=pytest.importorskip("ray").exceptions.GetTimeoutError()), monkeypatch)
    assert guard_state() is None


def test_a_guard_that_somebody_starts_just_then_keeps_its_record(cluster, clock, monkeypatch):
    guard_of(Policy(max_idle=1), clock).step()
    another = NamedActor("b", "alive", "n", 2, 0)
    monkeypatch.setattr(guarding, "_END", 0.0)
    monkeypatch.setattr(guarding.named_actor, "find", lambda *_: another)
    stop_of(Stopped(), monkeypatch)
    assert guard_state().phase == "gone"
    assert events() == ["started: max_idle=1"]


def test_the_log_of_a_stopped_guard_stays_bounded(cluster, clock, monkeypatch):
    guard = guard_of(Policy(max_idle=1), clock)
    for turn in range(300):
        guard._book.event(str(turn))
    guard.step()
    stop_of(Stopped(), monkeypatch)
    assert len(events()) + len(outcomes()) == KEPT
    assert events()[-1] == "stopped"
