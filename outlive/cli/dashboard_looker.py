"""Run as a program by `outlive dashboard`: the process that asks the cluster for the page."""

from __future__ import annotations

import sys

from outlive.cli.workers_connection import found, joined
from outlive.dashboard.in_ray import RaySource
from outlive.dashboard.looker import run
from outlive.ray_internals import authentication


def main(address: str | None) -> None:
    """Answer questions on this process's stdin until it is closed."""

    def find() -> str | None:
        job = found(address)
        authentication.keep()  # the questions are answered by several threads
        return job

    run(RaySource(find, lambda: joined(address)))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
