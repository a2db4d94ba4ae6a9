"""Pages and code are for people: lines that a review shows whole, sentences that begin with their subject."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages.page import DOCS, WIDTH

ROOT = DOCS.parent
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
# Of these docs/design.md tells all.
ROOMS = (
    "zarr", "store", "archive", "local", "cluster", "catalog", "arrays", "arrays/spill", "arrays/tend", "transfer",
    "calls", "values",
)  # fmt: skip
_RIDDLE = re.compile(r"(?:^|[.!?:] |[-*] |\*\*)(?:Who|What|Of which)\b|\b[Ss]hall\b")


def lines(page: Path) -> Iterator[tuple[int, str]]:
    """The lines of a page, without tables: these cannot be broken."""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.startswith("|"):
            yield number, line


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The paragraphs and the items of lists, each in one, with the number of its first line."""
    code, begun = False, list[tuple[int, str]]()
    for number, line in [*lines(page), (0, "")]:
        code ^= line.startswith("```")
        if begun and (code or not line or re.match(r"(?:[-*#>`]|\d+\.) ?", line)):
            yield begun[0][0], " ".join(text.strip() for _, text in begun)
            begun = []
        if line and not code and not line.startswith(("#", "```")):
            begun.append((number, line))


def texts(module: Path) -> Iterator[tuple[int, str]]:
    """The comments, docstrings and messages of a module, with the numbers of their lines."""
    source = module.read_text()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, " ".join(node.value.split())


def riddles(found: Iterator[tuple[int, str]]) -> list[str]:
    return [
        f"{number}: ...{text[match.start() : match.start() + 60]}"
        for number, text in found
        for match in _RIDDLE.finditer(text)
        if not text[match.start() :].split(". ")[0].endswith("?")
    ]


def about(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=about)
def test_no_line_is_too_long(page: Path) -> None:
    """A line of one long word, as an address, cannot be broken either."""
    found = [f"{number}: {line}" for number, line in lines(page) if len(line) > WIDTH and len(line.split()) > 1]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=about)
def test_no_sentence_is_a_riddle(page: Path) -> None:
    """`Who does this is that` has its subject in the middle; `shall` is for lawyers. A question may begin so."""
    assert riddles(prose(page)) == []


def test_no_sentence_of_the_code_is_a_riddle() -> None:
    found = {about(module): riddles(texts(module)) for module in (ROOT / "outlive").rglob("*.py")}
    assert {module: lines for module, lines in found.items() if lines} == {}


def test_the_design_names_every_module_and_no_other() -> None:
    layers = (DOCS / "design.md").read_text().split("\n## Layers\n")[1].split("\n## ")[0]
    modules = {path.stem for room in ROOMS for path in (ROOT / "outlive" / room).glob("*.py")} - {"__init__"}
    assert modules - set(re.findall(r"\w+", layers)) == set()
    assert set(re.findall(r"`(\w+)`", layers)) - modules == set()
