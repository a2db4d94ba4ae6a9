"""Sizes, durations and counts, as people write and read them. Every setting and command takes the same words.

docs/units.md lists them, and the places that take them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from numbers import Integral, Real

from outlive.errors import BadSetting

# K, M, G, ... are powers of 1024, as KiB, MiB, GiB, ... are: so do Docker's --shm-size, ulimit, systemd and the JVM.
SIZES: Mapping[str, int] = {
    "": 1,
    "b": 1,
    **{
        f"{letter}{rest}": base**power
        for power, letter in enumerate("kmgtp", 1)
        for rest, base in (("", 1024), ("b", 1000), ("ib", 1024))
    },
}
DURATIONS: Mapping[str, Fraction] = {
    unit: Fraction(seconds)
    for units, seconds in (
        (("ns",), "1/1000000000"),
        (("us", "µs"), "1/1000000"),
        (("ms",), "1/1000"),
        (("", "s", "sec", "second", "seconds"), "1"),
        (("m", "min", "minute", "minutes"), "60"),
        (("h", "hour", "hours"), "3600"),
        (("d", "day", "days"), "86400"),
    )
    for unit in units
}
_TEXT = re.compile(r"\s*([0-9]{1,40}(?:\.[0-9]{1,40})?)\s*([a-zµ]*)\s*")
_MOST_BYTES = (1 << 63) - 1  # what a ledger can write down
_MOST_SECONDS = 10**10  # 317 years
_ROUNDED_UP = 1023.95  # bytes, KiB, ... from which one decimal would show 1024.0


def parse_size(text: str | float, name: str, *, least: int = 1) -> int:
    """Bytes from `2GiB`, `500 MB`, `8G` or a number.

    >>> parse_size("2GiB", "memory")
    2147483648

    Parameters
    ----------
    name
        Which setting it is, for the message.
    least
        Bytes. 0 if nothing at all is a size too.

    Raises
    ------
    BadSetting
        It is none, or less than `least`, or 2**63 and more.
    """
    number = _number(text, SIZES)
    value = None if number is None else int(number)
    if value is None or not least <= value <= _MOST_BYTES:
        raise BadSetting(
            f"{name}={text!r} is not a size: write a number of bytes, or one with a unit, as in 8GiB, 8G or 500MB (B; "
            "K, M, G, T, P and KiB to PiB: powers of 1024; KB to PB: powers of 1000)" + _at_least(least, format_size)
        )
    return value


def parse_duration(text: str | float, name: str, *, least: float = 0.0) -> float:
    """Seconds from `500ms`, `30s`, `2min`, `1.5h` or a number.

    >>> parse_duration("2min", "idle_after")
    120.0

    Parameters
    ----------
    name
        Which setting it is, for the message.
    least
        Seconds.

    Raises
    ------
    BadSetting
        It is none, or less than `least`, or some centuries.
    """
    number = _number(text, DURATIONS)
    if number is None or not least <= number < _MOST_SECONDS:
        raise BadSetting(
            f"{name}={text!r} is no length of time: write a number of seconds, or one with a unit, as in 500ms, 90s, "
            "10min, 1.5h or 2d (ns, us, ms, s, sec, m, min, h, d)" + _at_least(least, format_duration)
        )
    return float(number)


def _at_least(least: float, shown: Callable[[float], str]) -> str:
    return f"; {shown(least)} or more" if least else ""


def _number(text: object, units: Mapping[str, int | Fraction]) -> Fraction | None:
    """The exact value of a number with one of these units; None if it is none."""
    if isinstance(text, Real) and not isinstance(text, bool):
        try:
            return Fraction(int(text)) if isinstance(text, Integral) else Fraction(float(text))
        except (ValueError, OverflowError):  # no number, or infinite
            return None
    match = _TEXT.fullmatch(str(text).lower().replace("μ", "µ"))
    unit = units.get(match[2]) if match else None
    return Fraction(match[1]) * unit if match and unit is not None else None


def format_size(size: float) -> str:
    """`1.5 GiB`.

    >>> format_size(1536)
    '1.5 KiB'
    """
    if abs(size) < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if abs(size) < _ROUNDED_UP:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} PiB"


def format_duration(seconds: float) -> str:
    """`90 ms`, `1.5 s`, `3.0 min`, `2.0 h`.

    >>> format_duration(180)
    '3.0 min'
    """
    if 0 < seconds < 0.0005:
        return f"{seconds * 1e6:.0f} us" if seconds >= 1e-6 else f"{seconds * 1e9:.0f} ns"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def format_age(seconds: float) -> str:
    """About how long: `3 min`, in whole units, as for a table.

    >>> format_age(7200)
    '2 h'
    """
    units = ((86400 * 365, "y"), (86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    return next((f"{int(seconds // length)} {unit}" for length, unit in units if seconds >= length), "0 s")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 array`, `2 arrays`. `plural`: if an s is not enough."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
