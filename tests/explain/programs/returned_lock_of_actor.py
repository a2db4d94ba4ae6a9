"""An actor's method returns what cannot be pickled."""

from __future__ import annotations

import threading

import ray


@ray.remote(num_cpus=0)
class Reader:
    def lock(self) -> object:
        return threading.Lock()


def provoke() -> None:
    reader = Reader.remote()
    ray.get(reader.lock.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
