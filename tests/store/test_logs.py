"""What outlive logs: a library that installs nothing in a program, and actors that write their log themselves."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outlive import actor_logs


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    log = logging.getLogger("outlive")
    monkeypatch.setattr(log, "handlers", [])
    before = log.level
    yield log
    log.setLevel(before)


def begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process of Ray: pytest has handlers at the root."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    actor_logs.begin()


def test_a_program_gets_no_handler_and_no_level() -> None:
    program = """
import logging
import outlive.store.store, outlive.workers, outlive.cluster.keeper, outlive.cli.app
names = [name for name in logging.Logger.manager.loggerDict if name.split(".")[0] == "outlive"]
assert len(names) > 10, names
for name in names:
    log = logging.getLogger(name)
    assert (log.handlers, log.level, log.propagate) == ([], logging.NOTSET, True), name
logging.getLogger("outlive.store").warning("is seen")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "is seen\n"  # by Python's own rule for a program that configures nothing


@pytest.mark.parametrize(
    ("asked", "level"), [(None, logging.WARNING), ("info", logging.INFO), (" DEBUG ", logging.DEBUG)]
)
def test_an_actor_writes_its_log_once(
    log: logging.Logger,
    asked: str | None,
    level: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(actor_logs.SETTING, raising=False)
    if asked is not None:
        monkeypatch.setenv(actor_logs.SETTING, asked)
    begin(monkeypatch)
    begin(monkeypatch)
    assert log.level == level
    assert len(log.handlers) == 1
    logging.getLogger("outlive.cluster.keeper").warning("a node is dead")
    said = capsys.readouterr().err
    assert said.endswith(" WARNING outlive.cluster.keeper: a node is dead\n")
    assert said.count("\n") == 1


def test_a_level_that_there_is_not_is_said_and_warnings_are_written(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(actor_logs.SETTING, "loud")
    begin(monkeypatch)
    assert log.level == logging.WARNING
    assert "OUTLIVE_LOG='loud' is no level: there are debug, info, warning, error" in capsys.readouterr().err


def test_a_handler_that_the_program_had_ray_install_is_left_in_charge(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])
    actor_logs.begin()
    assert log.handlers == []
    log.warning("a node is dead")
    assert caplog.messages == ["a node is dead"]


def test_the_page_tells_of_the_setting() -> None:
    page = (Path(__file__).parents[2] / "docs" / "logging.md").read_text()
    assert f"`{actor_logs.SETTING}`" in page
