"""The Python that runs Ray's metrics agent: the tests' own, or that of the pages' programs, which has Ray Serve's."""

from __future__ import annotations

import subprocess

from tests.pages.run import PREFIX

PYTHON = str(PREFIX / "bin" / "python")
_NEEDED = ("aiohttp", "opencensus", "prometheus_client")


def lacking() -> str:
    """The first package of ray[default] that is not installed there; "" if all are."""
    look = f"import importlib.util as u; print(next((n for n in {_NEEDED} if not u.find_spec(n)), ''))"
    return subprocess.run([PYTHON, "-c", look], capture_output=True, text=True, check=True).stdout.strip()
