"""A program in a pod: `python -m tests.nodes.in_pod ADDRESS IP CALL RESULT`. See `pods.Program`."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray import cloudpickle


def main(address: str, ip: str, call: str, result: str) -> None:
    """Connect to the cluster by the node at `ip`, make the call, and leave its result in a file."""
    faulthandler.dump_traceback_later(120, repeat=True)  # to its log, if it hangs
    ray.init(address, _node_ip_address=ip, log_to_driver=False, logging_level="ERROR")
    function, arguments = cloudpickle.loads(Path(call).read_bytes())
    returned = function(*arguments)
    Path(f"{result}.new").write_bytes(cloudpickle.dumps(returned))
    os.rename(f"{result}.new", result)
    ray.shutdown()


def until(path: str, work: Callable[[], object]) -> None:
    """Do some work again and again until there is a file at `path`."""
    while not os.path.exists(path):
        work()
        time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
