"""What a check found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Misconfiguration:
    """Something that is not as it should be."""

    kind: str
    """As `reaper-off`: for scripts."""
    line: int | None
    """From 1; None where there are no lines."""
    what: str
    why: str
    fix: str
    mend: Callable[[], None] | None = field(default=None, compare=False, repr=False)
    """Writes the fix into the file, if that is safe."""

    @property
    def safe(self) -> bool:
        """`--fix` writes it."""
        return self.mend is not None
