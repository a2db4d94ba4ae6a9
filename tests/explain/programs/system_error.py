"""RaySystemError: the value arrived, but cannot be unpickled where it is read."""

from __future__ import annotations

import ray


def _refuse() -> None:
    raise ModuleNotFoundError("No module named 'scanlib'")


class Scan:
    def __reduce__(self) -> object:
        return _refuse, ()


@ray.remote
def make() -> Scan:
    return Scan()


def provoke() -> None:
    ray.get(make.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
