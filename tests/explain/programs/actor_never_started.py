"""ActorDiedError: killed while it still waited for resources that no node has."""

from __future__ import annotations

import ray


@ray.remote(num_cpus=1000)
class Giant:
    def count(self) -> int:
        return 1


def provoke() -> None:
    giant = Giant.remote()
    call = giant.count.remote()
    ray.kill(giant)
    ray.get(call, timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
