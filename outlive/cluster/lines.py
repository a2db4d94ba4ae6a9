"""Lines: this process calls the catalog by a connection to its server, where that is faster than a call through Ray.

A call that fails on the line goes through Ray, and then Ray's errors count. So a call may be made twice, as when Ray
repeats one. But it is never made late: the catalog ends the connection before the call is repeated.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from outlive.arrays.lock import Mutex
from outlive.calls.line import Broken, Late, Line, NotMade, NotNow, Raised, Unreachable
from outlive.cluster.links import SECRET
from outlive.cluster.port import PATIENCE, Call, NoAnswer
from outlive.errors import BadSetting, StoreUnavailable
from outlive.transfer import settings
from outlive.transfer.channel import Lost

CALLED = frozenset({"bind", "unbind", "replace", "find", "hold", "verify", "locate", "join_copy", "join_copies"})
"""The catalog's methods that go by a line: their arguments and answers are plain data, and they may be repeated."""
WHERE = "calls"  # the key under which the head remembers the server's address
THROUGH_RAY = object()  # instead of an answer: the call has to go through Ray
_SOON, _LATER = 1.0, 60.0  # seconds until a line is tried again: at first, and at most; each time twice as many
_REFUSALS = 6  # times that a catalog may say that it may not answer until the head is asked for another: after 30 s
_SHARE = 20  # a line that failed is tried again after so many times what the try took
_TO_LOOK = 3.0  # seconds
_RESTART = 40.0  # seconds that a catalog which starts again may take until it answers
_log = logging.getLogger(__name__)


class _Way(NamedTuple):
    """The way to the catalog: a line, or the reason why there is none."""

    line: Line | None
    why: str = ""
    until: float = 0.0  # the moment from which on a line is tried again
    again: Line | None = None  # the one that is tried again, if the head is not to be asked for another


class CatalogLine:
    """The line from this process to the catalog. Any thread may use it.

    Parameters
    ----------
    load
        Reads a value that the head remembers.
    by_ray
        Asks the catalog through Ray.
    pause, tick
        While a caller waits, `tick` is called after each `pause(longest)` seconds: it draws a progress bar.
    """

    def __init__(
        self,
        load: Callable[[str], bytes | None],
        by_ray: Callable[[Call, float | None], Any],
        pause: Callable[[float], float] = lambda longest: longest,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._load, self._by_ray, self._pause_of_bar, self._tick = load, by_ray, pause, tick
        self._way = _Way(None, "nothing was asked yet")
        self._asked = False
        self._again = _SOON
        self._refused = 0  # how often in a row the catalog said that it may not answer
        self._mutex = Mutex()

    @property
    def why_not(self) -> str | None:
        """Why calls go through Ray; None if they do not."""
        return None if self._way.line is not None else self._way.why

    def look(self) -> str | None:
        """`why_not`, after a try by the line if none has succeeded, or the last failed some time ago."""
        self._asked = True
        if self.why_not is not None:
            with contextlib.suppress(StoreUnavailable):
                self.ask(Call.of("find", "", []), _TO_LOOK)
        return self.why_not

    def ask(self, call: Call, patience: float | None) -> Any:
        """The catalog's answer. THROUGH_RAY: the call has to go through Ray, which is safe now.

        Raises
        ------
        StoreUnavailable
            The catalog raised it.
        NoAnswer
            No answer came in time. See also `Peers.ask_catalog`.
        """
        line = self._line()
        if line is None:
            return THROUGH_RAY
        began = time.monotonic()
        deadline = math.inf if patience is None else began + patience
        try:
            answer = line.call(call.method, call.args, deadline, *self._waiting(line))
        except Raised as error:
            raise StoreUnavailable(str(error)) from None
        except NotMade as error:
            self._note(line, error, _SHARE * (time.monotonic() - began))
            return THROUGH_RAY
        except Broken as error:
            self._lost(line, error)
            self._by_ray(Call.of("cut", error.name), patience)
            return THROUGH_RAY
        except Late:
            raise NoAnswer(
                f"the catalog did not answer within {patience:.0f} s: it may be stopped; see `ray list actors`"
            ) from None
        self._refused = 0
        return answer

    def _waiting(self, line: Line) -> tuple[Callable[[], float], Callable[[], None]]:
        """The last two arguments of `Line.call`."""
        due = time.monotonic() + PATIENCE

        def pause() -> float:
            return self._pause_of_bar(max(0.0, due - time.monotonic()))

        def look() -> None:
            nonlocal due
            self._tick()
            if time.monotonic() >= due:
                self._see_that_it_is_there(line)
                due = time.monotonic() + PATIENCE

        return pause, look

    def close(self) -> None:
        """Close idle connections. The line may be used afterwards."""
        line = self._way.line
        if line is not None:
            line.close()

    def _see_that_it_is_there(self, line: Line) -> None:
        """Raises NoAnswer if the catalog is stopped, and Lost if it was stopped and another has started since."""
        if not self._by_ray(Call.of("serves", line.there), _RESTART):
            raise Lost("another catalog has started")

    def _line(self) -> Line | None:
        way = self._way
        if way.line is not None:
            return way.line
        if not self._asked:  # a process that asks only once is faster through Ray
            self._asked = True
            return None
        if time.monotonic() < way.until:
            return None
        with self._mutex.now:
            if self._way is way:
                self._way = _Way(None, "it is looked for", time.monotonic() + _SOON)  # other threads do not look too
                ours = True
            else:
                ours = False
        if ours:
            self._way = self._find(way.again)
        return self._way.line

    def _find(self, again: Line | None) -> _Way:
        if again is not None:
            return _Way(again)
        try:
            if (why := settings.calls_are_off()) is not None:
                return _Way(None, why, math.inf)
            told, secret, tls = self._load(WHERE), self._load(SECRET), settings.tls()
        except BadSetting as error:
            return _Way(None, str(error), math.inf)
        except StoreUnavailable as error:
            return _Way(None, str(error), time.monotonic() + self._pause())
        where = address(told)
        if where is None or secret is None:
            return _Way(None, _why(told), time.monotonic() + self._pause())
        host, port, name = where
        return _Way(Line((host, port), here="", there=name, secret=secret, tls=tls))

    def _pause(self) -> float:
        again, self._again = self._again, min(2 * self._again, _LATER)
        return again

    def _note(self, line: Line, error: NotMade, at_least: float) -> None:
        """Note why a call was not made: calls go through Ray for a while, or only this one does."""
        if isinstance(error, Unreachable):
            self._lost(line, error, at_least)
        elif isinstance(error, NotNow):
            self._leave(line)
        else:
            _log.debug("a call goes through Ray: %s", error)

    def _leave(self, line: Line) -> None:
        """Leave a catalog that may not answer: the head is silent, or knows of another catalog.

        The head is asked only after a while: it may not have answered the catalog, and would hold up this process.
        """
        with self._mutex.now:
            if self._way.line is line:  # else another thread has noted it
                pause = min(_SOON * 2 ** min(self._refused, _REFUSALS), _LATER)
                self._refused += 1
                again = line if self._refused < _REFUSALS else None
                why = "the catalog may not answer at its port now"
                self._way = _Way(None, why, time.monotonic() + pause, again)

    def _lost(self, line: Line, error: Exception, at_least: float = 0.0) -> None:
        """Note that a line failed: calls go through Ray until it is tried again."""
        if line.worked:
            self._again = _SOON
        again = max(at_least, self._pause())
        with self._mutex.now:
            if self._way.line is line:
                self._way = _Way(None, str(error), time.monotonic() + again)
        line.close()
        _log.debug("calls go through Ray for %.0f s: %s", again, error)


def address(told: bytes | None) -> list[Any] | None:
    """Host, port and name, from what the head remembers; None if there is no server."""
    found = _read(told)
    return found[:3] if len(found) == 4 else None


def turn_of(told: bytes | None) -> int | None:
    """The turn of the catalog that told the head this; None if none did."""
    found = _read(told)
    return int(found[-1]) if found and isinstance(found[-1], int) else None


def _why(told: bytes | None) -> str:
    found = _read(told)
    return str(found[0]) if found else "the catalog has no server"


def _read(told: bytes | None) -> list[Any]:
    """Host, port, name and turn of a catalog; or why it has no server, and its turn. Empty if none told anything."""
    try:
        found = [] if told is None else json.loads(told)
    except ValueError:
        return []
    return found if isinstance(found, list) and len(found) in (2, 4) else []
