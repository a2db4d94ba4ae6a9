"""The rows whose memory is shared, measured once more where shared memory has pages of 2 MiB.

A child process mounts a tmpfs with huge pages over /dev/shm, in a namespace of its own. Ray's object store and the
shelf of outlive are on that mount then. No other process sees it. The child ends when its parent does, and the mount
with the last of its processes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.cluster import GIB
from benchmarks.line import Line
from benchmarks.page_size import FOLDER, LARGE
from outlive.arrays.limits import memory_limit
from outlive.tune.mount import in_english, in_words, said
from outlive.tune.private import end_with, on_private_mount

SETTING = "within_size"  # huge pages for files that are large enough: what `outlive tune` advises
_NEEDED = 10 * GIB  # Ray's arena, a shelf's budget, and some room: what the largest of these rows may take
_ROW = re.compile(r"[\w-]+: .*\d+ s\n")
_PATIENCE = 60.0  # seconds, for a child that only looks


def measure(names: list[str], *, quick: bool) -> Iterator[list[Line]]:
    """The lines of these rows on a mount with huge pages, as far as they were measured.

    Raises
    ------
    RuntimeError
        A row failed, or this process may not mount. The other rows' lines came before.
    """
    with tempfile.TemporaryDirectory(prefix="outlive-bench-") as folder:
        path = Path(folder, "lines.json")
        rows = ["--pages", "here", "--output", str(path), "--only", *names, *(["--quick"] if quick else [])]
        whole = covered([sys.executable, "-m", "benchmarks.pages", str(os.getpid()), *rows])
        with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as child:
            assert child.stdout is not None
            try:
                for said in filter(_ROW.fullmatch, child.stdout):  # which row was measured; the table comes later
                    print(f"{LARGE} pages: {said}", end="", flush=True)
            except BaseException:
                child.terminate()
                raise
        lines = json.loads(path.read_text(encoding="utf-8"))["lines"] if path.exists() else []
    yield [Line.from_json(line) for line in lines]
    if child.returncode != 0:
        raise RuntimeError(f"not every row could be measured with pages of {LARGE} (exit {child.returncode})")


def refused() -> str | None:
    """Why there is no private mount with large pages for this process; None if there is."""
    command = covered([sys.executable, "-m", "benchmarks.page_size"])
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
            cwd=Path(__file__).parents[1],
            env=in_english(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return in_words(error)
    if done.returncode != 0:
        return said(done.stderr)
    found = done.stdout.strip()
    return None if found == LARGE else f"files of a private mount with huge={SETTING} have pages of {found} here"


def covered(command: list[str]) -> list[str]:
    """The command that runs another where a tmpfs with huge pages, which nobody else sees, covers `FOLDER`."""
    size = min(_NEEDED, psutil.virtual_memory().available // 2, memory_limit() // 2)
    return on_private_mount(command, FOLDER, f"mode=1777,size={size},huge={SETTING}")


if __name__ == "__main__":
    end_with(int(sys.argv.pop(1)))
    from benchmarks.__main__ import main

    sys.exit(main())
