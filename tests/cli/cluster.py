"""Run as a program: a local Ray cluster that lasts until stdin is closed; prints its address."""

from __future__ import annotations

import sys

import ray

from tests.little_ray import start_little

if __name__ == "__main__":
    start_little()
    ray.init(address="local", num_cpus=2, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False)
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()
