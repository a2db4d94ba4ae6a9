"""ActorDiedError: the actor called ray.actor.exit_actor()."""

from __future__ import annotations

import ray


@ray.remote(num_cpus=0)
class Counter:
    def leave(self) -> None:
        ray.actor.exit_actor()

    def count(self) -> int:
        return 1


def provoke() -> None:
    counter = Counter.remote()
    counter.leave.remote()
    ray.get(counter.count.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
