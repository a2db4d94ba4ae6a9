"""ActorDiedError: the worker that created the actor died, and an actor that is not detached dies with it."""

from __future__ import annotations

import os
import signal

import ray


@ray.remote(num_cpus=0)
class Counter:
    def count(self) -> int:
        return 1


@ray.remote(num_cpus=0)
class Parent:
    def spawn(self) -> tuple[int, ray.actor.ActorHandle]:
        self.child = Counter.remote()
        ray.get(self.child.count.remote())
        return os.getpid(), self.child


def provoke() -> None:
    parent = Parent.remote()
    pid, counter = ray.get(parent.spawn.remote())
    os.kill(pid, signal.SIGKILL)
    while True:
        ray.get(counter.count.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
