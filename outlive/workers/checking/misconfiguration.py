"""The findings of a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Misconfiguration:
    """A setting that does not do what is meant, or that Ray refuses."""

    kind: str
    """A stable name for scripts, such as `reaper-off`."""
    line: int | None
    """From 1; None where there are no lines."""
    what: str
    why: str
    fix: str
    mend: Callable[[], None] | None = field(default=None, compare=False, repr=False)
    """Writes the fix into the file, if that is safe."""

    @property
    def safe(self) -> bool:
        """Whether `--fix` writes it."""
        return self.mend is not None
