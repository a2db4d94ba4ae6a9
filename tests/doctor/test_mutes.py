"""`outlive-doctor.toml`: what it mutes, and what is wrong with it. No Ray."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import outlive.doctor
from outlive.cli.app import app
from outlive.doctor.kinds import KINDS
from outlive.doctor.model import Diagnosis, Evidence, Symptom
from outlive.doctor.mutes import FILE, Mute, apart, load, nearest
from outlive.errors import BadSetting
from outlive.ray_internals.node_workers import LiveNode

NODES = [LiveNode("ab" * 28, "10.0.0.7:1", "10.0.0.7", "gpu-7"), LiveNode("cd" * 28, "10.0.0.8:1", "10.0.0.8", "cpu-8")]
GPU, CPU = (node.node_id for node in NODES)


def finding(kind="kept-node", *nodes):
    return Symptom(kind, "waste", "seen", "", "", tuple(Evidence("there", node=node) for node in nodes))


@pytest.mark.parametrize("pattern", [None, "gpu-7", "GPU-*", "10.0.0.7", "abab", GPU])
def test_a_finding_is_muted_by_kind_and_by_any_name_of_its_node(pattern):
    found = [finding("kept-node", GPU), finding("kept-node", CPU), finding("idle-owners", GPU)]
    left, muted = apart(found, [Mute("kept-node", pattern)], NODES)
    assert muted == (found[:2] if pattern is None else found[:1])
    assert len(left) + len(muted) == 3


def test_one_that_was_seen_on_a_node_that_is_not_muted_stays_and_says_so():
    (left,), muted = apart([finding("idle-owners", GPU, CPU)], [Mute("idle-owners", "gpu-*")], NODES)
    assert muted == []
    assert [one.node for one in left.evidence] == [CPU]
    assert "1 of 2 places are muted" in left.what
    both = [Mute("idle-owners", "gpu-*"), Mute("idle-owners", "10.0.0.8")]
    assert apart([finding("idle-owners", GPU, CPU)], both, NODES)[0] == []


def test_what_belongs_to_no_node_is_muted_by_its_kind_alone():
    of_the_head = Symptom("reaper-off", "waste", "", "", "", (Evidence("the head's system config"),))
    assert apart([of_the_head], [Mute("reaper-off", "*")], NODES)[1] == []
    assert apart([of_the_head], [Mute("reaper-off")], NODES)[1] == [of_the_head]


def test_the_nearest_file_above(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / FILE).write_text('[[mute]]\nkind = "kept-node"\nnode = "gpu-*"\nreason = "kept warm"\n')
    assert nearest(tmp_path / "a" / "b") == tmp_path / FILE
    assert load(tmp_path / FILE) == (Mute("kept-node", "gpu-*", "kept warm"),)
    assert load(Path("/dev/null")) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[mute]]\nkind = "kept-nodes"', "no finding is called 'kept-nodes'; there are: doomed-refs, idle-borrowers"),
        ('[[mute]]\nnode = "gpu-7"', "it needs a kind; there are: doomed-refs"),
        ('[[mute]]\nkind = "kept-node"\nnodes = "x"', "no key 'nodes'; there are: kind, node, reason"),
        ('[[mute]]\nkind = "kept-node"\nnode = 7', "node is to be a text, not 7"),
        ('[mute]\nkind = "kept-node"', "[[mute]], in two brackets"),
        ("[[mutes]]", "no table 'mutes'"),
        ("mute = [", FILE),
    ],
)
def test_what_is_wrong_with_a_file_is_said_before_anything_is_looked_at(tmp_path, text, said):
    path = tmp_path / FILE
    path.write_text(text)
    with pytest.raises(BadSetting, match=re.escape(said)):
        load(path)
    result = CliRunner().invoke(app, ["doctor", "--mutes", str(path), "--address", "127.0.0.1:1"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "--mutes" not in result.stderr
    missing = CliRunner().invoke(app, ["doctor", "--mutes", str(tmp_path / "none"), "--address", "127.0.0.1:1"])
    assert missing.exit_code == 2
    assert "No such file" in missing.stderr


def test_every_kind_that_a_check_yields_has_a_name_that_can_be_muted():
    package = Path(outlive.doctor.__file__).parents[1]
    sources = [*(package / "doctor" / "checks").glob("*.py"), package / "workers" / "checking" / "system_settings.py"]
    made = re.compile(r'kind="([a-z-]+)"|(?:Symptom|Misconfiguration)\(\s*"([a-z-]+)"')
    kinds = {kind for path in sources for kind in made.findall(path.read_text())}
    assert {one or other for one, other in kinds} == set(KINDS)


def test_information_and_what_is_muted_leave_it_healthy():
    told = Symptom("kept-node", "info", "", "", "")
    assert Diagnosis("2.60.0", 1, 0, (told,), (), muted=(finding(),)).healthy
    assert not Diagnosis("2.60.0", 1, 0, (told, finding()), ()).healthy
