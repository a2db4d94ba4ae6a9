"""The record of a guard: what it is set to, what it has done, and each decision with its reason.

The guard notes it in the GCS after each look. So it can be read without asking the guard, which may be stopped or
starting again, and by a process that has not joined the cluster.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from outlive.ray_internals import named_actor, notes
from outlive.ray_internals.node_workers import nodes
from outlive.units import format_duration

Phase = Literal["running", "starting", "restarting", "silent", "stopped", "gone"]
NAME, NAMESPACE = named_actor.GUARD, named_actor.NAMESPACE
LOG = "workers-guard-log"
KEPT = 200
"""How many decisions the log has."""
FORM = 1
"""The form of the record and of the guard's calls. Guards of another form are neither changed nor read in full."""
_LATE = 60.0  # seconds beyond three pauses, after which a guard that reports nothing counts as silent


@dataclass(frozen=True)
class Decision:
    """One line of a guard's log: what became of a worker and why, or what happened to the guard itself."""

    time: float
    """Unix time."""
    outcome: str
    """`left`, `would leave`, `spared`; `stays: ...` with the cause; or about the guard: `guard`."""
    because: str
    pid: int | None = None
    node_id: str | None = None
    job: str | None = None
    unique: int | None = None
    """Bytes of the worker's unique memory, if they are known."""


@dataclass(frozen=True)
class GuardState:
    """A guard at the moment of its last report. Times are Unix times, durations seconds, sizes bytes."""

    phase: Phase
    """`running`; `starting`, `restarting`; `silent`: it should have reported since; `stopped`, and `gone`: it ended
    without being stopped."""
    about: str = ""
    """The phase in words."""
    version: str = ""
    """The version of outlive that the guard runs."""
    form: int = FORM
    actor_id: str = ""
    node_id: str = ""
    pid: int = 0
    policy: dict[str, Any] = field(default_factory=dict)
    """`Policy.to_json()`."""
    words: str = ""
    """The policy in words."""
    started: float = 0.0
    reported: float = 0.0
    pause: float = 0.0
    """From its last look to the next."""
    restarts: int = 0
    """How often its process ended and came back."""
    looks: int = 0
    failed_looks: int = 0
    let_go: int = 0
    """Workers that left."""
    freed: int = 0
    """The unique memory that they gave back, as far as it was known."""
    stayed: int = 0
    """Workers that were asked and stayed: each is asked again later, and less and less often."""
    would_leave: int = 0
    """In a dry run: workers that would have left at the last look."""
    workers: int = 0
    idle: int = 0
    idle_memory: int = 0
    """Of the idle workers at the last look, as far as it is known: it is looked at if the policy limits memory."""
    took: float = 0.0
    """The processor time of the last look."""
    cpu: float = 0.0
    """The processor time of all looks."""
    unseen: tuple[str, ...] = ()
    """Names the nodes and workers that did not answer at the last look."""
    error: str | None = None
    """The reason why the last look failed."""

    @property
    def well(self) -> bool:
        """Whether it runs and its last look succeeded."""
        return self.phase == "running" and self.error is None

    def to_json(self) -> dict[str, Any]:
        """Everything, for a script."""
        return dataclasses.asdict(self)


def guard_state() -> GuardState | None:
    """The guard of the cluster at its last report: policy, counters, and whether it runs. It asks the GCS alone.

    Returns
    -------
    GuardState
        None if there never was a guard.

    Raises
    ------
    StoreUnavailable
        This process is connected to no cluster, or the GCS does not answer: if the head is gone, so is its guard.

    Examples
    --------
    >>> guard_state().let_go  # doctest: +SKIP
    12
    """
    raw = notes.get(NAME)
    actor = named_actor.find(NAME, NAMESPACE)
    if raw is None and actor is None:
        return None
    record: dict[str, Any] = json.loads(raw) if raw else {}
    phase, about = _phase(record, actor)
    known = {one.name for one in dataclasses.fields(GuardState)}
    fields = {name: value for name, value in record.items() if name in known - {"phase", "about"}}
    fields["unseen"] = tuple(fields.get("unseen", ()))
    return GuardState(phase, about, **fields)


def guard_log() -> tuple[Decision, ...]:
    """The latest 200 decisions of the guard, the oldest first, those of a guard that was stopped too.

    Raises
    ------
    StoreUnavailable
        As `guard_state`.
    """
    return decisions(json.loads(notes.get(LOG) or b"[]"))


def note_stopped(how: str) -> None:
    """Note that the guard was stopped, in place of a guard that is gone and did not note it. Without a record, nothing.

    Parameters
    ----------
    how
        What its log says.

    Raises
    ------
    StoreUnavailable
        The GCS does not answer.
    """
    record: dict[str, Any] = json.loads(notes.get(NAME) or b"{}")
    if record.get("phase", "stopped") == "stopped":
        return
    notes.put(NAME, json.dumps({**record, "phase": "stopped"}).encode())
    last = dataclasses.asdict(Decision(time.time(), "guard", how))
    notes.put(LOG, json.dumps([*json.loads(notes.get(LOG) or b"[]"), last][-KEPT:]).encode())


def decisions(rows: list[dict[str, Any]]) -> tuple[Decision, ...]:
    """The decisions of a log that was noted. Fields of a later version are left out."""
    known = {one.name for one in dataclasses.fields(Decision)}
    return tuple(Decision(**{name: value for name, value in row.items() if name in known}) for row in rows)


def _phase(record: Mapping[str, Any], actor: named_actor.NamedActor | None) -> tuple[Phase, str]:
    stopped = record.get("phase") == "stopped"
    if actor is None and not stopped:
        return "gone", "gone: it ended without being stopped, as by ray.kill; `outlive workers guard start` starts one"
    if actor is None:
        return "stopped", "stopped"
    if actor.state != "alive":
        phase: Phase = "restarting" if actor.state == "restarting" else "starting"
        headless = not any(node.head for node in nodes())
        why = (
            "the head is gone, and the guard comes back with the next one"
            if headless
            else "its process is not there yet"
        )
        return phase, f"{phase}: {why}"
    if record.get("actor_id") != actor.actor_id:
        return "starting", "starting: it has not reported yet"
    if stopped:
        return "stopped", "stopped; its process stays until it is stopped again"
    return _running(record, actor.pid)


def _running(record: Mapping[str, Any], pid: int) -> tuple[Phase, str]:
    """It compares the clocks of two machines. The guard itself goes by none of this."""
    since = time.time() - record.get("reported", 0.0)
    if since <= _LATE + 3 * record.get("pause", 0.0):
        return "running", "running"
    ago = format_duration(since)
    return "silent", f"silent: it has reported nothing for {ago}; is its process {pid} on the head stopped?"
