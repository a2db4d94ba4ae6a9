"""ActorDiedError: __init__ raised."""

from __future__ import annotations

import ray


@ray.remote(num_cpus=0)
class Reader:
    def __init__(self) -> None:
        raise FileNotFoundError("no such scan: ct/7")

    def read(self) -> int:
        return 1


def provoke() -> None:
    ray.get(Reader.remote().read.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
