"""Ray's errors of a call to an actor, turned into outlive's own."""

from __future__ import annotations

from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayError, RayTaskError

from outlive.cluster.port import Failed, Left, NoAnswer
from outlive.errors import OutliveError, StoreUnavailable


def told(error: RayError, patience: float | None = None) -> OutliveError:
    """The error of outlive's own for an error that Ray raised at a call to an actor."""
    if isinstance(error, RayTaskError):
        return _own(error)
    if isinstance(error, ActorDiedError):
        if error.actor_init_failed:
            return NoAnswer(f"keeper or catalog cannot start: {_last_line(error)}")
        return Left(
            f"the store was shut down, or its node is gone ({_first_line(error)}); outlive.open() starts it anew"
        )
    if isinstance(error, ActorUnavailableError):
        said = f"keeper or catalog cannot be reached right now ({_first_line(error)}); try again"
    elif isinstance(error, GetTimeoutError):
        said = (
            f"keeper or catalog did not answer{f' within {patience:.0f} s' if patience else ''}: the cluster may be "
            "out of memory or processes, or one is stopped; see `ray list actors`"
        )
    else:
        said = f"keeper or catalog cannot be asked ({_first_line(error)}); try again"
    return NoAnswer(said)


def _own(error: RayTaskError) -> OutliveError:
    """The error of outlive's own for an error that the actor itself raised."""
    cause: BaseException = error
    while isinstance(cause, RayTaskError):  # one actor may have asked another
        cause = cause.cause
    if isinstance(cause, NoAnswer):  # the actor answers, and somebody whom it asked does not
        return StoreUnavailable(str(cause))
    if isinstance(cause, OutliveError):
        return cause
    return Failed(
        f"keeper or catalog met an error ({type(cause).__name__}: {_first_line(cause)}); try again, and run "
        "`outlive doctor` if it stays"
    )


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
