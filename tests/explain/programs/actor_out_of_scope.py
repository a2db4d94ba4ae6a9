"""ActorDiedError: every strong handle is gone; a handle from ray.get_actor does not keep the actor alive."""

from __future__ import annotations

import ray


@ray.remote(num_cpus=0)
class Counter:
    def count(self) -> int:
        return 1


def provoke() -> None:
    counter = Counter.options(name="counter").remote()
    ray.get(counter.count.remote())
    weak = ray.get_actor("counter")
    del counter
    while True:
        ray.get(weak.count.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
