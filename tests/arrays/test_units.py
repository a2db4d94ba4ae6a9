"""Sizes and durations: the same words in every setting and command."""

from __future__ import annotations

import doctest
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import outlive.cli.connection as connection
import outlive.units as units
import outlive.workers.keeping as keeping
from outlive.arrays.lifetimes import lifetime_from
from outlive.arrays.limits import default_disk_budget
from outlive.arrays.root import default_budget
from outlive.arrays.settings import Settings
from outlive.cli.app import app
from outlive.cluster.evacuation import Evacuation
from outlive.errors import BadSetting
from outlive.units import (
    DURATIONS,
    SIZES,
    count,
    format_age,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from outlive.workers import Policy, recycle
from outlive.workers.bounds import bounds
from outlive.workers.recycling import Limits

LIMITS = ("memory", "disk", "spill_to")
PAGE = Path(__file__).parents[2] / "docs" / "units.md"

SIZE_WORDS: dict[Any, int] = {
    "8GiB": 8 << 30, "8G": 8 << 30, "8g": 8 << 30, "500 MB": 500_000_000, "1024": 1024, 77: 77, "1.5 KiB": 1536,
    "2tib": 2 << 40, " 3 kb ": 3000, "3K": 3072, "7B": 7, "0.5TB": 500_000_000_000, "64M": 64 << 20, "1P": 1 << 50,
    4096.0: 4096,
}  # fmt: skip
NO_SIZES: list[Any] = [
    "", -1, "-5GiB", "GiB", "8 GiBs", "8 G i B", "nan", "inf", "1e400", "9" * 400, 1 << 63, "8EiB", "8,5 GiB", "eight",
    True, float("nan"), float("inf"), "²", "8 s",
]  # fmt: skip
DURATION_WORDS: dict[Any, float] = {
    "10min": 600, "90s": 90, "90sec": 90, "90 seconds": 90, "1.5h": 5400, "2 hours": 7200, "2d": 172_800,
    "1 day": 86_400, 5: 5, 0.25: 0.25, "7": 7, "200ms": 0.2, "500000 us": 0.5, "500000µs": 0.5,
    "1000000000ns": 1, "3 m": 180, "2MIN": 120,
}  # fmt: skip
NO_DURATIONS: list[Any] = [
    "", "min", "-5", -5, "5 weeks", "1e3", "nan", float("nan"), "inf", float("inf"), True, "8G", "1e400", "9" * 400,
]  # fmt: skip


class Places:
    """Every place that takes a size or a duration, by its name in docs/units.md."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch
        monkeypatch.setattr(connection, "connect", lambda _: None)
        monkeypatch.setattr("outlive.open", lambda _, **given: Settings.of(*map(given.get, LIMITS)))
        monkeypatch.setattr(keeping, "KeepTrim", lambda _, __, max_memory, every: (max_memory, every))
        self.all: dict[str, Callable[[Any], Any]] = {
            "`OUTLIVE_MEMORY`": lambda text: self.with_variable("OUTLIVE_MEMORY", text, lambda: default_budget("/")),
            "`OUTLIVE_DISK`": lambda text: self.with_variable("OUTLIVE_DISK", text, lambda: default_disk_budget("/")),
            "`OUTLIVE_BACKGROUND_RATE`": lambda text: self.with_variable(
                "OUTLIVE_BACKGROUND_RATE", text, lambda: int(Evacuation(None, "node", None)._rate)  # type: ignore[arg-type]
            ),
            "`outlive.open(memory=)`": lambda text: Settings.of(text, None, None).memory,
            "`outlive.open(disk=)`": lambda text: Settings.of(None, text, None).disk,
            "`outlive put --memory`, `outlive stats --memory`": lambda text: opened(memory=text).memory,
            "`outlive put --disk`, `outlive stats --disk`": lambda text: opened(disk=text).disk,
            "`outlive.workers.recycle(max_memory=)`": lambda text: limits(max_memory=text).max_memory,
            "`outlive.workers.trim(max_memory=)`": lambda text: bounds(0, None, text).max_memory,
            "`outlive.workers.keep_trim(max_memory=)`": lambda text: bounds(
                0, None, keeping.keep_trim(max_memory=text)[0]  # type: ignore[index]
            ).max_memory,
            "`outlive workers trim --max-memory`": in_command("workers trim --max-memory"),
            "`outlive.workers.Policy(max_memory=)`, `max_node_memory`, `max_job_memory`, "
            "and `outlive workers guard start` with these": lambda text: of_each(
                ("max_memory", "max_node_memory", "max_job_memory"), text
            ),
            "`put(ttl=)`, and `put_many`, `create`, `aput`": lambda text: lifetime_from("detached", text, 0).ttl,
            "`outlive put --ttl`": in_command("put missing.npy key --ttl"),
            "`outlive drain --ending-in`": in_command("drain node --ending-in"),
            "`OUTLIVE_EVACUATE_AFTER`": lambda text: self.with_variable(
                "OUTLIVE_EVACUATE_AFTER", text, lambda: Evacuation(None, "node", None)._after  # type: ignore[arg-type]
            ),
            "`outlive.workers.recycle(max_age=)`": lambda text: limits(max_age=text).max_age,
            "`outlive.workers.keep_trim(every=)`": lambda text: keeping.keep_trim(max_idle=1, every=text)[1],  # type: ignore[index]
            "`outlive.workers.Policy(min_idle_for=)`, `max_idle_for`, and `outlive workers guard start` with these": (
                lambda text: of_each(("min_idle_for", "max_idle_for"), text)
            ),
            "`outlive.workers.Policy(every=)`, `outlive workers guard start --every`": lambda text: Policy(
                max_idle=1, every=text
            ).every,
            "`outlive workers plan --idle-after`": in_command("workers plan --idle-after"),
            "`outlive workers plan --node-idle-after`": in_command("workers plan --node-idle-after"),
            "`outlive workers simulate --idle-after`": in_command("workers simulate missing.parquet --idle-after"),
            "`outlive workers --watch`": in_command("workers --watch"),
            "`outlive workers record --seconds`": in_command("workers record -o /missing/trace.parquet --seconds"),
        }  # fmt: skip

    def with_variable(self, name: str, text: Any, read: Callable[[], Any]) -> Any:
        if text == "":
            raise BadSetting("as if it were not set: is not a size, no length of time")
        self.patch.setenv(name, str(text))
        return read()


def opened(**limits: Any) -> Any:
    return connection.open_store("default", None, **limits)


def of_each(names: tuple[str, ...], text: Any) -> Any:
    """What a policy makes of a word, which is the same for each of these bounds."""
    (found,) = {getattr(Policy(max_idle=1, **{name: text}), name) for name in names}
    return found


def limits(**given: Any) -> Limits:
    cells = recycle(**given).__closure__ or ()
    return next(cell.cell_contents for cell in cells if isinstance(cell.cell_contents, Limits))


def in_command(words: str) -> Callable[[Any], Any]:
    """A command that gets a word; it stops at the next thing that it needs and does not have."""

    def run(text: Any) -> None:
        result = CliRunner().invoke(app, [*words.split(), str(text)])
        if "is not a size" in result.output or "is no length of time" in result.output:
            raise BadSetting(result.output)

    return run


def rows(kind: str) -> list[str]:
    return re.findall(rf"^\| (`.*`.*?) \| a {kind}(?:, of a second)? \|", PAGE.read_text(), re.MULTILINE)


def test_table_is_of_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*rows("size"), *rows("duration")] == list(Places(monkeypatch).all)


@pytest.mark.parametrize("place", rows("size"))
def test_every_place_takes_the_same_sizes(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Places(monkeypatch).all[place]
    for text, number in SIZE_WORDS.items():
        if "command" not in take.__qualname__:
            assert take(text) == number, text
    for text in NO_SIZES:
        with pytest.raises(ValueError, match="not a size"):
            take(text)


@pytest.mark.parametrize("place", rows("duration"))
def test_every_place_takes_the_same_durations(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Places(monkeypatch).all[place]
    for text, seconds in DURATION_WORDS.items():
        if "command" not in take.__qualname__:
            assert take(text) == seconds, text
    for text in NO_DURATIONS:
        with pytest.raises(ValueError, match="no length of time"):
            take(text)


# --- reading and writing


def test_nothing_at_all() -> None:
    assert [parse_size(text, "disk", least=0) for text in ("0", 0, " 0 ", "0GiB")] == [0] * 4
    with pytest.raises(BadSetting, match="not a size.*; 1 B or more"):
        parse_size("0", "memory")
    assert parse_duration("0s", "idle_after") == 0
    with pytest.raises(BadSetting, match="ttl='0s' is no length of time.*; 1 ns or more"):
        lifetime_from("detached", "0s", 0)


@given(st.integers(1, 1 << 40), st.sampled_from(sorted(SIZES)), st.sampled_from(["", " "]))
def test_whole_numbers_are_exact(number: int, unit: str, space: str) -> None:
    if number * SIZES[unit] < 1 << 63:
        assert parse_size(f"{number}{space}{unit}", "memory") == number * SIZES[unit]


@given(st.decimals(0, 10**4, places=3), st.sampled_from(sorted(DURATIONS)))
def test_durations_are_as_near_as_a_float_can_be(number: object, unit: str) -> None:
    assert parse_duration(f"{number} {unit}".upper(), "ttl") == float(Fraction(str(number)) * DURATIONS[unit])


@given(st.integers(1, 1 << 62))
def test_a_size_is_near_what_is_shown(number: int) -> None:
    shown = format_size(number)
    assert abs(parse_size(shown, "memory") - number) <= number * 0.051
    assert len(shown) <= len("1023.9 TiB") or number >= 1 << 60


@given(st.floats(1e-9, 1e9))
def test_a_duration_is_near_what_is_shown(seconds: float) -> None:
    assert abs(parse_duration(format_duration(seconds), "ttl") - seconds) <= max(0.0005, seconds * 0.051)


@given(st.integers(1, 1 << 62))
def test_a_number_means_itself(number: int) -> None:
    assert [parse_size(text, "memory") for text in (number, str(number), f"{number} B")] == [number] * 3


def test_ages_and_counts() -> None:
    assert [format_age(seconds) for seconds in (-1, 0, 59, 61, 7200, 3 * 86400, 800 * 86400)] == [
        "0 s", "0 s", "59 s", "1 min", "2 h", "3 d", "2 y",
    ]  # fmt: skip
    assert [count(0, "array"), count(1, "array"), count(1200, "array"), count(2, "process", "processes")] == [
        "0 arrays", "1 array", "1,200 arrays", "2 processes",
    ]  # fmt: skip


def test_docstrings() -> None:
    assert doctest.testmod(units) == (0, 5)
