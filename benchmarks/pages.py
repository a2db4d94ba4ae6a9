"""The rows whose memory is shared, measured once more where shared memory has pages of 2 MiB.

A child process mounts a tmpfs with huge pages over /dev/shm, in a namespace of its own. Ray's object store and the
shelf of outlive are on that mount then. No other process sees it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from benchmarks.line import Line

FOLDER = "/dev/shm"
SETTING = "within_size"  # huge pages for files that are large enough: what `outlive tune` advises
_SCRIPT = 'mount -t tmpfs -o "$1" outlive-bench "$2" && shift 2 && exec "$@"'


def measure(names: list[str], *, quick: bool) -> Iterator[list[Line]]:
    """The lines of these rows on a mount with huge pages, as far as they were measured.

    Raises
    ------
    RuntimeError
        A row failed, or this process may not mount. The other rows' lines came before.
    """
    own = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        own += ["--user", "--map-root-user"]
    options = f"mode=1777,size={os.statvfs(FOLDER).f_blocks * os.statvfs(FOLDER).f_frsize},huge={SETTING}"
    with tempfile.TemporaryDirectory(prefix="outlive-bench-") as folder:
        path = Path(folder, "lines.json")
        command = [sys.executable, "-m", "benchmarks", "--pages", "here", "--output", str(path), "--only", *names]
        command += ["--quick"] if quick else []
        done = subprocess.run(
            [*own, "sh", "-c", _SCRIPT, "sh", options, FOLDER, *command],
            check=False,
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).parents[1],
        )
        lines = json.loads(path.read_text(encoding="utf-8"))["lines"] if path.exists() else []
    known = {field.name for field in fields(Line)}
    yield [Line(**{name: value for name, value in line.items() if name in known}) for line in lines]
    if done.returncode != 0:
        raise RuntimeError(f"not every row could be measured with pages of 2 MiB (exit {done.returncode})")
