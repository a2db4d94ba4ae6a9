"""Explains errors of Ray in this program, on this cluster: ids decoded, logs read, causes with their evidence.

>>> import outlive.explain
>>> decoded = outlive.explain.decode("00f7ac668d3063a5ffffffffffffffffffffffff0200000002e1f505")
>>> decoded.job, decoded.maker, decoded.put, decoded.attempt
(2, 'normal task', True, 0)
>>> reading = outlive.explain.read("ray.exceptions.OwnerDiedError: Failed to retrieve object ...")
>>> reading.explanations[0].variant
'owner-died'

`errors` and `install` add the explanation to Ray's own exceptions; `why` returns it as data.
"""

from __future__ import annotations

from outlive.explain.ids import DecodedId, Field, NotAnId, decode
from outlive.explain.model import Explanation, JudgedCause, Reading
from outlive.explain.notes import errors, install, why
from outlive.explain.reading import read

__all__ = [
    "DecodedId",
    "Explanation",
    "Field",
    "JudgedCause",
    "NotAnId",
    "Reading",
    "decode",
    "errors",
    "install",
    "read",
    "why",
]
