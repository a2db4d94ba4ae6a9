"""Starting a Ray with more time than Ray takes itself. Beside busy processes, the 30 s that it allows are too few.

Source: ray/_private/node.py, `Node.__init__`, which asks `services.get_node` for 30 s whether the head knows the new
node, and `Node.start_gcs_server` for the variable of the head's port; `agent_register_timeout_ms` of
src/ray/common/ray_config_def.h, after which the raylet ends (2.49 to 2.60).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from ray._private import services

_WITHIN = 180  # seconds
_PAUSE = 0.1  # seconds between two looks


@contextlib.contextmanager
def patiently() -> Iterator[None]:
    """A Ray that is started in this block may take minutes to start. For a program that starts one at a time."""
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(_WITHIN))
    os.environ.setdefault("RAY_agent_register_timeout_ms", str(_WITHIN * 1000))
    module: Any = services
    once = module.get_node

    def get_node(*args: Any, **options: Any) -> Any:
        deadline = time.monotonic() + _WITHIN
        while True:
            try:
                return once(*args, **options)
            except RuntimeError:  # the head does not know the node yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)

    module.get_node = get_node
    try:
        yield
    finally:
        module.get_node = once
