"""A program may look at a cluster, end it, and start another: grpcio's fork handlers do not get in the way."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ray
from outlive.workers import inspect
for _ in range(4):
    ray.init(address="local", num_cpus=1, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False)
    inspect()
    ray.shutdown()
print("done")
"""


def test_ray_can_be_started_again_and_again():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert run.stdout == "done\n", run.stderr
