"""How often actors of a played cluster make their rounds."""

from __future__ import annotations

_USUAL = 0.7, 1.5  # seconds between two rounds: at least, and what is added at most
_SLOWER = 1.0, 2.0, 4.0  # times as long, in some schedules: less is mended while much happens
_HALVED_AFTER = 8.0  # seconds of a schedule, after which rounds come half as often: who waits long waits for few
_LONGEST = 10.0  # seconds, of both numbers


class Rounds:
    """The pauses between rounds of a schedule, which get longer, until its end sets them.

    Parameters
    ----------
    seed
        Of the plan.
    """

    def __init__(self, seed: int) -> None:
        slower = _SLOWER[seed % len(_SLOWER)]
        self._least, self._more = (part * slower for part in _USUAL)
        self._is_set = False

    def set(self, least: float, more: float) -> None:
        """They take this from now on: seconds at least, and what is added at most."""
        self._least, self._more, self._is_set = least, more, True

    def pause(self, now: float, draw: float) -> float:
        """Seconds to the next round. `draw`: a number in [0, 1)."""
        least, more = self._least, self._more
        if not self._is_set:
            least, more = (min(part * (1 + now / _HALVED_AFTER), _LONGEST) for part in (least, more))
        return least + more * draw
