"""A change of a YAML file touches the planned value and nothing else: in every style, at every place."""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import stat

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from outlive.errors import BadClusterFile
from outlive.workers import yaml_nodes
from outlive.workers.plain_data import same
from outlive.workers.yaml_file import YamlFile
from outlive.workers.yaml_nodes import Scalar
from outlive.workers.yaml_scalars import emit, letters
from tests.long import few

TEXTS = st.text(alphabet="abc \n\t'\"\\#:-{}[],&*!|>%@`~é\u2028", min_size=1, max_size=40)
STYLES = st.sampled_from([None, "'", '"', "|", ">"])


def changed(before: str, after: str) -> list[tuple[list[str], list[str]]]:
    """The groups of lines that differ."""
    one, two = before.splitlines(keepends=True), after.splitlines(keepends=True)
    codes = difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    return [(one[a:b], two[c:d]) for code, a, b, c, d in codes if code != "equal"]


@settings(deadline=None)
@given(TEXTS, STYLES, st.integers(8, 80))
def test_letters_stand_where_they_are_said_to(text, style, width):
    dumped = yaml.dump({"a": [text], "b": text}, default_style=style, width=width, allow_unicode=True)
    for node in yaml_nodes.walk(yaml_nodes.parse(dumped, "x")[0]):
        made = letters(dumped, node) if isinstance(node, Scalar) else None
        if made is None:
            continue
        assert made.text.rstrip("\n") == node.text.rstrip("\n")
        for letter, start, end in zip(made.value, made.starts, made.ends, strict=True):
            assert start <= end
            if letter in "abcé{}[]&*|>%@`~":
                assert dumped[start:end] == letter


@settings(max_examples=few(200), deadline=None)
@given(TEXTS, STYLES, st.integers(8, 80), st.data(), st.sampled_from(["x", " --a='{\"b\":1}'", "", " x: y", "'"]))
def test_a_text_changes_in_place(text, style, width, data, new):
    dumped = yaml.dump({"a": [text, 1], "b": 2}, default_style=style, width=width, allow_unicode=True)
    file = YamlFile(dumped, "x")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    whole = text[:start] + new + text[end:]
    assume(file.value((0, "a", 0)) == text)
    try:
        file.splice((0, "a", 0), start, end, new)
    except BadClusterFile:
        assert file.text == dumped
        return
    assert yaml.safe_load(file.text)["a"][0] == whole
    assert file.text.splitlines()[-1] == dumped.splitlines()[-1]


@pytest.mark.parametrize(
    "style", ["ray start --head", "'ray start --head'", '"ray start --head"', "|\n    ray start --head"]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_styles_line_ends_and_byte_order_marks_stay(style, newline, bom):
    text = bom + f"a: 1 # one\n\ncommands:\n  - {style}\n\n  # two\n  - x\n".replace("\n", newline)
    file = YamlFile(text, "x")
    file.splice((0, "commands", 0), 16, 16, " --x='1'")
    assert [(len(old), len(new)) for old, new in changed(text, file.text)] == [(1, 1)]
    assert yaml.safe_load(file.text)["commands"][0].rstrip("\n") == "ray start --head --x='1'"
    assert file.text.count("\r\n") == text.count("\r\n")


NEW_KEYS = {
    "block": ("a:\n  b: 1 # one\n\nc: 2\n", (0, "a", "new"), "a:\n  b: 1 # one\n  new: 5\n\nc: 2\n"),
    "flow": ("a: {b: 1} # one\n", (0, "a", "new"), "a: {b: 1, new: 5} # one\n"),
    "flow with a last comma": ("a: {b: 1,\n  }\n", (0, "a", "new"), "a: {b: 1, new: 5,\n  }\n"),
    "empty": ("a: {} # one\n", (0, "a", "new"), "a: {new: 5} # one\n"),
    "nothing": ("a: # one\nc: 2\n", (0, "a", "new"), "a: # one\n  new: 5\nc: 2\n"),
    "null": ("a: ~ # one\n", (0, "a", "new"), "a: {new: 5} # one\n"),
    "nothing, in braces": ("{a: , c: 2}\n", (0, "a", "new"), "{a: {new: 5} , c: 2}\n"),
    "missing": ("a:\n  b: 1\n", (0, "d", "new"), "a:\n  b: 1\nd:\n  new: 5\n"),
    "no end of line": ("a:\n  b: 1", (0, "a", "new"), "a:\n  b: 1\n  new: 5"),
    "behind a literal": ("a:\n  b: |\n   # y\n\n\nc: 2\n", (0, "a", "new"), "a:\n  b: |\n   # y\n  new: 5\n\n\nc: 2\n"),
    "behind kept lines": ("a:\n  b: |+\n    x\n\nc: 2\n", (0, "a", "new"), "a:\n  b: |+\n    x\n\n  new: 5\nc: 2\n"),
    "an alias": ("x: &x {b: 1}\na: *x # one\n", (0, "a", "new"), "x: &x {b: 1}\na: {<<: *x, new: 5} # one\n"),
    "merged": (
        "x: &x {y: {b: 1}}\na:\n  <<: *x\n",
        (0, "a", "y", "new"),
        "x: &x {y: {b: 1}}\na:\n  <<: *x\n  y:\n    b: 1\n    new: 5\n",
    ),
    "over a merged": ("x: &x {new: 1}\na:\n  <<: *x\n", (0, "a", "new"), "x: &x {new: 1}\na:\n  <<: *x\n  new: 5\n"),
    "second document": ("a: 1\n---\na:\n  b: 1\n...\n", (1, "a", "new"), "a: 1\n---\na:\n  b: 1\n  new: 5\n...\n"),
    "anchor and tag": ("a: !!map &a\n  b: 1\n", (0, "a", "new"), "a: !!map &a\n  b: 1\n  new: 5\n"),
    "CRLF": ("a:\r\n  b: 1\r\nc: 2\r\n", (0, "a", "new"), "a:\r\n  b: 1\r\n  new: 5\r\nc: 2\r\n"),
    "JSON": ('{"a": {"b": 1}}\n', (0, "a", "new"), '{"a": {"b": 1, "new": 5}}\n'),
}  # fmt: skip


@pytest.mark.parametrize("name", NEW_KEYS)
def test_new_keys(name):
    text, path, wanted = NEW_KEYS[name]
    file = YamlFile(text, "x")
    file.set(path, 5)
    assert file.text == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: 1 # one\n", "a: 5 # one\n"),
        ("a:\n    1\nb: 2\n", "a:\n    5\nb: 2\n"),
        ("a: '1' # one\n", "a: 5 # one\n"),
        ("a: &x 1\n", "a: &x 5\n"),
        ("a: !!int 1\n", "a: !!int 5\n"),
        ("a: # one\nb: 2\n", "a: 5 # one\nb: 2\n"),
        ("b: &x 1\na: *x # one\n", "b: &x 1\na: 5 # one\n"),
        ("a: &x 1\nb: *x # one\nc: [*x, 2]\n", "a: &x 5\nb: 1 # one\nc: [1, 2]\n"),
        ("a: 1\na: 2\n", "a: 1\na: 5\n"),
        ("a: 5\n", "a: 5\n"),
        ("a: 5.0\n", "a: 5\n"),
        ("? a\n: 1\n", "? a\n: 5\n"),
    ],
)
def test_values(text, wanted):
    file = YamlFile(text, "x")
    file.set((0, "a"), 5)
    assert file.text == wanted


def test_json_stays_json():
    text = '{"kind": "RayCluster", "spec": {"a": {}, "b": "c", "d": null}}'
    file = YamlFile(text, "x.json")
    file.set((0, "spec", "a", "x"), 'y"z')
    file.set((0, "spec", "b"), "e")
    file.set((0, "spec", "d", "f"), True)
    assert json.loads(file.text)["spec"] == {"a": {"x": 'y"z'}, "b": "e", "d": {"f": True}}


def test_what_two_places_share_is_not_changed_for_both():
    file = YamlFile("head: &p\n  b: 1\nworker: *p\n", "x")
    with pytest.raises(BadClusterFile, match="head is the anchor &p, which line 3 uses: both would change"):
        file.set((0, "head", "new"), 5)
    assert file.text == file.original
    file.set((0, "worker", "new"), 5)
    assert yaml.safe_load(file.text) == {"head": {"b": 1}, "worker": {"b": 1, "new": 5}}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a:\n  b: 1 # one\n  # two\n  c: 2\n", "a:\n  # two\n  c: 2\n"),
        ("a:\n  c: 2\n  b: >-\n    1\n    2\n\nd: 3\n", "a:\n  c: 2\n\nd: 3\n"),
        ("a: {b: 1, c: 2} # one\n", "a: {c: 2} # one\n"),
        ("a: {c: 2,\n  b: 1} # one\n", "a: {c: 2} # one\n"),
        ("a:\r\n  c: 2\r\n  b: 1", "a:\r\n  c: 2\r\n"),
    ],
)
def test_a_key_is_taken_out(text, wanted):
    file = YamlFile(text, "x")
    file.remove((0, "a", "b"))
    assert file.text == wanted


@pytest.mark.parametrize("text", ["a: {b: 1}\n", "a:\n- b: 1\n  c: 2\n", "x: &x {b: 1, c: 2}\na: *x\n", "a: 1\n"])
def test_a_key_that_is_not_taken_out(text):
    file = YamlFile(text, "x")
    with pytest.raises(BadClusterFile):
        file.remove((0, "a", 0, "b") if "-" in text else (0, "a", "b"))
    assert file.text == text


def test_a_key_is_renamed_in_its_quotes():
    file = YamlFile("a:\n  'b' : {\"c\": 1} # b\n", "x")
    file.rename((0, "a", "b"), "d")
    file.rename((0, "a", "d", "c"), "e")
    assert file.text == "a:\n  'd' : {\"e\": 1} # b\n"


LAUGHS = "a: &a [1,2,3,4,5,6,7,8,9]\n" + "".join(
    f"{two}: &{two} [{','.join([f'*{one}'] * 9)}]\n" for one, two in itertools.pairwise("abcdefgh")
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &a [*a]\n", "contains itself"),
        ("a: *b\n", "no anchor &b"),
        ("[" * 3000, "no YAML|nested too deeply"),
        (LAUGHS, "aliases"),
        ("? [a]\n: 1\n", "line 1: a key"),
        ("a: 1\n\tb: 2\n", "line 2: no YAML"),
        ("", "no YAML mapping"),
        ("- 1\n", "no YAML mapping"),
    ],
)  # fmt: skip
def test_what_is_refused(text, why):
    with pytest.raises(BadClusterFile, match=why):
        YamlFile(text, "x")


def test_a_template_keeps_its_parts():
    text = "name: {{ .Name }} # n\nhead:\n  image: '{{ .Image }}'\n  a: 1\n"
    file = YamlFile(text, "x")
    assert file.template and not file.unread
    file.set((0, "head", "a"), 5)
    assert file.text == text.replace("a: 1", "a: 5")
    assert YamlFile("{{- if .x }}\na: 1\n{{- end }}\n", "x").unread == [1, 3]


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    path.write_text("a: 1\n")
    path.chmod(0o640)
    link = tmp_path / "l.yaml"
    link.symlink_to(path)
    file = YamlFile.read(link)
    file.set((0, "a"), 5)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        file.write(link)
    assert path.read_text() == "a: 1\n" and len(list(tmp_path.iterdir())) == 2
    monkeypatch.undo()
    file.write(link)
    assert path.read_text() == "a: 5\n" and link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("case", ["two names", "a mount", "no new files", "another's"])
def test_where_no_new_file_can_take_its_place_it_is_written_in_place(tmp_path, monkeypatch, case):
    path = tmp_path / "c.yaml"
    path.write_text("a: 123456789\n")
    number = path.stat().st_ino
    refused = lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted"))  # noqa: E731
    if case == "two names":
        (tmp_path / "other").hardlink_to(path)
    elif case == "a mount":
        monkeypatch.setattr("pathlib.Path.replace", refused)
    elif case == "no new files":
        monkeypatch.setattr("tempfile.mkstemp", refused)
    else:
        monkeypatch.setattr("os.chown", refused)
    file = YamlFile.read(path)
    file.set((0, "a"), 5)
    file.write(path)
    assert path.read_text() == "a: 5\n" and path.stat().st_ino == number
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_same_tells_types_apart():
    assert same({"a": [1, None, float("nan")]}, {"a": [1, None, float("nan")]})
    for one, other in ((1, 1.0), (1, True), ({"a": 1}, {"b": 1}), ([1], [1, 2]), ({1: 2}, {True: 2})):
        assert not same([copy.deepcopy(one)], [other])


@settings(deadline=None)
@given(st.recursive(TEXTS | st.integers() | st.booleans() | st.none(), lambda below: st.lists(below, max_size=3)))
def test_what_is_written_reads_as_itself(value):
    assert yaml.safe_load(f"a: {emit(value)}\n") == {"a": value}
    assert yaml.safe_load(f"[{emit(value)}, 1]\n") == [value, 1]
