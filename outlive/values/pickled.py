"""Pickle, for values of types that no codec knows: by Ray's cloudpickle, with the buffers beside it.

A process that has not loaded Ray takes the package cloudpickle, if it is installed; or Ray's, or Python's own pickle.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import sys
from typing import Any

import numpy as np

from outlive.errors import CorruptArray, UnsupportedArray

_PROTOCOL = 5  # the first with buffers
_OF_RAY = {
    "ObjectRef",
    "ClientObjectRef",
    "ObjectRefGenerator",
    "StreamingObjectRefGenerator",
    "DynamicObjectRefGenerator",
}
_ACTORS = {"ActorHandle", "ClientActorHandle", "ClientActorRef", "ActorMethod"}


def refuse_ray(value: object) -> None:
    """Raise UnsupportedArray for a value whose life is Ray's."""
    kind = type(value)
    if kind.__name__ in _OF_RAY and kind.__module__.partition(".")[0] == "ray":
        raise UnsupportedArray(
            "an ObjectRef cannot be stored: Ray frees its object when the process that made it ends, whatever holds "
            "the stored reference; store what ray.get(ref) returns"
        )
    if kind.__name__ in _ACTORS and kind.__module__.partition(".")[0] == "ray":
        raise UnsupportedArray(
            "an actor's handle cannot be stored: Ray ends the actor with its job, whatever holds the stored handle; "
            "give the actor a name, store the name, and call ray.get_actor(name)"
        )


def dumps(value: object) -> list[np.ndarray[Any, Any]]:
    """A pickle and its buffers, as bytes.

    Raises
    ------
    UnsupportedArray
        It cannot be pickled, or holds an ObjectRef or an actor's handle.
    """
    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    try:
        _pickler()(stream, protocol=_PROTOCOL, buffer_callback=buffers.append).dump(value)
    except UnsupportedArray:
        raise
    except RecursionError:
        raise
    except Exception as error:
        raise UnsupportedArray(f"{about(value)} cannot be pickled: {error}") from error
    return [as_bytes(stream.getbuffer()), *(as_bytes(buffer.raw()) for buffer in buffers)]


def as_bytes(memory: Any) -> np.ndarray[Any, Any]:
    """Any contiguous memory as an array of bytes: no copy."""
    return np.frombuffer(memory, np.uint8) if len(memory) else np.empty(0, np.uint8)


def loads(parts: list[np.ndarray[Any, Any]]) -> Any:
    """The value of a pickle and its buffers. This runs whatever the pickle says.

    Raises
    ------
    CorruptArray
        It is no pickle. Errors of the value's own classes are raised as they are.
    """
    try:
        return pickle.loads(parts[0].data, buffers=parts[1:])  # noqa: S301 - the store's owner allowed it
    except (pickle.UnpicklingError, EOFError) as error:
        raise CorruptArray(f"a stored value is damaged: its pickle cannot be read ({error})") from error


def about(value: object) -> str:
    """A type as messages name it."""
    kind = type(value)
    return f"a {kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else f"a {kind.__qualname__}"


@functools.lru_cache(1)
def _pickler() -> type:
    base: Any = _base()

    class Pickler(base):  # type: ignore[misc]
        """Refuses what is Ray's."""

        def reducer_override(self, obj: Any) -> Any:
            refuse_ray(obj)
            return super().reducer_override(obj) if hasattr(base, "reducer_override") else NotImplemented

    return Pickler


def _base() -> type:
    of_ray, alone = "ray.cloudpickle", "cloudpickle"
    for module in (of_ray, alone) if sys.modules.get("ray") is not None else (alone, of_ray):
        try:
            found: type = importlib.import_module(module).CloudPickler
        except ImportError:
            continue
        return found
    return pickle.Pickler
