"""`outlive lint` as a command: paths, options, formats and exit codes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.lint import RULES
from outlive.lint.pages import page

BAD = "import ray\nray.put(1, _owner=a)\n"
FIXABLE = "import ray\nray.put(1, _owner=None)\n"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def lint(*arguments: str, stdin: bytes | None = None):
    return CliRunner().invoke(app, ["lint", *arguments], input=stdin)


def as_json(*arguments: str, **options):
    return json.loads(lint("--json", *arguments, **options).stdout)


def test_clean_findings_and_failures_are_0_1_and_2():
    Path("clean.py").write_text("import ray\n")
    Path("bad.py").write_text(BAD)
    Path("broken.py").write_text("import ray\ndef (\n")
    assert [lint(name).exit_code for name in ("clean.py", "bad.py", "broken.py", "missing.py")] == [0, 1, 2, 2]
    result = lint(".")
    assert result.exit_code == 2  # and yet all files are linted
    assert result.stdout.startswith("bad.py:2:1: OUT101 put-owner: ")
    assert "    why: Ray 2.56 removed" in result.stdout
    assert "    fix: " in result.stdout
    assert "error: broken.py:2:" in result.stderr
    assert result.stdout.endswith("3 files linted: 1 finding, 1 error\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"import ray\n\0", "null bytes"),
        (b"\xff\xfe\xfd ray", "cannot be decoded"),
        (b"# coding: nonsense\nimport ray", "cannot be decoded"),
        (b"# coding: undefined\nimport ray", "cannot be decoded"),
        (b"# coding: punycode\nimport ray", "cannot be decoded"),
        (b"import ray\nx = " + b"(" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_python_source(content, says):
    Path("a.py").write_bytes(content)
    result = lint("a.py")
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"# only a comment", b"\xef\xbb\xbfimport ray\n", b"import ray\r\n\x0c\n"]
)
def test_little_or_odd_source_is_clean(content):
    Path("a.py").write_bytes(content)
    assert lint("a.py").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--select", "OUT9", "a.py"),
        ("--ignore", "X", "a.py"),
        ("--format", "xml", "a.py"),
        ("--json", "--format", "sarif", "a.py"),
        ("--explain", "OUT999"),
        ("--no-such-option", "a.py"),
    ],
)
def test_wrong_usage_is_2(arguments):
    Path("a.py").write_text("")
    result = lint(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_what_root_fixes_stays_its_owner_s():
    Path("a.py").write_text(FIXABLE)
    os.chown("a.py", 1234, 1235)
    os.chmod("a.py", 0o2751)
    assert lint("--fix", "a.py").exit_code == 0
    found = os.stat("a.py")
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 1235, 0o2751)


def test_a_pipe_is_not_fixed_and_not_waited_for():
    os.mkfifo("pipe.py")
    with subprocess.Popen(["sh", "-c", "cat > pipe.py"], stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        writer.stdin.write(FIXABLE.encode())
        writer.stdin.close()
        run = [sys.executable, "-m", "outlive", "lint", "--fix", "pipe.py"]
        try:
            result = subprocess.run(run, capture_output=True, text=True, timeout=120)
        finally:
            writer.kill()
    assert result.returncode == 2
    assert "cannot be fixed: pipe.py is no regular file" in result.stderr
    assert os.listdir() == ["pipe.py"]
    assert stat.S_ISFIFO(os.stat("pipe.py").st_mode)


def test_an_encoding_that_would_change_the_rest_of_a_file_is_not_written():
    source = b"# coding: unicode_escape\n" + FIXABLE.encode()
    Path("a.py").write_bytes(source)
    result = lint("--fix", "a.py")
    assert result.exit_code == 2
    assert "would change the rest of it" in result.stderr
    assert Path("a.py").read_bytes() == source


def test_a_directory_is_walked_without_what_is_not_one_s_own():
    for name in ("src", ".venv/lib", ".git", "node_modules/x", "env", ".hidden", "build", "src/__pycache__"):
        Path(name).mkdir(parents=True)
        Path(name, "a.py").write_text(BAD)
    Path("env/pyvenv.cfg").touch()
    Path("src/notes.txt").write_text(BAD)
    Path("src/loop").symlink_to("..")
    Path("src/stub.pyi").write_text(BAD)
    Path("src/page.ipynb").write_text("{}")
    report = as_json(".")
    assert [finding["path"] for finding in report["findings"]] == ["src/a.py", "src/stub.pyi"]
    assert report["notebooks"] == 1
    assert [finding["path"] for finding in as_json("node_modules", "src/notes.txt", "src", "src/a.py")["findings"]] == [
        "node_modules/x/a.py",
        "src/notes.txt",
        "src/a.py",
        "src/stub.pyi",
    ]
    assert as_json("--exclude", "src/*.pyi", ".")["files"] == 1
    assert as_json("--exclude", "src", ".")["files"] == 0


def test_a_notebook_is_refused_clearly():
    Path("a.ipynb").write_text("{}")
    result = lint("a.ipynb")
    assert result.exit_code == 2
    assert "notebooks are not linted" in result.stderr


def test_select_and_ignore_by_prefix():
    Path("a.py").write_text(BAD + "A.options(lifetime='detached').remote()\n")

    def codes(*arguments):
        return [finding["code"] for finding in as_json(*arguments, "a.py")["findings"]]

    assert codes() == ["OUT101", "OUT301"]
    assert codes("--select", "OUT1") == codes("--ignore", "OUT3") == codes("--select", "out101,OUT2") == ["OUT101"]
    assert codes("--select", "ALL", "--ignore", "OUT") == []
    assert codes("--ignore", "OUT", "--select", "OUT301") == ["OUT301"]
    assert codes("--select", "OUT101", "--select", "OUT301") == ["OUT101", "OUT301"]


def test_configuration():
    Path("a.py").write_text(BAD)
    Path("pyproject.toml").write_text('[tool.outlive.lint]\nignore = ["OUT1"]\n')
    assert lint("a.py").exit_code == 0
    Path("pyproject.toml").write_text('[tool.outlive.lint]\nexclude = ["a.*"]\n')
    assert lint(".").exit_code == 0
    assert "no Python files" in lint(".").stderr
    for wrong in (
        '[tool.outlive.lint]\nselekt = ["OUT1"]',
        "[tool.outlive.lint]\nselect = 1",
        "[tool.outlive.lint",
        "[tool.outlive]\nlint = 1",
    ):
        Path("pyproject.toml").write_text(wrong)
        assert lint("a.py").exit_code == 2


def test_stdin():
    result = lint("-", stdin=BAD.encode())
    assert result.exit_code == 1
    assert result.stdout.startswith("-:2:1: OUT101")
    fixed = lint("--fix", "-", stdin=FIXABLE.encode())
    assert (fixed.exit_code, fixed.stdout) == (0, "import ray\nray.put(1)\n")
    assert "fixed OUT101" in fixed.stderr


def test_fix_shows_what_it_did_and_touches_nothing_else():
    path, link = Path("a.py"), Path("link.py")
    path.write_bytes(FIXABLE.replace("\n", "\r\n").encode("utf-8-sig"))
    path.chmod(0o751)
    link.symlink_to("a.py")
    result = lint("--fix", "link.py")
    assert result.exit_code == 0
    assert "-ray.put(1, _owner=None)" in result.stdout
    assert "+ray.put(1)" in result.stdout
    assert path.read_bytes() == b"\xef\xbb\xbfimport ray\r\nray.put(1)\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o751
    assert link.is_symlink()
    assert sorted(os.listdir()) == ["a.py", "link.py"]
    before = path.stat()
    assert lint("--fix", "a.py").exit_code == 0
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_fix_keeps_extended_attributes():
    Path("a.py").write_text(FIXABLE)
    try:
        os.setxattr("a.py", "user.origin", b"here")
    except OSError:
        pytest.skip("the filesystem has no extended attributes")
    assert lint("--fix", "a.py").exit_code == 0
    assert os.getxattr("a.py", "user.origin") == b"here"


def test_an_attribute_that_is_refused_holds_nothing_up(monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "listxattr", lambda _: ["security.x"])
    monkeypatch.setattr(os, "getxattr", refused)
    Path("a.py").write_text(FIXABLE)
    assert lint("--fix", "a.py").exit_code == 0
    assert Path("a.py").read_text() == "import ray\nray.put(1)\n"


def test_fix_parts_no_hard_links():
    Path("a.py").write_text(FIXABLE)
    os.link("a.py", "b.py")
    result = lint("--fix", "a.py")
    assert result.exit_code == 2
    assert "hard link" in result.stderr
    assert os.path.samefile("a.py", "b.py")
    assert Path("b.py").read_text() == FIXABLE
    assert sorted(os.listdir()) == ["a.py", "b.py"]


def test_fix_leaves_what_it_cannot_fix():
    Path("a.py").write_text(FIXABLE + "ray.put(1, _owner=a)\n")
    assert lint("--fix", "a.py").exit_code == 1
    Path("broken.py").write_text(FIXABLE + "def (")
    assert lint("--fix", "broken.py").exit_code == 2
    assert Path("broken.py").read_text() == FIXABLE + "def ("


def test_a_file_that_changes_meanwhile_is_not_touched(monkeypatch):
    from outlive.lint import fixes

    def meanwhile(*arguments):
        Path("a.py").write_text("mine")
        return before(*arguments)

    before = fixes.fixed
    monkeypatch.setattr(fixes, "fixed", meanwhile)
    Path("a.py").write_text(FIXABLE)
    result = lint("--fix", "a.py")
    assert result.exit_code == 2
    assert "changed meanwhile" in result.stderr
    assert Path("a.py").read_text() == "mine"
    assert os.listdir() == ["a.py"]


def test_rules_and_their_pages():
    listed = lint("--rules")
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(RULES)
    assert [rule["code"] for rule in json.loads(lint("--rules", "--json").stdout)] == list(RULES)
    for code in RULES:
        explained = lint("--explain", code.lower())
        assert (explained.exit_code, explained.stdout) == (0, page(code))
        assert page(code).startswith(f"# {code}: {RULES[code].name}\n")


def test_without_libcst_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "libcst", None)
    result = lint("a.py")
    assert result.exit_code == 2
    assert result.stderr == "error: this needs libcst, which is not installed: pip install outlive\n"


def test_no_source_is_imported_and_ray_is_not_either():
    Path("a.py").write_text("raise SystemExit('was run')\nimport ray\n")
    code = (
        "import sys\nfrom outlive.cli.app import app\n"
        "try:\n    app(['lint', '.'])\nexcept SystemExit as end:\n"
        "    print(end.code, 'ray' in sys.modules, 'numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False False"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_ends_it_quietly(tmp_path):
    from tests.conftest import eventually

    (tmp_path / "a.py").write_text("import ray\n" + "x = [ray.put(1), 2, 3]\n" * 2_000)
    command = [sys.executable, "-m", "outlive", "lint", "--json", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    tasks = Path(f"/proc/{process.pid}/task")
    eventually(lambda: len(list(tasks.iterdir())) > 1 or process.poll() is not None)  # the thread that lints
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120) == (b"", b"")
    assert process.returncode == 130
