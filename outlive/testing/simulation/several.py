"""Many schedules, by several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

SAME_ORDER = {"PYTHONHASHSEED": "0"}  # the order of sets, in each process: a seed alone decides a schedule
_TOLD_EVERY = 20  # schedules


class Failure(NamedTuple):
    """A seed whose schedule violates something."""

    seed: int
    violation: str


def share(first: int, count: int, processes: int) -> list[range]:
    """The seeds of each process."""
    return [range(first + number, first + count, processes) for number in range(processes)]


def run(
    first: int,
    count: int,
    processes: int,
    told: Callable[[int], object],
    theme: str | None = None,
    most_failures: int = 10,
) -> list[Failure]:
    """Play schedules; returns the first few that fail.

    Parameters
    ----------
    told
        Called with how many more were played.
    theme
        The theme of all schedules.
    """
    from outlive.testing.simulation.world import a_folder

    with a_folder() as folder:
        return _run([_start(seeds, folder, theme) for seeds in share(first, count, processes)], told, most_failures)


def _run(workers: list[subprocess.Popen[str]], told: Callable[[int], object], most_failures: int) -> list[Failure]:
    failures: list[Failure] = []
    try:
        for line in _lines(workers):
            event = json.loads(line)
            if isinstance(event, int):
                told(event)
            else:
                failures.append(Failure(*event))
                if len(failures) >= most_failures:
                    break
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()
    broken = [worker.returncode for worker in workers if worker.returncode > 0]
    if broken:
        raise RuntimeError(f"a process that simulates ended with {broken[0]}")
    return sorted(failures)


def _start(seeds: range, folder: str, theme: str | None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "outlive.testing.simulation", "--worker", *map(str, _parts(seeds))]
    command += [] if theme is None else ["--theme", theme]
    environment = os.environ | SAME_ORDER | {"OUTLIVE_SIMULATION_ROOT": folder}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603


def _parts(seeds: range) -> tuple[int, int, int]:
    return seeds.start, seeds.stop, seeds.step


def _lines(workers: list[subprocess.Popen[str]]) -> Iterator[str]:
    import selectors

    selector = selectors.DefaultSelector()
    for worker in workers:
        assert worker.stdout is not None
        selector.register(worker.stdout, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            line = key.fileobj.readline()  # type: ignore[union-attr]
            if line:
                yield line
            else:
                selector.unregister(key.fileobj)


def work(seeds: range, theme: str | None) -> None:
    """Play schedules in a worker, which writes counts of them, and failures, one a line."""
    from outlive.testing.simulation.themes import plan_of
    from outlive.testing.simulation.world import a_world

    with a_world() as world:
        played = 0
        for seed in seeds:
            violations = world.play(plan_of(seed, theme)).violations
            played += 1
            if violations:
                _say([seed, violations[0]])
            if played == _TOLD_EVERY:
                _say(played)
                played = 0
        _say(played)


def _say(event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
