"""TaskCancelledError: ray.cancel on a task that waits for resources."""

from __future__ import annotations

import ray


@ray.remote(num_cpus=1000)
def never() -> None: ...


def provoke() -> None:
    ref = never.remote()
    ray.cancel(ref)
    ray.get(ref, timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
