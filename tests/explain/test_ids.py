"""Ids decoded: the thread's, those that real Ray makes, and texts that are none."""

from __future__ import annotations

import threading

import pytest
import ray

from outlive.explain import NotAnId, decode

THREAD = "00f7ac668d3063a5ffffffffffffffffffffffff0200000002e1f505"


@pytest.mark.parametrize(
    "text",
    [
        THREAD,
        THREAD.upper(),
        f"'{THREAD}'",
        f"\u2018{THREAD}\u2019",
        f"ObjectRef({THREAD})",
        f"...{THREAD}\u2026",
        f'  "{THREAD}",\n',
        f"0x{THREAD}",
    ],
)
def test_the_id_of_the_thread(text):
    decoded = decode(text)
    assert (decoded.kind, decoded.hex) == ("ObjectID", THREAD)
    assert (decoded.job, decoded.actor, decoded.maker) == (2, None, "normal task")
    assert (decoded.put, decoded.index, decoded.attempt) == (True, 100_000_002, 0)
    assert [field.hex for field in decoded.fields] == ["00", "f7ac668d3063a5", "f" * 24, "02000000", "02e1f505"]
    for part in ("the first ray.put", "normal task of job 2", "first execution", "pooled worker", "no lineage"):
        assert part in decoded.sentence


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not an id"),
        ("hello", "is not an id"),
        ("00f7ac66...", "was shortened"),
        ("00f7ac668d3063a5" * 20, "no id of Ray has that many"),
        ("0", "1 hex digits"),
        (THREAD[:-1], "55 hex digits"),
        (f"{THREAD} and {THREAD}", "is not an id"),
    ],
)
def test_no_ids(text, reason):
    with pytest.raises(NotAnId, match=reason):
        decode(text)


@pytest.mark.parametrize(
    ("text", "kind", "job"),
    [
        ("02000000", "JobID", 2),
        ("ffffffff", "JobID", None),
        ("b7a9ee39ffe12adc52ad02ae01000000", "ActorID", 1),
        ("ffffffffffffffffffffffff01000000", "ActorID", 1),
        ("239c2f70c73fbf73ffffffffffffffffffffffff01000000", "TaskID", 1),
        ("01000000ffffffffffffffffffffffffffffffffffffffffffffffff", "WorkerID", 1),
        ("e761f7cffc0b3d3457d902f805e5434dc78a7584056e4a7cca538086", "WorkerID or NodeID", None),
        ("f" * 56, "WorkerID or NodeID", None),
        ("10fe67fbf0c8bd8033516421fb5d01000000", "PlacementGroupID", 1),
        ("0900000001000000ffffffffffffffffffffffffffffffffffffffffffffffff", "LeaseID", 1),
    ],
)
def test_other_ids(text, kind, job):
    decoded = decode(text)
    assert (decoded.kind, decoded.job) == (kind, job)
    assert "".join(field.hex for field in decoded.fields) == text


def test_puts_of_old_ray_had_no_gap():
    decoded = decode("00ffffffffffffffffffffffffffffffffffffff0100000003000000")
    assert decoded.put
    assert decoded.maker == "driver"
    assert "the third ray.put" in decoded.sentence


def test_objects_of_the_driver(plain):
    first, second = decode(ray.put(1).hex()), decode(ray.put(2).hex())
    assert (first.maker, first.put, first.attempt) == ("driver", True, 0)
    assert second.index == first.index + 1
    assert str(first.job) == str(int(bytes.fromhex(ray.get_runtime_context().get_job_id())[::-1].hex(), 16))


def test_objects_of_a_task(plain):
    @ray.remote(num_returns=2)
    def make():
        return ray.put(1).hex(), ray.put(2).hex()

    refs = make.remote()
    for number, ref in enumerate(refs, 1):
        decoded = decode(ref.hex())
        assert (decoded.put, decoded.index, decoded.task) == (False, number, ref.task_id().hex())
        assert decode(decoded.task).maker == "normal task"
    decoded = [decode(one) for one in ray.get(refs)]
    assert [one.index - 100_000_000 for one in decoded] == [3, 4]
    assert [(one.maker, one.attempt, one.task) for one in decoded] == [("normal task", 0, None)] * 2


def test_the_attempt_of_a_put(plain, tmp_path):
    @ray.remote(max_retries=2, retry_exceptions=True)
    def make(file):
        with open(file, "a+") as log:
            log.write("x")
            if log.tell() < 3:
                raise ValueError
        return ray.put(1).hex()

    decoded = decode(ray.get(make.remote(str(tmp_path / "calls"))))
    assert decoded.attempt == 2
    assert "third execution" in decoded.sentence


def test_objects_of_actors(plain):
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self):
            self.made = ray.put(0).hex()

        def make(self):
            return self.made, ray.put(1).hex()

    @ray.remote(num_cpus=0)
    class Async:
        async def make(self):
            return ray.put(1).hex()

    actor = Actor.remote()
    ref = actor.make.remote()
    mine = actor._actor_id.hex()
    assert (decode(mine).kind, decode(ref.hex()).actor, decode(ref.hex()).maker) == ("ActorID", mine, "actor task")
    first, second = (decode(one) for one in ray.get(ref))
    assert (first.maker, first.actor, first.attempt) == ("actor creation task", mine, 0)
    assert (second.maker, second.actor, second.attempt) == ("actor task", mine, 0)
    assert decode(ray.get(Async.remote().make.remote())).maker == "thread or async actor"


def test_objects_of_a_thread(plain):
    made = []
    thread = threading.Thread(target=lambda: made.append(ray.put(1).hex()))
    thread.start()
    thread.join()
    decoded = decode(made[0])
    assert (decoded.maker, decoded.actor, decoded.put) == ("thread or async actor", None, True)


def test_ids_of_the_driver_and_its_node(plain):
    context = ray.get_runtime_context()
    assert decode(context.get_worker_id()).maker == "driver"
    assert decode(context.get_node_id()).kind == "WorkerID or NodeID"
    assert decode(context.get_job_id()).job == decode(context.get_worker_id()).job
