"""The site of docs/: its reference is whole, its links lead somewhere, its commands exist, its programs are run."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import outlive
from tests.pages import commands, links
from tests.pages.page import DOCS
from tests.pages.test_words import PAGES, about
from website import commands as website_commands
from website import navigation, outside, python

_BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_BY = {  # where another test runs the programs of pages
    "rules/": "tests/lint/test_pages_run.py",
    "idle-memory.md": "tests/pages/test_programs.py",
    "howto/serve.md": "tests/pages/test_programs.py",
}


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The pages that have no file. They take half a second, which whoever only collects this file is spared."""
    return {**python.pages(), website_commands.PAGE: website_commands.page()}


@pytest.fixture(scope="module")
def anchors(made: dict[str, str]) -> dict[Path, set[str]]:
    return {DOCS / path: links.anchors(text) for path, text in made.items()}


@pytest.mark.parametrize("module", python.MODULES)
def test_every_public_name_has_an_entry(module: str, made: dict[str, str]) -> None:
    if module in {"outlive.dask", "outlive.xarray", "outlive.zarr"}:
        pytest.importorskip(module.removeprefix("outlive."), minversion="3" if module == "outlive.zarr" else None)
    if module == "outlive.data":
        pytest.importorskip("pyarrow")
        pytest.importorskip("pandas")
    text = "\n".join(made.values())
    missing = [name for name in importlib.import_module(module).__all__ if f"\n::: {module}.{name}\n" not in text]
    assert missing == []


def test_no_public_module_is_forgotten(made: dict[str, str]) -> None:
    """A module of outlive that names what it promises is in the reference. `cli` promises a command."""
    folder = DOCS.parent / "outlive"
    modules = {path.parent: path for path in folder.glob("*/__init__.py")}
    modules |= {path.with_suffix(""): path for path in folder.glob("*.py") if path.stem != "__init__"}
    promising = {f"outlive.{one.name}" for one, path in modules.items() if "\n__all__ = " in path.read_text()}
    assert promising - {"outlive.cli"} == set(python.MODULES) - {"outlive"}
    assert "outlive.Store" in made["reference/outlive.md"] and hasattr(outlive, "Store")


def test_every_command_has_an_entry_with_its_options(made: dict[str, str]) -> None:
    page = made[website_commands.PAGE]
    for name, options in commands.options().items():
        entry = page.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
        assert [option for option in options if option.startswith("--") and option not in entry] == [], name


def test_the_navigation_names_every_page_once() -> None:
    named = navigation._paths(navigation.complete([{"Home": "index.md"}, {"Rules": [{navigation._RULES: []}]}]))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert sorted(named) == sorted({"index.md", *pages})


def test_the_site_lists_no_page_twice() -> None:
    nav = (DOCS.parent / "website" / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = re.findall(r"\S+\.md$", nav, re.MULTILINE)
    assert sorted(listed) == sorted(set(listed))


@pytest.mark.parametrize("page", [*PAGES, DOCS.parent / "benchmarks" / "README.md"], ids=about)
def test_links_lead_somewhere(page: Path, anchors: dict[Path, set[str]]) -> None:
    assert links.dead(page, anchors) == []


def test_links_of_a_page_that_is_elsewhere_are_moved() -> None:
    assert outside.linked("[a](docs/nodes.md#x) [b](CHANGELOG.md) [c](#d) [e](https://f)", "index.md") == (
        "[a](nodes.md#x) [b](changelog.md) [c](#d) [e](https://f)"
    )
    assert outside.linked("[a](../nodes.md) [b](slice.md)", "howto/index.md") == "[a](../nodes.md) [b](slice.md)"
    assert outside.linked("[a](../CONTRIBUTING.md)", "nodes.md") == "[a](contributing.md)"
    assert outside.linked("[a](../Makefile)", "nodes.md") == "[a](source/Makefile.md)"


@pytest.mark.parametrize("page", PAGES, ids=about)
def test_commands_are_there(page) -> None:
    assert {
        " ".join(words): wrong for words in commands.shown(page.read_text()) if (wrong := commands.wrong(words))
    } == {}


def test_a_command_that_is_not_there_is_noticed() -> None:
    lines = "outlive ls --long", "$ outlive workers trim --yes | cat", "cat x | outlive explode", "outlive ls --lang"
    page = "\n".join(["```sh", *lines, "```"])
    wrong = [commands.wrong(words) for words in commands.shown(page)]
    assert wrong == ["", "", "no command 'explode'", "outlive ls has no --lang"]


@pytest.mark.parametrize("page", PAGES, ids=about)
def test_every_program_is_run(page) -> None:
    """A block of Python has `>>>`, so that tests/cluster/test_doctests.py runs it, or another test does."""
    if any(about(page).startswith(f"docs/{name}") for name in RUN_BY):
        return
    assert [
        body for kind, body in _BLOCK.findall(page.read_text()) if kind == "python" and not body.startswith(">>> ")
    ] == []
