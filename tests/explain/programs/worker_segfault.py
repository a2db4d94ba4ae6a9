"""WorkerCrashedError: the worker is ended by SIGSEGV, as a broken C extension does."""

from __future__ import annotations

import os
import signal

import ray


@ray.remote(max_retries=0)
def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def provoke() -> None:
    ray.get(crash.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
