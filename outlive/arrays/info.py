"""ArrayInfo: everything there is to know about a stored array except its bytes."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from outlive.arrays.layout import RANDOM_BYTES
from outlive.arrays.lock import Mutex
from outlive.errors import InvalidKey, InvalidKeyType

MAX_KEY_BYTES = 1024


class ArrayInfo(NamedTuple):
    """Names an array and says how its bytes lie in its segment.

    It is what the segment's footer holds, what the catalog indexes and what a handle carries: small, picklable, and
    free of numpy, so that the actors need not import it.
    """

    # in hex: 88 random bits, and 40 bits that say what ends it (see `lifetimes`); the name of the segment's file
    id: str
    store: str
    key: str | None
    dtype: str  # the `descr` of the .npy format, as a Python literal: "'<f8'", "[('x', '<i4')]"
    shape: tuple[int, ...]
    fortran: bool  # the bytes lie in Fortran order
    offset: int  # bytes before the data
    nbytes: int  # bytes of data
    size: int  # bytes of the whole segment
    version: int  # orders the arrays of one key: nanoseconds since 1970, made to only ever grow
    ttl: float = 0.0  # seconds to live from its put or its last `touch`; 0: no limit
    replicas: int = 1  # the number of nodes that are to keep it
    codec: str = ""  # of a value that is no array, whose packed bytes these are: see `packed`


def new_id(suffix: str) -> str:
    """An id that ends in `Lifetime.suffix`."""
    return os.urandom(RANDOM_BYTES).hex() + suffix


_version = 0
_version_lock = Mutex()


def new_version(after: int = 0) -> int:
    """The time in nanoseconds, but later than `after` and than all versions this process gave before."""
    global _version
    with _version_lock.now:
        _version = max(time.time_ns(), _version + 1, after + 1)
        return _version


def check_key(key: object) -> str:
    """Return `key` if it can name an array.

    Raises
    ------
    InvalidKeyType
        It is not a `str`.
    InvalidKey
        It is empty, longer than 1024 bytes in UTF-8, or not encodable (a lone surrogate).
    """
    if not isinstance(key, str):
        raise InvalidKeyType(f"a key is a str, not {type(key).__name__}: {key!r:.100}")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidKey(f"key {key!r:.100} cannot be encoded in UTF-8: {error.reason}") from None
    if not 0 < length <= MAX_KEY_BYTES:
        raise InvalidKey(
            f"a key has 1 to {MAX_KEY_BYTES} bytes in UTF-8, this one {length}: {key[:60]!r}{'...' * (length > 60)}"
        )
    return key if type(key) is str else str.__str__(key)
