"""A generator yields what cannot be pickled."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import ray


@ray.remote(num_returns="streaming")
def make() -> Iterator[object]:
    yield 7
    yield threading.Lock()


def provoke() -> None:
    for ref in make.remote():
        ray.get(ref, timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
