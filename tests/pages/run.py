"""Run the commands of a page on a Ray of their own, with the packages that its programs need.

These may be in a virtual environment beside this one (`pages` in its folder, made by `make test-longest`): with
`ray[serve]` installed, each Ray starts more than the other tests want.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from tests.pages.page import WIDTH, Page, Step
from tests.ports import free_ports

_MODULES = {"outlive": "outlive", "ray": "ray.scripts.scripts"}
_OURS = (  # beside other clusters of this machine
    "--port=0",
    "--min-worker-port=0",
    "--max-worker-port=0",
    "--node-ip-address=127.0.0.1",
    "--object-store-memory=200000000",
    "--include-dashboard=false",
    "--disable-usage-stats",
)
_PATIENCE = 120.0  # seconds for a start, a stop, or a look to see what is to be seen
_PROJECT = Path(__file__).parents[2]
_NEEDED = ("PIL", "pydicom", "skimage", "fastapi")  # fastapi: Serve without it cannot be imported
_BESIDE = Path(sys.prefix) / "pages"
PREFIX = _BESIDE if (_BESIDE / "pyvenv.cfg").exists() else Path(sys.prefix)


def missing() -> str:
    """The first package that the programs of pages need and that is not installed; "" if all are."""
    look = f"import importlib.util as u; print(next((n for n in {_NEEDED} if not u.find_spec(n)), ''))"
    done = subprocess.run([PREFIX / "bin" / "python", "-c", look], capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Runner:
    """A folder with the page's programs, and a cluster that runs as the page says."""

    def __init__(self, page: Page, folder: Path, address: str) -> None:
        self._folder = folder
        self._environment = {**_environment(folder), "RAY_ADDRESS": address}
        for name, body in page.files.items():
            (folder / name).write_text(body)

    def printed(self, step: Step) -> list[str]:
        """The lines of one run. Ray's own log, on standard error, is left out."""
        done = subprocess.run(
            ["bash", "-c", step.command],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=2 * _PATIENCE,
        )
        assert not done.stderr.startswith(("Traceback", "error:")), done.stderr
        return [line.rstrip() for line in done.stdout.splitlines()]

    def until(self, step: Step, agreed: Callable[[list[str]], bool]) -> list[str]:
        """The lines of a run that is as `agreed`, or of the last one. What is no look is run once."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            lines = self.printed(step)
            if agreed(lines) or not step.looks or time.monotonic() > deadline:
                return lines


@contextlib.contextmanager
def running(page: Page) -> Iterator[Runner]:
    """Start the cluster that the page describes; stop it, and remove all files, at the end."""
    with tempfile.TemporaryDirectory(prefix="page") as name:  # short: it is part of the paths of sockets
        folder = Path(name)
        _write_commands(folder)
        command = [
            str(folder / "bin" / "ray"),
            "start",
            *page.start,
            *_OURS,
            f"--ray-client-server-port={free_ports(1)[0]}",
            f"--temp-dir={folder / 'ray'}",
            "--block",
        ]
        head = subprocess.Popen(
            command, cwd=folder, env=_environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield Runner(page, folder, _address(folder / "ray", head))
        finally:
            _stop(head)


def _write_commands(folder: Path) -> None:
    """Make the folder a virtual environment that is PREFIX: what runs in it is called `python study.py`."""
    commands = folder / "bin"
    commands.mkdir()
    (commands / "python").symlink_to(PREFIX / "bin" / "python")
    for part in ("pyvenv.cfg", "lib"):
        (folder / part).symlink_to(PREFIX / part)
    for name, module in _MODULES.items():
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{commands / "python"}" -m {module} "$@"\n')
        command.chmod(0o755)


def _environment(folder: Path) -> dict[str, str]:
    here = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_"))}
    path = f"{folder / 'bin'}:{here['PATH']}"
    return here | {
        "PATH": path,
        "PYTHONPATH": str(_PROJECT),
        "COLUMNS": str(WIDTH),
        "NO_COLOR": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _address(folder: Path, head: subprocess.Popen[bytes]) -> str:
    """As `ray start` notes it, once the cluster takes programs."""
    note = folder / "ray_current_cluster"
    deadline = time.monotonic() + _PATIENCE
    while not (note.exists() and (address := note.read_text().strip())):
        assert head.poll() is None, "ray start failed"
        assert time.monotonic() < deadline, f"no Ray after {_PATIENCE} s"
        time.sleep(0.1)
    return address


def _stop(head: subprocess.Popen[bytes]) -> None:
    everything = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
    head.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(_PATIENCE)
    for process in [*everything, *([psutil.Process(head.pid)] if head.poll() is None else [])]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(everything, timeout=_PATIENCE)
    head.wait()
