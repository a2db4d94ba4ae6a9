"""A guard that has no rest: its policy changes, it is dry for a while, its process is killed, its driver ends.

It counts what the guard did, and what its processes took.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable

import psutil

from outlive.errors import StoreUnavailable
from outlive.workers import JobPolicy, change_guard, guard_log, guard_state, stop_guard, trim
from outlive.workers.guard_record import GuardState
from tests.conftest import eventually

_START = """
import sys
import ray
from outlive.workers import Policy, guard

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
guard(Policy(max_idle=0, every="200ms", cpu_share=1.0))
"""
_SPARED = "no job is started like this"


class TormentedGuard:
    """Started by a driver that ends, and tormented by a thread until the block ends. It stops the guard then."""

    def __init__(self, address: str, seed: int = 0) -> None:
        self._address, self._chance = address, random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="torment")
        self._took: dict[int, float] = {}
        self.done: Counter[str] = Counter()
        """How often what was done to it."""
        self.errors: list[BaseException] = []
        """What ended the torment before its time."""

    def __enter__(self):
        self.started_by_a_driver_that_ends()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.sample()
        stop_guard()

    def kinds(self) -> list[Callable[[], object]]:
        """What is done to it."""
        return [
            self.changed,
            self.dry_for_a_while,
            self.killed,
            self.started_by_a_driver_that_ends,
            self.not_alone,
        ]

    @property
    def rounds(self) -> int:
        """How often all kinds were done."""
        return min(self.done[kind.__name__] for kind in self.kinds())

    def _run(self) -> None:
        try:
            for kinds in itertools.repeat(self.kinds()):
                self._chance.shuffle(kinds)
                for kind in kinds:
                    kind()
                    self.done[kind.__name__] += 1
                    looks = guard_state().looks + self._chance.randint(1, 30 if self.rounds else 2)
                    self._looked_until(lambda state, looks=looks: state.looks >= looks)
                    if self._over.is_set():
                        return
        except BaseException as error:  # the test shows it
            self.errors.append(error)

    def changed(self) -> None:
        """Its policy changes, and no look by the old one lets anybody go any more."""
        every = f"{self._chance.choice([100, 200, 500])}ms"
        jobs = {_SPARED: self._chance.choice([JobPolicy(), None])}
        self._asked(lambda: change_guard(max_idle=self._chance.randint(0, 2), every=every, jobs=jobs))

    def dry_for_a_while(self) -> None:
        """Nobody leaves meanwhile."""
        self._asked(lambda: change_guard(dry_run=True))
        first = guard_state().looks
        began = self._looked_until(lambda state: state.looks >= first + 2)
        ended = self._looked_until(lambda state: state.looks >= first + 6)
        assert ended.let_go == began.let_go or self._over.is_set(), "workers left in a dry run"
        self._asked(lambda: change_guard(dry_run=False))

    def killed(self) -> None:
        """Its process dies, at any step; Ray starts another one."""
        before = self.sample()
        if before.phase == "running" and before.pid in {
            child.pid for child in psutil.Process().children(recursive=True)
        }:
            with contextlib.suppress(ProcessLookupError):
                os.kill(before.pid, signal.SIGKILL)
        eventually(lambda: (state := guard_state()).phase == "running" and state.pid != before.pid, seconds=120)

    def started_by_a_driver_that_ends(self) -> None:
        """It gets that driver's policy, and goes on without it."""
        subprocess.run([sys.executable, "-c", _START, self._address], check=True, timeout=180)

    def not_alone(self) -> None:
        """Another process lets workers go at the same time."""
        for _ in range(self._chance.randint(1, 5)):
            self.done["left by another"] += sum(choice.left for choice in trim(max_idle=0).chosen)

    def _looked_until(self, condition: Callable[[GuardState], bool]) -> GuardState:
        """Its state when it has looked so often, or when the block ends."""
        return eventually(lambda: (state := self.sample()) and (condition(state) or self._over.is_set()) and state, 180)

    def _asked(self, change: Callable[[], object]) -> None:
        """Its process may just be starting again."""
        try:
            change()
        except StoreUnavailable:
            self.done["asked again"] += 1
            change()

    def sample(self) -> GuardState:
        """Its state; the processor time of its process is noted, as far as it can be seen."""
        state = guard_state()
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(state.pid).cpu_times()
            self._took[state.pid] = times.user + times.system
        return state

    def told(self) -> dict[str, object]:
        """What it did, for a person."""
        state = guard_state()
        kept = ("let_go", "stayed", "looks", "failed_looks", "restarts")
        return {
            **{name: getattr(state, name) for name in kept},
            "CPU of looks": round(state.cpu, 1),
            "CPU of its processes": round(sum(self._took.values()), 1),
            "torment": dict(self.done),
            "latest": Counter(one.outcome for one in guard_log()).most_common(6),
        }
