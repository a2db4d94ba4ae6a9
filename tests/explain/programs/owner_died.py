"""OwnerDiedError: the worker that called ray.put is killed, and the ref lives on in the driver."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import ray


@ray.remote(max_retries=0)
def make() -> tuple[int, list[ray.ObjectRef]]:
    return os.getpid(), [ray.put(np.ones(1 << 17))]


def provoke() -> None:
    pid, (ref,) = ray.get(make.remote())
    os.kill(pid, signal.SIGKILL)
    while True:  # until the node has noticed and dropped its copy
        ray.get(ref, timeout=60)
        time.sleep(0.05)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
