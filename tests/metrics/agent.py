"""The Python that runs Ray's metrics agent: the tests' own, or that of the pages' programs, which has Ray Serve's."""

from __future__ import annotations

import subprocess
import sys

from tests.little_ray import CAN_FORK
from tests.pages.run import PREFIX

PYTHON = str(PREFIX / "bin" / "python") if CAN_FORK else sys.executable  # older Ray is left to start its own agent
_LOOK = """
try:
    import ray.dashboard.optional_deps
except ImportError as error:
    print(error.name or error)
"""


def lacking() -> str:
    """The first package of ray[default] that is not installed there; "" if all are."""
    return subprocess.run([PYTHON, "-c", _LOOK], capture_output=True, text=True, check=True).stdout.strip()
