"""The handles and scopes that clients of a played cluster pass to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from outlive import ArrayHandle, Store


class Known(NamedTuple):
    """A handle that a put returned."""

    register: str  # the array's name in the history
    handle: ArrayHandle


class Scoped:
    """A scope: the `with` block of a client, and the store that other clients use too."""

    def __init__(self, manager: AbstractContextManager[Store]) -> None:
        self._manager, self.store = manager, manager.__enter__()
        self.registers: list[str] = []  # the arrays that were put in it, or whose put began
        self.over = False  # whether its client leaves it, or is dead

    def leave(self) -> None:
        self._manager.__exit__(None, None, None)


class Handles:
    """The handles by register, and by the place where clients leave them for others."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._registers: list[str] = []
        self.scopes: dict[str, Scoped] = {}  # the latest, by place
        self.opened: list[Scoped] = []

    def leave(self, place: str, register: str, handle: ArrayHandle) -> None:
        """Leave the handle of an array without a key for others, in place of an earlier one."""
        self._known[place] = self._known[register] = Known(register, handle)
        self._registers.append(register)

    def find(self, name: str) -> Known | None:
        """The latest handle at a place, or the handle of a register."""
        return self._known.get(name)

    def all(self) -> list[Known]:
        """All handles that were ever left, each once."""
        return [self._known[register] for register in self._registers]
