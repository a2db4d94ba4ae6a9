"""The process that looks for `outlive doctor --watch`. No Ray."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys

import psutil
import pytest

from outlive.cli import doctor_watch
from outlive.cli.doctor_looker import Looker
from outlive.doctor.model import Diagnosis
from outlive.errors import OutliveError, StoreUnavailable

FINE = Diagnosis("2.60.0", 1, None, (), ())


@pytest.fixture
def looker():
    with contextlib.ExitStack() as end:

        def start(look):
            made = Looker(look)
            end.callback(made.close)
            return made

        yield start


class CannotBeRead(ValueError):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


ERRORS = [StoreUnavailable("no cluster"), CannotBeRead("this", "that")]


def fails():
    raise ERRORS.pop(0)


def ended_once(marker):
    """Ends its process as Ray does, the first time."""
    if not os.path.exists(marker):
        open(marker, "x").close()
        os.kill(os.getpid(), signal.SIGABRT)
    return FINE


def test_one_other_process_looks_until_it_is_closed(looker):
    pids = looker(os.getpid)
    pid = pids.look()
    assert pid != os.getpid()
    os.kill(pid, signal.SIGINT)  # a terminal interrupts both
    assert pids.look() == pid
    pids.close()
    pids.close()
    assert not psutil.pid_exists(pid)


def test_errors_of_a_look_are_raised_here(looker):
    looks = looker(fails)
    with pytest.raises(StoreUnavailable, match="^no cluster$"):
        looks.look()
    with pytest.raises(OutliveError, match="CannotBeRead: this and that"):
        looks.look()


def test_a_watch_goes_on_when_ray_ends_the_process_that_looks(looker, tmp_path, capsys):
    looks = looker(functools.partial(ended_once, str(tmp_path / "ended")))
    seen, rests = [], iter([None])

    def rest(_):
        if next(rests, "over") == "over":
            raise KeyboardInterrupt

    assert doctor_watch.watch(looks.look, 1.0, lambda now, since: seen.append(now), rest=rest) == 0
    assert seen == [FINE]
    said = capsys.readouterr().err
    assert "signal 6" in said and "starts another" in said


PROGRAM = """
import os, signal
from outlive.cli.doctor_looker import Looker
if __name__ == "__main__":
    print(Looker(os.getpid).look(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_with_the_process_that_asks(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(done.stdout)).wait(60)
