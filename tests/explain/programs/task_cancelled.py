"""TaskCancelledError: ray.cancel on a task that runs."""

from __future__ import annotations

import time

import ray


@ray.remote
def wait_long() -> None:
    for _ in range(6000):
        time.sleep(0.01)


def provoke() -> None:
    ref = wait_long.remote()
    ray.wait([ref], timeout=1)  # it runs
    ray.cancel(ref)
    ray.get(ref, timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
