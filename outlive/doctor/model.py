"""The values that an examination returns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = "outlive.doctor/1"
"""Names the form of `to_json`. A form that lacks a key, or in which one means another thing, gets another number."""
Severity = Literal["wrong", "risk", "waste", "info"]
SEVERITIES: tuple[Severity, ...] = ("wrong", "risk", "waste", "info")
"""The worst first. wrong: something is lost or does not answer. risk: it may be lost later. waste: memory or nodes are
kept. info: no action is needed, as far as the doctor can see.
"""


@dataclass(frozen=True)
class Evidence:
    """One observation."""

    text: str
    node: str | None = None
    """The id of the node."""
    pid: int | None = None
    numbers: dict[str, int | float | None] = field(default_factory=dict)
    """The numbers in the text, in bytes and seconds."""


@dataclass(frozen=True)
class Symptom:
    """Something wrong or risky now."""

    kind: str
    """A stable name for scripts, such as `idle-owners`."""
    severity: Severity
    what: str
    why: str
    """Why it matters."""
    fix: str
    """A command, a setting or code."""
    evidence: tuple[Evidence, ...] = ()
    source: str | None = None
    """A source that says that Ray does so."""
    weight: int = 0
    """Bytes at stake. Symptoms with more come earlier."""


@dataclass(frozen=True)
class Unchecked:
    """A check that could not be made."""

    check: str
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """The result of `examine`: findings, the worst first."""

    ray_version: str
    nodes: int
    workers: int | None
    """None: not known."""
    findings: tuple[Symptom, ...]
    unchecked: tuple[Unchecked, ...]
    muted: tuple[Symptom, ...] = ()
    """Findings that `outlive-doctor.toml` or `--mute` leaves out."""
    notes: tuple[str, ...] = ()
    """Notes on checks that were left out on purpose, and how to have them."""
    checks: dict[str, str] = field(default_factory=dict)
    """By kind of finding the check that makes it, as far as it was seen. It is not in `to_json`."""

    @property
    def healthy(self) -> bool:
        """Whether all checks were made, and found at most information. Muted findings do not count."""
        return not self.unchecked and all(finding.severity == "info" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Everything, for a script. `doctor/schema.json` describes it."""
        fields = dataclasses.asdict(self)
        del fields["checks"]
        return {"schema": SCHEMA, **fields, "healthy": self.healthy}


def ranked(findings: list[Symptom]) -> tuple[Symptom, ...]:
    """The findings sorted, the worst first."""
    return tuple(sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), -one.weight, one.kind)))


def call_site(text: str) -> str:
    """The caller's own line in Ray's text of a call site (frames joined by `|`, the innermost first); empty if none.

    >>> call_site("(put object) | /venv/ray/_private/auto_init_hook.py:wrapper:22 | /app/make.py:make:7")
    '/app/make.py:make:7'
    >>> call_site("(deserialize task arg) make.borrow"), call_site("<unknown>")
    ('(deserialize task arg) make.borrow', '')
    """
    frames = [part.strip() for part in text.split(" | ")]
    own = [frame for frame in frames[1:] if "/ray/_private/" not in frame]
    found = own[0] if own else frames[0]
    return "" if found in {"<unknown>", "(put object)"} else found
