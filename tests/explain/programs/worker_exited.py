"""WorkerCrashedError: the task ends its own process, and no retry is left."""

from __future__ import annotations

import os

import ray


@ray.remote(max_retries=0)
def leave() -> None:
    os._exit(1)


def provoke() -> None:
    ray.get(leave.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
