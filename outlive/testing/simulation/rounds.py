"""How often actors of a played cluster make their rounds."""

from __future__ import annotations

_USUAL = 0.7, 1.5  # seconds between two rounds: the least, and the most that is added
_SLOWER = 1.0, 2.0, 4.0  # factors for the pauses: with rare rounds, less is mended meanwhile
_HALVED_AFTER = 8.0  # seconds of a schedule after which pauses are twice as long, so that long waits cost few rounds
_LONGEST = 10.0  # seconds: the limit of both numbers


class Rounds:
    """The pauses between rounds of a schedule. They get longer until its end sets them.

    Parameters
    ----------
    seed
        The seed of the plan.
    """

    def __init__(self, seed: int) -> None:
        slower = _SLOWER[seed % len(_SLOWER)]
        self._least, self._more = (part * slower for part in _USUAL)
        self._is_set = False

    def set(self, least: float, more: float) -> None:
        """Set the pauses from now on, in seconds: the least, and the most that is added."""
        self._least, self._more, self._is_set = least, more, True

    def pause(self, now: float, draw: float) -> float:
        """Seconds to the next round. `draw`: a number in [0, 1)."""
        least, more = self._least, self._more
        if not self._is_set:
            least, more = (min(part * (1 + now / _HALVED_AFTER), _LONGEST) for part in (least, more))
        return least + more * draw
