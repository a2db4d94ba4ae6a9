"""Ray Client (`ray://`): the calls of a program outside the cluster run inside, in an actor of the program's job.

    outside the cluster          |  the head            |  the node of the server
    store["k"] --(a call, pickled)-->  Ray Client's  ----->  OutliveGateway: store["k"]
        a private copy  <-------------  server       <------   a view, from the shelf

The program has no shelf, so every function that asks for one raises `OutsideCluster` there, and `in_cluster` has the
gateway call it instead. Arrays travel as Ray's objects do, in chunks of 64 MiB (ray/util/client/common.py,
OBJECT_TRANSFER_CHUNK_SIZE). Answers and errors travel as bytes, so that they arrive as they were raised, and Ray
Client's server need not import outlive.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from outlive.arrays.lock import Mutex
from outlive.errors import OutliveError, OutsideCluster, StoreUnavailable

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
_OUTSIDE = object()
_CALLS_AT_ONCE = 16  # of one program
_POLL_SECONDS = 0.2  # for progress
_START_SECONDS = 120.0  # for a worker to start in the cluster, and its environment to be made (runtime_env)
_OWN_OBJECT = 1 << 20  # bytes of arguments from which they are put first: Ray Client warns of large calls


def in_cluster(
    before: Callable[..., tuple[Any, ...]] | None = None, *, then: Callable[..., Any] | None = None
) -> Callable[[F], F]:
    """Make a function run in the cluster if this process is a Ray Client.

    The function must ask for the session before it does anything with an effect: it begins here, and is called again in
    the cluster.

    Parameters
    ----------
    before
        Checks the arguments before they are sent. Its results are sent as the leading arguments.
    then
        Makes the result of what the function returns, from that and the arguments: not in the cluster, but here. So the
        values of the program's own classes are made where these are. An array is returned as it is.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except OutsideCluster:
                pass  # outside the handler, so that an error from the cluster does not carry this one as its context
            return call(run, *(args if before is None else before(*args)), **kwargs)

        if then is None:
            return run  # type: ignore[return-value]
        import numpy as np

        array = np.ndarray

        @functools.wraps(function)
        def run_then(*args: Any, **kwargs: Any) -> Any:
            try:
                found = function(*args, **kwargs)
                if type(found) is array:
                    return found
            except OutsideCluster:
                found = _OUTSIDE
            if found is _OUTSIDE:
                found = call(run_then, *(args if before is None else before(*args)), **kwargs)
            return found if type(found) is array else then(found, *args, **kwargs)

        return run_then  # type: ignore[return-value]

    return decorate


def call(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a function of this package, known by its name, in the cluster.

    A function among the arguments stays here: it is called, now and then, with the arguments of its last call there.

    Raises
    ------
    StoreUnavailable
        The cluster cannot be reached, or has no outlive, or not this version of it.
    """
    import ray
    from ray.exceptions import ActorDiedError, RayError

    gateway, listeners = _gateway(), dict[int, Callable[..., object]]()

    def sent(value: Any) -> Any:
        if not callable(value):
            return value
        number = next(_numbers)
        listeners[number] = value
        return Reporter(number)

    request = pack((function, [sent(arg) for arg in args], {name: sent(arg) for name, arg in kwargs.items()}))
    try:
        if sum(map(len, request)) > _OWN_OBJECT:
            answer = gateway.call.remote(ray.put(request))
        else:
            answer = gateway.call.remote(request)
        if listeners:
            while not ray.wait([answer], timeout=_POLL_SECONDS)[0]:
                _report(gateway, listeners)
            _report(gateway, listeners)
        parts = ray.get(answer)
    except (RayError, ConnectionError) as error:
        if isinstance(error, ActorDiedError):
            _forget(gateway)
        raise StoreUnavailable(
            f"the cluster did not answer this Ray Client ({_first_line(error)}); the call may or may not have "
            "been made. Try again"
        ) from error
    result: T = _result(parts)
    return result


def _report(gateway: Any, listeners: dict[int, Callable[..., object]]) -> None:
    import ray

    for number, said in _result(ray.get(gateway.call.remote(pack((reported, [list(listeners)], {}))))).items():
        listeners[number](*said)


def _result(parts: list[Any]) -> Any:
    """The result of a call, or its error.

    An array is a copy for this process alone, but it is read-only, as a view would be.
    """
    result = unpack(parts)
    if isinstance(result, _Raised):
        raise result.error from (None if isinstance(result.error, OutliveError) else _InCluster(result.traceback))
    for array in result.values() if isinstance(result, dict) else (result,):
        if _is_array(array):
            array.flags.writeable = False
    return result


@contextlib.contextmanager
def scope(store: T) -> Iterator[T]:
    """`store.scope()`, held open by the gateway: it ends with the block, or with this program's connection."""
    number, scoped = call(enter_scope, store)
    try:
        yield scoped
    finally:
        call(leave_scope, number)


# --- what travels


class _Raised(NamedTuple):
    error: Exception
    traceback: str


class _InCluster(Exception):
    """The traceback in the cluster, shown above the error."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def pack(value: Any) -> list[Any]:
    """A value as bytes, and the data of its arrays as arrays of bytes: no copy."""
    import numpy as np
    from ray import cloudpickle

    buffers: list[pickle.PickleBuffer] = []
    head = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)  # type: ignore[no-untyped-call]
    return [head, *(np.frombuffer(raw, np.uint8) if len(raw := one.raw()) else b"" for one in buffers)]


def unpack(parts: list[Any]) -> Any:
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301 - from our own program's actor, or to it


def _is_array(value: object) -> bool:
    import numpy as np

    return isinstance(value, np.ndarray)


def _whole(value: Any) -> Any:
    """A value as it is sent: an array with gaps, as `x[::2]`, would be sent item by item."""
    if _is_array(value) and not value.flags.forc:
        return value.copy(order="C")
    return value


# --- in the gateway's process


def serve(parts: list[Any]) -> list[Any]:
    """Do what a client asks."""
    function, args, kwargs = unpack(parts)
    function = getattr(function, "__wrapped__", function)  # this is the cluster: what comes then, the client does
    try:
        return pack(_whole(function(*args, **kwargs)))
    except Exception as error:  # noqa: BLE001 - any that the function may raise is the caller's
        text = traceback.format_exc()
        try:
            return pack(_Raised(error, text))
        except Exception:  # noqa: BLE001 - of any type: it holds what cannot be pickled
            return pack(_Raised(StoreUnavailable(f"{type(error).__name__} in the cluster: {error}"), text))


_reported: dict[int, tuple[Any, ...]] = {}
_scopes: dict[int, contextlib.AbstractContextManager[Any]] = {}
_numbers = itertools.count()


class Reporter(NamedTuple):
    """Stands for a function of the client."""

    number: int

    def __call__(self, *said: Any) -> None:
        _reported[self.number] = said


def reported(numbers: list[int]) -> dict[int, tuple[Any, ...]]:
    """The arguments of the client's last calls of these functions, if there were any since the last time."""
    return {number: said for number in numbers if (said := _reported.pop(number, None)) is not None}


def enter_scope(store: Any) -> tuple[int, Any]:
    """Open a scope; returns its number here, and the store to put through."""
    number, opened = next(_numbers), store.scope()
    scoped = opened.__enter__()
    _scopes[number] = opened
    return number, scoped


def leave_scope(number: int) -> None:
    """End a scope. One that is not known ended with an earlier gateway."""
    if (opened := _scopes.pop(number, None)) is not None:
        opened.__exit__(None, None, None)


# --- the gateway


def _gateway_class() -> type:
    """The actor. Its class is defined in a function so that it travels by value: the cluster may lack outlive, and the
    actor has to say so.
    """

    class OutliveGateway:
        def about(self) -> tuple[str, str]:
            """The version of outlive that the cluster has, or why it has none."""
            try:
                importlib.import_module("outlive.store.gateway")
                return importlib.import_module("outlive").__version__, ""
            except ImportError as error:
                return "", str(error)

        def call(self, parts: list[Any]) -> list[Any]:
            from outlive.store.gateway import serve

            return serve(parts)

    return OutliveGateway


_lock = Mutex()
_current: tuple[Any, Any] | None = None  # a connection and its gateway


def _gateway() -> Any:
    """This program's gateway, started if need be: on the node that Ray Client's server runs on, while that lives.

    It is an actor of the program's job, which Ray ends with it: when the program disconnects, or 30 s after it was
    killed (RAY_CLIENT_RECONNECT_GRACE_PERIOD).
    """
    global _current
    from outlive.ray_internals.client import connection

    with _lock.now:
        connected = connection()
        if connected is None:
            raise StoreUnavailable("this process is not connected to a Ray cluster; call ray.init('ray://...') first")
        if _current is None or _current[0] is not connected:
            _current = connected, _start()
        return _current[1]


def _forget(gateway: Any) -> None:
    global _current
    with _lock.now:
        if _current is not None and _current[1] is gateway:
            _current = None


def _start() -> Any:
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours = sys.modules["outlive"].__version__
    there = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    gateway: Any = (
        ray.remote(_gateway_class())
        .options(num_cpus=0, max_restarts=-1, max_concurrency=_CALLS_AT_ONCE, scheduling_strategy=there)
        .remote()
    )
    try:
        version, why = ray.get(gateway.about.remote(), timeout=_START_SECONDS)
    except GetTimeoutError:
        raise StoreUnavailable(
            f"the cluster started no worker for this Ray Client within {_START_SECONDS:.0f} s; see `ray list actors`"
        ) from None
    except RayError as error:
        raise StoreUnavailable(f"the cluster started no worker for this Ray Client: {_first_line(error)}") from error
    if version != ours:
        has = f"the cluster has outlive {version}" if version else f"the cluster cannot import outlive ({why})"
        raise StoreUnavailable(
            f"{has}, but the calls of a Ray Client (ray://) run there: install outlive {ours} on its "
            f"nodes, or connect with ray.init(..., runtime_env={{'pip': ['outlive=={ours}']}})"
        )
    return gateway


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
