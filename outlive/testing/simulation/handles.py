"""The handles that clients of a played cluster have handed each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from outlive import ArrayHandle, Store


class Known(NamedTuple):
    """A handle that a put returned."""

    register: str  # what the history calls its array
    handle: ArrayHandle


class Scoped:
    """A `with` block that a client is in, and the store that it has handed to others."""

    def __init__(self, manager: AbstractContextManager[Store]) -> None:
        self._manager, self.store = manager, manager.__enter__()
        self.registers: list[str] = []  # what is put in it, or was to be
        self.over = False  # or about to be: its client leaves it, or is dead

    def leave(self) -> None:
        self._manager.__exit__(None, None, None)


class Handles:
    """By the place where clients leave them for others, and by register."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._registers: list[str] = []
        self.scopes: dict[str, Scoped] = {}  # the latest, by place
        self.opened: list[Scoped] = []

    def leave(self, place: str, register: str, handle: ArrayHandle) -> None:
        """A client has put an array without a key; others find its handle at this place, instead of an earlier one."""
        self._known[place] = self._known[register] = Known(register, handle)
        self._registers.append(register)

    def find(self, name: str) -> Known | None:
        """The latest at a place, or the one of a register."""
        return self._known.get(name)

    def all(self) -> list[Known]:
        """All that were ever left, each once."""
        return [self._known[register] for register in self._registers]
