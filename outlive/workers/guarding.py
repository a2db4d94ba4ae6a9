"""Start, change and stop the guard of a cluster: `guard`, `change_guard`, `stop_guard`."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from outlive.errors import BadSetting, OutliveError, StoreUnavailable
from outlive.ray_internals import named_actor
from outlive.workers.guard_record import FORM, NAME, NAMESPACE, GuardState, guard_state, note_stopped
from outlive.workers.policy import Policy

_HEAD = "node:__internal_head__"  # a resource that only the head has, as the next one will that replaces it
_START = 120.0  # seconds: a Ray worker takes 1-5 s to start, more on a loaded machine
_ANSWER = 60.0  # seconds: a change waits for the worker that is being let go
_END = 15.0  # seconds
_TRIES, _PAUSE = 20, 0.5
_NONE = "no guard runs: start one with `outlive workers guard start`, or outlive.workers.guard(policy)"
_THREADS = 4  # of calls that wait while another is answered


class _EndedError(StoreUnavailable):
    """The guard ended for good while it was asked."""


def guard(policy: Policy) -> GuardState:
    """Have an actor on the head keep the idle workers of the whole cluster to a policy, for good.

    It is one process, needs no CPU of the cluster's, and is detached: it goes on when this program ends, and comes back
    with its policy if its process is killed. If a guard runs already, it gets this policy instead: there is never a
    second one.

    It harms no task: it looks as `inspect` does, and lets go as `trim` does.

    Parameters
    ----------
    policy
        The bounds, and how often it looks.

    Returns
    -------
    GuardState
        What the guard is set to now.

    Raises
    ------
    BadSetting
        A guard of another version runs, which may not know all of this policy. Stop it first.
    StoreUnavailable
        This process is connected to no cluster; or the guard cannot start, as where the head has no outlive.

    Examples
    --------
    >>> guard(Policy(max_idle=4, max_memory="1GiB", min_idle_for="30s"))  # doctest: +SKIP
    """
    _check_joined()
    plain = policy.to_json()
    for _ in range(_TRIES):
        actor = _started(plain)
        try:
            _check_form(actor)
            if _ask(actor.replace.remote(plain), _START):
                return _now()
            stop_guard()  # it was stopped, and its process stayed
        except _EndedError:
            time.sleep(_PAUSE)  # somebody is ending it just now
    raise StoreUnavailable("the guard was ended again and again as it started: does another program end it?")


def change_guard(**fields: Any) -> GuardState:
    """Give some fields of the running guard's policy other values; the others stay.

    Parameters
    ----------
    fields
        As those of `Policy`. `jobs` adds exceptions, and a value of None ends one.

    Raises
    ------
    BadSetting
        No guard runs, or one of another version; or the new policy cannot be. The old one stays.
    StoreUnavailable
        As `guard`.

    Examples
    --------
    >>> change_guard(max_idle=2, dry_run=False)  # doctest: +SKIP
    """
    actor = _running()
    if actor is None:
        raise BadSetting(
            "no guard runs: start one with `outlive workers guard start`, or outlive.workers.guard(policy)"
        )
    _check_form(actor)
    if not _ask(actor.amend.remote(fields), _ANSWER):
        raise BadSetting(_NONE)
    return _now()


def stop_guard() -> bool:
    """Stop the guard, of whichever version. When this returns, it holds no worker, and lets none go.

    A guard that does not answer, as one that is stopped by a signal, is killed. A process beside it gives back what it
    holds. Its record and its log then say so.

    Returns
    -------
    bool
        Whether there was one.

    Raises
    ------
    StoreUnavailable
        This process is connected to no cluster.
    """
    import ray

    actor = _running()
    if actor is None:
        return False
    how = "stopped: it did not answer, and was killed"
    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(actor.stop.remote(), timeout=_END)
        how = "stopped"
    ray.kill(actor, no_restart=True)
    deadline = time.monotonic() + _END
    while (there := named_actor.find(NAME, NAMESPACE)) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    if there is None:  # else it may be another one, that somebody has started just now
        with contextlib.suppress(StoreUnavailable):  # it is stopped all the same
            note_stopped(how)
    return True


def _started(policy: dict[str, Any]) -> Any:
    """The guard's actor, which is started if there is none."""
    import ray

    from outlive.workers.guard_actor import Guard

    remote: Any = ray.remote(Guard)
    return remote.options(
        name=NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=_THREADS,
        resources={_HEAD: 0.001},
    ).remote(policy)


def _running() -> Any | None:
    """The guard's actor; None if there is none."""
    import ray

    _check_joined()
    try:
        return ray.get_actor(NAME, namespace=NAMESPACE)
    except ValueError:
        return None


def _now() -> GuardState:
    state = guard_state()
    if state is None:  # somebody has ended it meanwhile
        raise StoreUnavailable("the guard has ended meanwhile: start it again")
    return state


def _check_joined() -> None:
    import ray

    from outlive.ray_internals.client import is_client

    if is_client():
        raise StoreUnavailable(
            "Ray Client (ray://) runs this program outside the cluster; run it on a node, as by `ray job submit`"
        )
    if not ray.is_initialized():
        raise StoreUnavailable("this process is not connected to a Ray cluster; call ray.init(address=...) first")


def _check_form(actor: Any) -> None:
    about = _ask(actor.about.remote(), _START)
    if about["form"] != FORM:
        raise BadSetting(
            f"a guard of outlive {about['version']} runs, and this is another version: stop it with "
            "`outlive workers guard stop`, then start it anew"
        )


def _ask(answer: Any, patience: float) -> Any:
    """The answer of the guard, or an error of outlive's own."""
    import ray
    from ray.exceptions import ActorDiedError, GetTimeoutError, RayError, RayTaskError

    try:
        return ray.get(answer, timeout=patience)
    except RayTaskError as error:
        if isinstance(error.cause, OutliveError):
            raise error.cause from None
        raise
    except ActorDiedError as error:
        if not error.actor_init_failed:
            raise _EndedError("the guard has ended meanwhile: start it again") from None
        last = str(error).strip().splitlines()[-1]
        raise StoreUnavailable(f"the guard cannot run on the head: {last}; outlive has to be installed there") from None
    except GetTimeoutError:
        raise StoreUnavailable(
            f"the guard did not answer within {patience:.0f} s: see `outlive workers guard status`, and end it with "
            "`outlive workers guard stop` if it is silent"
        ) from None
    except RayError as error:
        raise StoreUnavailable(f"the guard cannot be asked ({str(error).splitlines()[0]}); try again") from None
