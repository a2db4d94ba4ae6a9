"""GetTimeoutError: the task did not finish in the time that ray.get was given."""

from __future__ import annotations

import ray


@ray.remote(num_cpus=1000)
def never() -> None: ...


def provoke() -> None:
    ref = never.remote()
    try:
        ray.get(ref, timeout=0.2)
    finally:
        ray.cancel(ref)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
