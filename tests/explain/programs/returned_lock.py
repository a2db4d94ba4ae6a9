"""A task returns what cannot be pickled."""

from __future__ import annotations

import threading

import ray


@ray.remote
def make() -> dict[str, object]:
    return {"scan": 7, "lock": threading.Lock()}


def provoke() -> None:
    ray.get(make.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
