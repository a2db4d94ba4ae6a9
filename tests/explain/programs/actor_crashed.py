"""ActorDiedError: the actor's process ended, here by SIGKILL."""

from __future__ import annotations

import os
import signal

import ray


@ray.remote(num_cpus=0)
class Counter:
    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def provoke() -> None:
    ray.get(Counter.remote().crash.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
