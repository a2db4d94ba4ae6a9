"""Work that notices every worker that is taken from it: short tasks, nested tasks, owners, an actor; no retries."""

from __future__ import annotations

import collections
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import ray


@ray.remote(max_retries=0)
def short(number):
    return number


@ray.remote(max_retries=0, num_cpus=0.5)
def nested(number):
    return ray.get(short.remote(number))


@ray.remote(max_retries=0)
def owner(number):
    return [ray.put(np.full(1 << 15, number))]  # 256 KiB: in the object store, lost with this worker


@ray.remote(num_cpus=0, max_restarts=0)
class Counter:
    def __init__(self):
        self.calls = 0

    def add(self):
        self.calls += 1
        return self.calls


def run(tasks, remote=short, seed=0, stop=lambda: False, done=None):
    """Run `tasks` short tasks in bursts, with pauses in which workers become idle; what went wrong, as text.

    `done` counts the tasks, the calls of an actor, and the objects that were read, right or wrong.
    """
    done = collections.Counter() if done is None else done
    rng = random.Random(seed)
    actor = Counter.remote()
    wrong, owned, sent, bursts = [], {}, 0, 0
    while sent < tasks and not stop():
        size = min(tasks - sent, rng.randint(300, 700))
        refs = [remote.remote(number) for number in range(sent, sent + size)]
        inner = [nested.remote(number) for number in range(4)]
        mine = {bursts: owner.remote(bursts)} if bursts % 3 == 0 else {}
        for number, ref in [*zip(range(sent, sent + size), refs, strict=True), *enumerate(inner)]:
            _expect(wrong, number, ref)
        for burst, ref in mine.items():
            try:
                (owned[burst],) = ray.get(ref, timeout=60)
            except ray.exceptions.RayError as error:
                wrong.append(f"owner: {type(error).__name__}")
        _expect(wrong, bursts + 1, actor.add.remote())
        done.update(tasks=len(refs) + len(inner) + len(mine), calls=1)
        sent, bursts = sent + size, bursts + 1
        time.sleep(rng.choice([0, 0.1, 0.25]))  # not waiting for anything: workers shall be idle for a moment
        if len(owned) > 3:
            _expect_owned(wrong, done, min(owned), owned.pop(min(owned)))
    for burst, ref in owned.items():
        _expect_owned(wrong, done, burst, ref)
    return wrong


def _expect_owned(wrong, done, burst, ref):
    done.update(objects=1)
    try:
        if not (ray.get(ref, timeout=60) == burst).all():
            wrong.append("object: it changed")
    except ray.exceptions.RayError as error:
        wrong.append(f"object: {type(error).__name__}")


def _expect(wrong, value, ref):
    try:
        if ray.get(ref, timeout=60) != value:
            wrong.append("wrong result")
    except ray.exceptions.RayError as error:
        wrong.append(type(error).__name__)


def idle_pids():
    """Workers of this process's Ray whose title says idle, as `pkill -f ray::IDLE` finds them."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"ray::IDLE"):
                found.append(process.pid)
        except OSError:
            continue
    return found


class Sigterm:
    """What people do instead of trim."""

    def __init__(self, every):
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(every,))

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *about):
        self._stopped.set()
        self._thread.join()

    def _run(self, every):
        while not self._stopped.wait(every):
            for pid in idle_pids()[1:]:
                try:
                    os.kill(pid, signal.SIGTERM)
                except OSError:
                    continue
