"""Lifetimes: arrays of a played cluster that end by themselves, and the moments from which on they may be gone.

Any keeper ends arrays by its machine's clock. So an array may be gone once its time to live is over by the clock that
is, or was, furthest ahead. It may also be gone once its job, which is a client, has ended. The history then has a
deletion that may take effect at any later moment, or never. The judge checks at the end that nothing has stayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlive.testing.simulation.machines import Machine


class _Mortal:
    """The arrays of one put, which may end."""

    def __init__(self, registers: tuple[str, ...], ttl: float, until: float, job: int) -> None:
        self.registers, self.ttl, self.until, self.job = registers, ttl, until, job


class Lifetimes:
    """The lifetimes of all arrays that do not stay until they are deleted."""

    def __init__(self, machines: Iterable[Machine]) -> None:
        self._machines = list(machines)
        self._mortals: list[_Mortal] = []
        self._latest = float("-inf")  # time that any clock has shown
        self._over: set[int] = set()  # jobs that have ended

    def add(self, machine: Machine) -> None:
        """Note a node that has come."""
        self._machines.append(machine)

    def begin(self, registers: tuple[str, ...], machine: Machine, now: float, ttl: float, job: int) -> None:
        """Note that a put begins on a machine. `ttl`, `job`: 0 if its arrays have none."""
        self._mortals.append(_Mortal(registers, ttl, now + machine.clock + ttl if ttl else float("inf"), job))

    def touched(self, register: str, began: float) -> None:
        """Note a touch. `began`: the time of its machine's clock when it began."""
        for one in self._mortals:
            if register in one.registers:
                one.until = max(one.until, began + one.ttl)

    def end_job(self, job: int) -> None:
        """Note that the client of a job is gone."""
        self._over.add(job)

    def over(self, jobs: set[int]) -> set[int]:
        """The jobs, of these, that have ended."""
        return jobs & self._over

    def look_at_clocks(self, now: float) -> None:
        """Note the latest time of all clocks. This is needed before a clock is set."""
        self._latest = max(self._latest, *(now + machine.clock for machine in self._machines))

    def ended(self, now: float) -> Iterator[str]:
        """The registers of arrays that may have ended since the last call."""
        if not self._mortals:
            return
        self.look_at_clocks(now)
        ended = [one for one in self._mortals if one.until <= self._latest or one.job in self._over]
        for one in ended:
            self._mortals.remove(one)
            yield from one.registers
