"""What a run was measured on and with."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_QUIET, _PATIENCE = 10.0, 30.0  # percent of all cores, and seconds


def facts() -> dict[str, Any]:
    return {
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "kernel": platform.release(),
            "shared_memory_gib": _shared_memory(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("ray", "numpy", "outlive")},
        },
        "commit": commit(),
        "load_average": os.getloadavg(),
    }


def commit() -> str:
    """The checkout's commit, with `-dirty` if files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def quiet() -> None:
    """Wait until the processor has little to do: Ray's workers import for seconds after it has started.

    On a machine that others use it goes on after half a minute.
    """
    deadline = time.monotonic() + _PATIENCE
    while psutil.cpu_percent(interval=1.0) > _QUIET and time.monotonic() < deadline:
        pass


def nickname() -> str:
    """Names a machine by what it is and not by whose it is, for the file of results."""
    cpu = "-".join(re.findall(r"[a-z0-9]+", re.sub(r"\(\w+\)|\bcpu\b|\bprocessor\b", "", _cpu_model().lower()))[:4])
    return f"{cpu}-{os.cpu_count()}cores-{round(psutil.virtual_memory().total / 2**30)}gib"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _shared_memory() -> float:
    try:
        system = os.statvfs("/dev/shm")
    except OSError:
        return 0.0
    return round(system.f_blocks * system.f_frsize / 2**30, 1)
