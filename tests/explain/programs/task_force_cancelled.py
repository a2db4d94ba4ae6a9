"""TaskCancelledError: ray.cancel(force=True) ends the worker."""

from __future__ import annotations

import time

import ray


@ray.remote(max_retries=0)
def wait_long() -> None:
    time.sleep(600)


def provoke() -> None:
    ref = wait_long.remote()
    ray.wait([ref], timeout=1)  # it runs
    ray.cancel(ref, force=True)
    ray.get(ref, timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
