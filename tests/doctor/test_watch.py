"""`outlive doctor --watch`, its exit codes, and the form of `--json`. No Ray."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from importlib import resources

import jsonschema
import pytest
from typer.testing import CliRunner

import outlive.doctor
from outlive.cli import doctor_command, doctor_watch
from outlive.cli.app import app
from outlive.doctor.changes import changes
from outlive.doctor.model import SCHEMA, Diagnosis, Evidence, Symptom, Unchecked
from outlive.errors import StoreUnavailable

OWNERS = Symptom("idle-owners", "waste", "2 workers", "why", "fix", (Evidence("idle for 3 s", "ab", 7),), weight=9)
KEPT = Symptom("kept-node", "info", "1 node", "why", "fix", (Evidence("an actor", node="cd", numbers={"w": 0.5}),), "s")
SILENT = Unchecked("references", "no node answered")


def diagnosis(*findings: Symptom, unchecked: tuple[Unchecked, ...] = (), muted: tuple[Symptom, ...] = ()) -> Diagnosis:
    return Diagnosis("2.60.0", 2, 4, findings, unchecked, muted, ("a note",))


def watched(*looks, show=None):
    """The exit code after these looks, when somebody presses Ctrl-C."""
    rest = list(looks)

    def look():
        if not rest:
            raise KeyboardInterrupt
        found = rest.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found

    return doctor_watch.watch(look, 1.0, show, rest=lambda _: None)


def shown(now, since):
    doctor_command.show_again(now, since, None)


def test_only_changes_are_printed_after_the_first(capsys):
    later = dataclasses.replace(OWNERS, what="2 workers still", evidence=(Evidence("idle for 9 s", "ab", 7),))
    assert watched(diagnosis(OWNERS), diagnosis(later), diagnosis(later, KEPT), diagnosis(KEPT), show=shown) == 0
    said = capsys.readouterr().out
    assert said.count("2 workers  [idle-owners]") == 1
    assert said.count("idle for 9 s") == 0
    assert "new: INFO  1 node  [kept-node]" in said
    assert "gone: 2 workers still  [idle-owners]" in said
    assert said.count("--- ") == 2


def test_a_check_that_cannot_be_made_ends_no_finding(capsys):
    blind = diagnosis(unchecked=(SILENT,))
    assert not changes(diagnosis(OWNERS), blind).gone
    assert watched(diagnosis(OWNERS), blind, diagnosis(), show=shown) == 0
    said = capsys.readouterr().out
    assert "not checked: references: no node answered" in said
    assert "checked again: references" in said


CHECKS = {"idle-owners": "owners", "kept-node": "nodes"}


def seen(*findings: Symptom, unchecked: tuple[str, ...] = ()) -> Diagnosis:
    missed = tuple(Unchecked(name, "a process is silent") for name in unchecked)
    return dataclasses.replace(diagnosis(*findings, unchecked=missed), checks=CHECKS)


def test_a_check_that_is_never_made_hides_no_other(capsys):
    """As where a process is silent for days: what is gone is told all the same, as text and as JSON."""
    looks = [seen(OWNERS, KEPT, unchecked=("references",)), seen(KEPT, unchecked=("references",))]
    watched(*looks, show=shown)
    assert "gone: 2 workers  [idle-owners]" in capsys.readouterr().out
    watched(*looks)
    assert [len(json.loads(line)["findings"]) for line in capsys.readouterr().out.splitlines()] == [2, 1]


def test_a_finding_is_not_new_as_its_check_is_made_again(capsys):
    blind = seen(KEPT, unchecked=("owners",))
    watched(seen(OWNERS, KEPT), blind, blind, seen(OWNERS, KEPT), show=shown)
    assert "new: " not in (said := capsys.readouterr().out) and "gone: " not in said
    watched(seen(OWNERS, KEPT), blind, blind, seen(KEPT), show=shown)
    assert capsys.readouterr().out.count("gone: 2 workers  [idle-owners]") == 1


@pytest.mark.parametrize(
    ("looks", "code"),
    [
        ([diagnosis()], 0),
        ([diagnosis(KEPT)], 0),
        ([diagnosis(OWNERS)], 1),
        ([diagnosis(unchecked=(SILENT,))], 1),
        ([diagnosis(OWNERS), diagnosis()], 0),
        ([diagnosis(), StoreUnavailable("no GCS")], 2),
        ([StoreUnavailable("no GCS"), diagnosis(OWNERS)], 1),
        ([], 0),
    ],
)
def test_the_exit_code_is_that_of_the_last_look(looks, code):
    assert watched(*looks) == code


def test_a_cluster_that_does_not_answer_is_told_once(capsys):
    gone = StoreUnavailable("no GCS")
    watched(diagnosis(), gone, gone, diagnosis(), gone, show=shown)
    assert capsys.readouterr().err.count("no GCS") == 2


def test_that_it_answers_again_is_told(capsys):
    watched(diagnosis(OWNERS), StoreUnavailable("no GCS"), diagnosis(OWNERS), diagnosis(OWNERS))
    assert len(capsys.readouterr().out.splitlines()) == 2
    watched(diagnosis(), StoreUnavailable("no GCS"), diagnosis(), diagnosis(), show=shown)
    assert capsys.readouterr().out.count("--- ") == 1


def test_no_descriptor_for_a_moment_does_not_end_it(capsys):
    assert watched(diagnosis(), OSError(24, "Too many open files"), diagnosis(OWNERS)) == 1
    assert "Too many open files" in capsys.readouterr().err


def test_a_look_that_joined_the_cluster_leaves_out_its_own_job_from_then_on(monkeypatch):
    from outlive.cli import workers_connection

    jobs, left_out = [None, "02000000"], list[str | None]()

    def examine(own_job, **_):
        left_out.append(own_job)
        return diagnosis()

    monkeypatch.setattr(workers_connection, "found", lambda address: jobs.pop(0))
    monkeypatch.setattr(outlive.doctor, "examine", examine)
    for _ in range(2):
        doctor_command.look_once(None, False, ())
    assert left_out == [None, "02000000"]


def test_as_json_each_line_is_a_whole_look(capsys):
    watched(diagnosis(OWNERS), diagnosis(OWNERS), diagnosis(OWNERS, KEPT))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert [len(one["findings"]) for one in (first, second)] == [1, 2]
    for one in (first, second):
        jsonschema.validate(one, schema())


def schema():
    return json.loads(resources.files(outlive.doctor).joinpath("schema.json").read_text("utf-8"))


def test_what_is_printed_is_as_the_schema_says():
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["$id"] == schema()["properties"]["schema"]["const"] == SCHEMA
    found = json.loads(json.dumps(diagnosis(OWNERS, unchecked=(SILENT,), muted=(KEPT,)).to_json()))
    jsonschema.validate(found, schema())
    for name in found:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({key: value for key, value in found.items() if key != name}, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "healthy": 0}, schema())


def test_the_schema_describes_every_key():
    found = diagnosis(OWNERS).to_json()
    assert set(found) == set(schema()["properties"]) == set(schema()["required"])
    one = found["findings"][0]
    assert set(one) == set(schema()["$defs"]["finding"]["properties"])
    assert set(one["evidence"][0]) == set(schema()["$defs"]["evidence"]["properties"])


def test_a_time_that_is_none_is_wrong_usage():
    for given in ("soon", "0.1s"):
        result = CliRunner().invoke(app, ["doctor", "--watch", given, "--address", "127.0.0.1:1"])
        assert result.exit_code == 2, given
        assert "--watch" in result.stderr


def test_help_says_the_codes():
    said = " ".join(CliRunner().invoke(app, ["doctor", "--help"], env={"COLUMNS": "200"}).stdout.split())
    assert "2 could not look" in said and "With --watch, that of the last look" in said


PROGRAM = """
import sys, time
from outlive.cli import doctor_watch
from outlive.cli.failures import outcome
from outlive.doctor.model import Diagnosis, Symptom
found = Diagnosis("2.60.0", 1, None, (Symptom("kept-node", "risk", "a", "b", "c"),), ())
sys.exit(outcome(lambda: doctor_watch.watch(lambda: found, 3600, None), as_json=True))
"""


def test_ctrl_c_ends_it_cleanly():
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["findings"]
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 1
        assert process.stderr.read() == b""
