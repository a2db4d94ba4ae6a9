"""The differences between two looks at the same cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace

from outlive.doctor.model import Diagnosis, Symptom, Unchecked

_Place = tuple[str | None, int | None]


@dataclass(frozen=True)
class Changes:
    """The changes from one look to the next."""

    new: tuple[Symptom, ...] = ()
    gone: tuple[Symptom, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()
    """Checks that could be made before, and cannot be made now."""
    checked: tuple[Unchecked, ...] = ()
    """Checks that can be made again."""

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.unchecked or self.checked)


def changes(before: Diagnosis, now: Diagnosis) -> Changes:
    """The differences. A finding of a check that cannot be made now is not gone; it is not known.

    A finding is the same as before if it is of the same kind, and was seen at the same places: nodes and processes. Its
    numbers, such as idle times, differ with each look.
    """
    known = set(map(_identity, before.findings))
    were, are = {one.check for one in before.unchecked}, {one.check for one in now.unchecked}
    return Changes(
        tuple(one for one in now.findings if _identity(one) not in known),
        tuple(one for one in _not_found(before, now) if not _unknown(one, before, are)),
        tuple(one for one in now.unchecked if one.check not in were),
        tuple(one for one in before.unchecked if one.check not in are),
    )


def remembered(before: Diagnosis, now: Diagnosis) -> Diagnosis:
    """The present look, to compare the next one with: it has the findings that are not known now, too."""
    missed = {one.check for one in now.unchecked}
    unknown = tuple(one for one in _not_found(before, now) if _unknown(one, before, missed))
    return replace(now, findings=now.findings + unknown, checks={**before.checks, **now.checks})


def _not_found(before: Diagnosis, now: Diagnosis) -> list[Symptom]:
    found = set(map(_identity, now.findings))
    return [one for one in before.findings if _identity(one) not in found]


def _unknown(finding: Symptom, before: Diagnosis, missed: set[str]) -> bool:
    """Whether the check that had this finding was not made."""
    check = before.checks.get(finding.kind)
    return bool(missed) if check is None else check in missed


def _identity(finding: Symptom) -> tuple[str, str, frozenset[_Place]]:
    return finding.kind, finding.severity, frozenset((one.node, one.pid) for one in finding.evidence)
