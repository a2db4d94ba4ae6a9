"""The rows whose memory is shared, measured once more where shared memory has pages of 2 MiB.

A child process mounts a tmpfs with huge pages over /dev/shm, in a namespace of its own. Ray's object store and the
shelf of outlive are on that mount then. No other process sees it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from benchmarks import machine
from benchmarks.line import Line

FOLDER = "/dev/shm"
SETTING = "within_size"  # huge pages for files that are large enough: what `outlive tune` advises
_ROW = re.compile(r"[\w-]+: .*\d+ s\n")
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
        whole = [*own, "sh", "-c", _SCRIPT, "sh", options, FOLDER, *command]
        with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as child:
            assert child.stdout is not None
            try:
                for said in filter(_ROW.fullmatch, child.stdout):  # which row was measured; the table comes later
                    print(f"{machine.LARGE} pages: {said}", end="", flush=True)
            except BaseException:
                child.terminate()
                raise
        lines = json.loads(path.read_text(encoding="utf-8"))["lines"] if path.exists() else []
    known = {field.name for field in fields(Line)}
    yield [Line(**{name: value for name, value in line.items() if name in known}) for line in lines]
    if child.returncode != 0:
        raise RuntimeError(f"not every row could be measured with pages of {machine.LARGE} (exit {child.returncode})")
