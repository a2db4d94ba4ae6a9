"""Bytes and seconds, as people write them."""

from __future__ import annotations

import re

from outlive.errors import BadSetting

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {f"{letter}ib": 1 << (10 * (i + 1)) for i, letter in enumerate("kmgt")}
_UNITS |= {letter: 1 << (10 * (i + 1)) for i, letter in enumerate("kmgt")}
_TIMES = {"ms": 0.001, "": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_bytes(text: str | int, name: str) -> int:
    """Bytes from `2GiB`, `500 MB` or a number.

    >>> parse_bytes("2GiB", "max_memory")
    2147483648

    Raises
    ------
    BadSetting
        It is none, or not positive.
    """
    match = _NUMBER.fullmatch(str(text))
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None or not float(match[1]) * unit >= 1:
        raise BadSetting(f"{name}={text!r} is no size: write it as 2GiB, 500MB or a number of bytes")
    return int(float(match[1]) * unit)


def parse_seconds(text: str | float, name: str) -> float:
    """Seconds from `30s`, `2min`, `1.5h` or a number.

    >>> parse_seconds("2min", "idle_after")
    120.0

    Raises
    ------
    BadSetting
        It is none.
    """
    match = _NUMBER.fullmatch(str(text))
    unit = _TIMES.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise BadSetting(f"{name}={text!r} is no length of time: write it as 500ms, 30s, 2min or 1h")
    return float(match[1]) * unit


def format_bytes(size: int) -> str:
    """`1.5 GiB`.

    >>> format_bytes(1536)
    '1.5 KiB'
    """
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """`90 ms`, `1.5 s`, `3.0 min`, `2.0 h`.

    >>> format_seconds(180)
    '3.0 min'
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
