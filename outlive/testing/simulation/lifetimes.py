"""Arrays of a played cluster that end by themselves, and from when on they may have.

Any keeper ends what is over by its machine's clock. So an array may be gone once its time to live is over by the clock
that is furthest ahead, or has been since; and once its job, which is a client, has ended. In the history that is a
deletion that may take effect at any moment from then on, or never. That nothing stays, the judge sees at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlive.testing.simulation.machines import Machine


class _Mortal:
    """An array, or those of one put, that may end."""

    def __init__(self, registers: tuple[str, ...], ttl: float, until: float, job: int) -> None:
        self.registers, self.ttl, self.until, self.job = registers, ttl, until, job


class Lifetimes:
    """Of all arrays that do not stay until they are deleted."""

    def __init__(self, machines: Iterable[Machine]) -> None:
        self._machines = list(machines)
        self._mortals: list[_Mortal] = []
        self._latest = float("-inf")  # that any clock has shown
        self._over: set[int] = set()  # jobs

    def begin(self, registers: tuple[str, ...], machine: Machine, now: float, ttl: float, job: int) -> None:
        """A put begins on a machine. `ttl`, `job`: 0 if it does not end with that."""
        self._mortals.append(_Mortal(registers, ttl, now + machine.clock + ttl if ttl else float("inf"), job))

    def touched(self, register: str, began: float) -> None:
        """A touch has been made that `began` when its machine's clock showed that."""
        for one in self._mortals:
            if register in one.registers:
                one.until = max(one.until, began + one.ttl)

    def end_job(self, job: int) -> None:
        """Its client is gone."""
        self._over.add(job)

    def over(self, jobs: set[int]) -> set[int]:
        """Which of these have ended."""
        return jobs & self._over

    def look_at_clocks(self, now: float) -> None:
        """Before one of them is set, and before anything is asked of `ended`."""
        self._latest = max(self._latest, *(now + machine.clock for machine in self._machines))

    def ended(self, now: float) -> Iterator[str]:
        """The registers of what may have ended since this was asked last."""
        if not self._mortals:
            return
        self.look_at_clocks(now)
        ended = [one for one in self._mortals if one.until <= self._latest or one.job in self._over]
        for one in ended:
            self._mortals.remove(one)
            yield from one.registers
