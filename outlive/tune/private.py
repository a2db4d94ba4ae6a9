"""A private mount: a tmpfs that covers a folder for one command and its children. No other process sees it.

It ends with the last of these processes. Source: unshare(1), mount_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_SCRIPT = 'mount -t tmpfs -o "$1" outlive-private "$2" && shift 2 && exec "$@"'
_PR_SET_PDEATHSIG = 1  # prctl(2)


def on_private_mount(command: list[str], folder: str, options: str) -> list[str]:
    """The command that runs another where a tmpfs with these options covers `folder`."""
    own = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        own += ["--user", "--map-root-user"]
    return [*own, "sh", "-c", _SCRIPT, "sh", options, folder, *command]


def end_with(parent: int) -> None:
    """Have this process terminated when its parent ends, however that does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before
        sys.exit(128 + signal.SIGTERM)
