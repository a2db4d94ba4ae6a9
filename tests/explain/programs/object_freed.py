"""ObjectFreedError: the object was freed by hand, with Ray's internal `free` (which newer Ray no longer has)."""

from __future__ import annotations

import numpy as np
import ray


def provoke() -> None:
    from ray._private.internal_api import free

    ref = ray.put(np.ones(1 << 17))
    free([ref])
    ray.get(ref, timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
