"""The sources that doctor and explain name are links on a terminal, and plain text elsewhere."""

from __future__ import annotations

import doctest
import io

import pytest
from rich.console import Console
from rich.text import Text

from outlive import citations
from outlive.cli import doctor_command
from outlive.explain import read, render

URL = "https://github.com/ray-project/ray"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{URL}/issues/60546 (reported of 2.53.0), {URL}/pull/60581.", [f"{URL}/issues/60546", f"{URL}/pull/60581"]),
        ("python/ray/exceptions.py, ActorDiedError", [f"{URL}/blob/ray-2.60.0/python/ray/exceptions.py"]),
        ("src/ray/a.h; src/ray/b_c/d.cc", [f"{URL}/blob/ray-2.60.0/src/ray/{name}" for name in ("a.h", "b_c/d.cc")]),
        ("https://docs.ray.io/en/latest/a.html#b (why)", ["https://docs.ray.io/en/latest/a.html#b"]),
        ("no source, /usr/src/ray/a.cc, src/rays/a.cc, src/ray/", []),
    ],
)
def test_addresses(text: str, found: list[str]) -> None:
    assert [address for _, _, address in citations.citations(text)] == found


def test_the_example() -> None:
    assert doctest.testmod(citations).failed == 0


def rendered(text: Text, **options: object) -> str:
    file = io.StringIO()
    Console(file=file, **{"force_terminal": True, "width": 200, **options}).print(text)  # type: ignore[arg-type]
    return file.getvalue()


def test_a_terminal_gets_links_and_others_get_text() -> None:
    text = citations.link(Text("Ray: src/ray/a.h"))
    assert f";{URL}/blob/ray-2.60.0/src/ray/a.h\x1b\\" in rendered(text, color_system="standard")
    assert rendered(text, color_system=None) == rendered(text, force_terminal=False) == "Ray: src/ray/a.h\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [80, 120])
def test_explain_links_its_sources(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = f"ray.exceptions.OwnerDiedError: Failed to retrieve object 00{'f' * 38}0100000001e1f505"
    for file, linked in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(render.sys, "stdout", file)
        render.show_reading(read(text))
        assert "Sources: " in file.getvalue()
        assert "# instead of: return [ray.put(array)]\n" in Text.from_ansi(file.getvalue()).plain  # code is not broken
        assert ("\x1b]8;" in file.getvalue()) is linked


def test_doctor_links_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    source = "Ray: src/ray/raylet/worker_pool.cc, TryKillingIdleWorkers; https://docs.ray.io/en/latest/a.html (why)"
    file = Terminal()
    monkeypatch.setattr(doctor_command.sys, "stdout", file)
    doctor_command._show_source(source)
    assert file.getvalue().count("\x1b]8;id=") == 2
    lines = Text.from_ansi(file.getvalue()).plain.splitlines()
    assert lines[0].startswith("   source Ray: ")
    assert max(map(len, lines)) <= 80
