"""The rounds of a guard: look, decide, let go, write down. Knows nothing of actors: `guard_actor` runs one.

`trimming` decides and lets go. A policy that changes between a look and its act calls the act off: before each worker
`trimming` asks whether to go on, and whoever changes the policy returns only after the act has ended.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from outlive.errors import BadSetting, OutliveError, StoreUnavailable
from outlive.ray_internals import leases
from outlive.workers import ended
from outlive.workers.ages import Ages
from outlive.workers.bounds import Bounds
from outlive.workers.guard_book import Book
from outlive.workers.guard_record import FORM, LOG, NAME, decisions
from outlive.workers.idle_sizes import IdleSizes
from outlive.workers.inspection import inspect
from outlive.workers.policy import Policy
from outlive.workers.quiet_nodes import QuietNodes
from outlive.workers.rows import Report, Worker
from outlive.workers.trimming import CALLED_OFF, Choice, Trimmed, carry_out, choose_in

_SLOWEST = 6  # times `every`, while nothing is idle or nobody answers
_JITTER = 0.1
_LONGEST_PAUSE = 86400.0  # seconds, whatever the policy makes of it: no thread can wait for some centuries
_FIRST_PATIENCE, _LONGEST_PATIENCE = 60.0, 3600.0  # seconds before a worker that stayed is asked again
_NEEDS_EVERY = 60.0  # seconds between two looks at every reference of the cluster
_LOAD_AGAIN = 2.0  # seconds
_LOADED_WITHIN = 30.0
_OTHER_VERSION = "its policy was noted by another version of outlive, and cannot be read here"
_log = logging.getLogger(__name__)


class Notes(Protocol):
    """Where a guard keeps its record: `outlive.ray_internals.notes`."""

    def put(self, key: str, value: bytes) -> None: ...
    def get(self, key: str) -> bytes | None: ...


class Watch:
    """One guard. Its thread makes rounds until `stop`; the other methods may be called by any thread."""

    def __init__(
        self,
        policy: Policy,
        notes: Notes,
        who: dict[str, Any],
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._notes, self._clock, self._cpu = notes, clock, cpu
        self._ages, self._sizes, self._book = Ages(clock), IdleSizes(), Book()
        self._quiet = QuietNodes(clock)
        self._patience: dict[str, tuple[int, float, float]] = {}
        """By worker id, of those that stayed: the tasks that they had run, the last wait, and until when to wait."""
        self._needs_again = clock()
        self._slow = 1
        self._owed = 0.0
        """The processor time of the last report, which counts with the next look."""
        self._acting = threading.Lock()
        """Held while workers are let go, and while the policy changes."""
        self._changes = 0
        """How many threads wait to change it."""
        self._changes_lock = threading.Lock()
        self._reporting = threading.Lock()
        """Held while it reports: an older record must not come after a newer one."""
        self._loaded, self._stopped, self._wake = threading.Event(), threading.Event(), threading.Event()
        self.policy = policy
        self.record: dict[str, Any] = {
            **who,
            "form": FORM,
            "phase": "running",
            "started": time.time(),
            "reported": time.time(),
            "pause": 0.0,
            **dict.fromkeys(_COUNTED, 0),
            "cpu": 0.0,
            "took": 0.0,
            "unseen": [],
            "error": None,
        }

    def run(self) -> None:
        """Make rounds until `stop`."""
        while not self._stopped.is_set():
            self._wake.clear()
            self.step()
            self._wake.wait(self.record["pause"])

    def step(self) -> None:
        """Make one round, and report. Whatever goes wrong, the next one may be made after the pause."""
        try:
            if not self._loaded.is_set():
                self.load()
                self._report()  # the first look may take long, or hang
            self._round()
        except OutliveError as error:  # such as a GCS that restarts
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - a guard that ends guards nothing
            _log.exception("a look of the guard failed")
            self._failed(f"{type(error).__name__}: {error}")
        began = self._cpu()
        try:
            self._report()
        except Exception:  # noqa: BLE001 - the same
            _log.exception("the guard could not report")
        self._owed = self._cpu() - began

    def load(self) -> None:
        """Take over what this very guard had noted before its process ended: its policy, counters and log.

        Raises
        ------
        StoreUnavailable
            The GCS does not answer.
        """
        raw = self._notes.get(NAME)
        with self._acting:
            if raw is not None and (before := json.loads(raw)).get("actor_id") == self.record["actor_id"]:
                self.policy, known = self._policy_of(before)
                kept = (*_COUNTED, "cpu", "started", "phase")
                self.record |= {name: before[name] for name in kept if name in before}
                self.record["restarts"] += 1
                self._book.decisions.extend(decisions(json.loads(self._notes.get(LOG) or b"[]")))
                self._book.event("came back after its process had ended", level=logging.WARNING)
                if not known:
                    self._book.event(f"{_OTHER_VERSION}: nobody leaves until it is set anew", level=logging.WARNING)
                if self.record["phase"] == "stopped":
                    self._stopped.set()
            else:
                self._book.event(f"started: {self.policy.words()}")
            self._loaded.set()

    def _policy_of(self, record: dict[str, Any]) -> tuple[Policy, bool]:
        """The policy of a record, and whether it can be read. Else the one that it began with, as a dry run."""
        try:
            return Policy.from_json(record["policy"]), True
        except (BadSetting, LookupError, TypeError):  # its process came back with another version of outlive
            return replace(self.policy, dry_run=True), False

    def change(self, new: Callable[[Policy], Policy]) -> bool:
        """Replace the policy by `new(policy)`. Once this returns, no worker leaves by the old one.

        Returns
        -------
        bool
            False: it was stopped, and makes no rounds any more.

        Raises
        ------
        BadSetting
            The new policy cannot be. The old one stays.
        StoreUnavailable
            The guard cannot read what it had noted, as the GCS does not answer.
        """
        self._wake.set()  # it may pause after a try that failed
        if not self._loaded.wait(_LOADED_WITHIN):
            raise StoreUnavailable("the guard cannot read its record: the GCS does not answer; try again")
        with self._hurried():
            if self._stopped.is_set():
                return False
            policy = new(self.policy)
            if changes := list(self.policy.changes(policy)):
                self._book.event(f"changed: {'; '.join(changes)}")
                self._book.forget()
                self.policy = policy
            self._patience.clear()
            self._slow = 1
        self._report()
        self._wake.set()
        return True

    def stop(self) -> None:
        """End the rounds. Once this returns, this guard holds no worker and lets none go any more."""
        with self._hurried():
            self._stopped.set()
            if self.record["phase"] != "stopped":
                self.record["phase"] = "stopped"
                self._book.event("stopped")
        self._report()
        self._wake.set()

    @contextmanager
    def _hurried(self) -> Iterator[None]:
        """A block in which nobody is let go. An act that is under way ends before the next worker."""
        with self._changes_lock:
            self._changes += 1
        try:
            with self._acting:
                yield
        finally:
            with self._changes_lock:
                self._changes -= 1

    def _go_on(self) -> bool:
        return not self._changes and not self._stopped.is_set()

    def _round(self) -> None:
        policy, began = self.policy, self._cpu()
        leases.return_left()  # of a raylet that did not answer in an earlier round
        every: Any = policy.every
        self._quiet.begin(every)
        report = self._look(policy)
        unneeded = self._unneeded(report)  # once a round, as it takes long
        choices, limits = self._choose(report, policy, unneeded)
        while stale := {choice.worker.node_id for choice in choices} & {*self._quiet.resting}:
            self._quiet.ask_again(stale)  # nobody leaves by what was seen earlier
            report = self._look(policy)
            unneeded &= {one.worker_id for one in ended.left_over(report.workers) if not one.tasks_pending}
            choices, limits = self._choose(report, policy, unneeded)
        with self._acting:
            if policy is not self.policy or self._stopped.is_set():
                return  # the next look follows at once
            acting = self._cpu()
            trimmed = carry_out(report, choices, dry_run=policy.dry_run, go_on=self._go_on)
            acting = self._cpu() - acting
            self._write_down(report, trimmed, limits)  # before whoever stops it goes on, and ends this process
        idle = [worker for worker in report.workers if worker.state == "idle"]
        self._slow = 1 if idle else min(2 * self._slow, _SLOWEST)
        took = self._cpu() - began + self._owed
        first = self.record["looks"] == self.record["failed_looks"]  # what it loads is loaded once
        looking = 0.0 if first else (took - acting) / policy.cpu_share
        self._next(took, max(looking, min(looking + acting / policy.cpu_share, _SLOWEST * every)))
        self.record |= {
            "looks": self.record["looks"] + 1,
            "workers": len(report.workers),
            "idle": len(idle),
            "idle_memory": sum(worker.unique or 0 for worker in idle),
            "unseen": list(report.unseen),
        }
        if self.record["error"] is not None:
            self._book.event("looks again")
            self.record["error"] = None

    def _look(self, policy: Policy) -> Report:
        report = self._ages.noted(inspect(with_history=False, memory=False, reaper=False, ask=self._quiet.ask))
        need = [one for one in (policy, *policy.jobs.values()) if one.bounds().need_sizes]
        return self._sizes.filled(report, min(one.min_idle for one in need)) if need else report

    def _choose(
        self, report: Report, policy: Policy, unneeded: Collection[str]
    ) -> tuple[list[Choice], dict[str, Bounds]]:
        """The workers that should leave, and by worker id the bounds that hold for each."""
        groups: dict[str | None, list[Worker]] = {}
        for worker in report.workers:
            key = policy.exception(worker.job, report.entrypoints.get(str(worker.job), ""))
            groups.setdefault(key, []).append(worker)
        apart = self._waited_for(report.workers)
        chosen: list[Choice] = []
        limits: dict[str, Bounds] = {}
        for key, workers in groups.items():
            bounds = (policy if key is None else policy.jobs[key]).bounds()
            limits |= {worker.worker_id: bounds for worker in workers}
            if not bounds.none:
                chosen += choose_in(replace(report, workers=tuple(workers)), bounds, unneeded, apart=apart)
        return chosen, limits

    def _unneeded(self, report: Report) -> set[str]:
        """The workers of ended jobs that hold what nobody needs. It takes all references of the cluster to know."""
        if self._clock() < self._needs_again or not any(
            one.owned or one.borrowed for one in ended.left_over(report.workers)
        ):
            return set()
        self._needs_again = self._clock() + _NEEDS_EVERY
        return ended.unneeded_now(report)

    def _waited_for(self, workers: Iterable[Worker]) -> set[str]:
        """The workers that stayed when they were asked, and are not asked again yet: each time occupies its node."""
        tasks = {worker.worker_id: worker.tasks for worker in workers}
        self._patience = {one: entry for one, entry in self._patience.items() if tasks.get(one) == entry[0]}
        return {one for one, (_, _, until) in self._patience.items() if self._clock() < until}

    def _write_down(self, report: Report, trimmed: Trimmed, limits: dict[str, Bounds]) -> None:
        self.record["would_leave"] = sum(choice.outcome == "would leave" for choice in trimmed.chosen)
        for choice in trimmed.chosen:
            if choice.outcome == CALLED_OFF:
                continue
            self._book.decided(choice.worker, choice.outcome, choice.because)
            if choice.left:
                self.record["let_go"] += 1
                self.record["freed"] += choice.worker.unique or 0
            elif choice.outcome != "would leave":
                self.record["stayed"] += 1
                worker, (_, waited, _) = choice.worker, self._patience.get(choice.worker.worker_id, (0, 0.0, 0.0))
                wait = min(max(2 * waited, _FIRST_PATIENCE), _LONGEST_PATIENCE)
                self._patience[worker.worker_id] = (worker.tasks, wait, self._clock() + wait)
        for worker in trimmed.spared:
            if because := _above(worker, limits[worker.worker_id]):
                self._book.decided(worker, "spared", f"{because}, and {worker.why}")
        self._book.forget_all_but(worker.worker_id for worker in report.workers)

    def _failed(self, why: str) -> None:
        self.record["looks"] += 1
        self.record["failed_looks"] += 1
        if self.record["error"] is None:
            self._book.event(f"could not look: {why}", level=logging.WARNING)
        self.record["error"] = why
        self._slow = min(2 * self._slow, _SLOWEST)
        self._next(0.0, _LOAD_AGAIN)

    def _next(self, took: float, least: float) -> None:
        every: Any = self.policy.every
        pause = max(every * self._slow * random.uniform(1 - _JITTER, 1 + _JITTER), least)  # noqa: S311 - no secret
        pause = min(pause, _LONGEST_PAUSE)
        self.record |= {"took": took, "cpu": self.record["cpu"] + took, "pause": pause}

    def _report(self) -> None:
        with self._reporting:
            self.record |= {
                "reported": time.time(),
                "policy": self.policy.to_json(),
                "words": self.policy.words(),
            }
            if not self._loaded.is_set():
                return  # what it had noted may still be there
            try:
                self._notes.put(NAME, json.dumps(self.record).encode())
                if self._book.news:
                    self._book.news = False
                    self._notes.put(LOG, json.dumps(self._book.rows()).encode())
            except OutliveError as error:
                self._book.news = True
                _log.debug("not reported: %s", error)


_COUNTED = (
    "restarts", "looks", "failed_looks", "let_go", "freed", "stayed", "would_leave", "workers", "idle", "idle_memory",
)  # fmt: skip


def _above(worker: Worker, limits: Bounds) -> str | None:
    """Whether a worker is above a bound by itself."""
    if limits.max_memory is not None and (worker.unique or 0) > limits.max_memory:
        return "above max_memory"
    if limits.max_idle_for is not None and (worker.idle_for or 0.0) > limits.max_idle_for:
        return "idle for longer than max_idle_for"
    return None
