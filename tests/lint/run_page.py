"""Run as a program, with the path of another one: runs that on the cluster of RAY_ADDRESS."""

from __future__ import annotations

import runpy
import sys

import ray

_init = ray.init


def init(**options: object) -> object:
    kept = {name: value for name, value in options.items() if name == "namespace"}
    return _init(log_to_driver=False, logging_level="ERROR", **kept)


if __name__ == "__main__":
    ray.init = init
    runpy.run_path(sys.argv[1], run_name="__main__")
