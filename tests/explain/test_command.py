"""`outlive explain`: ids, files, standard input; text and JSON; exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from outlive.cli.app import app

ID = "00f7ac668d3063a5ffffffffffffffffffffffff0200000002e1f505"
ERROR = f"ray.exceptions.OwnerDiedError: Failed to retrieve object {ID}.\n"


def run(*arguments, stdin=b""):
    return CliRunner().invoke(app, ["explain", *arguments], input=stdin)


@pytest.mark.parametrize("text", [ID, ID.upper(), f"'{ID}'...", f"ObjectRef({ID})"])
def test_an_id(text):
    result = run(text)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"ObjectID {ID}"
    assert [line.split()[0] for line in lines[1:6]] == ["00", "f7ac668d3063a5", "f" * 24, "02000000", "02e1f505"]
    assert "Made by the first ray.put" in lines[6]


def test_an_id_for_scripts():
    about = json.loads(run(ID, "--json").stdout)
    assert (about["kind"], about["job"], about["maker"], about["put"]) == ("ObjectID", 2, "normal task", True)


def test_a_file(tmp_path):
    file = tmp_path / "job.log"
    file.write_text("fine\n" * 3 + ERROR * 2)
    result = run(str(file))
    assert result.exit_code == 0
    assert result.stdout.startswith("OwnerDiedError (owner-died), 2 times, lines 4, 5\n")
    for part in ("Likely causes, in order", "How to tell them apart", "Fix", "Sources: "):
        assert part in result.stdout
    about = json.loads(run(str(file), "--json").stdout)
    assert about["lines"] == 5
    assert about["explanations"][0]["variant"] == "owner-died"


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input(arguments):
    assert run(*arguments, stdin=ERROR.encode()).stdout.startswith("OwnerDiedError (owner-died), once, line 1\n")


def test_an_error_as_an_argument():
    assert run(f"OwnerDiedError('{ID}')").exit_code == 0


@pytest.mark.parametrize("data", [b"", b"\n", b"all is well\n", bytes(range(256)) * 100, b"\xff\xfe" * 1000])
def test_nothing_known(data):
    result = run(stdin=data)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing in" in result.stderr
    result = run("--json", stdin=data)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["explanations"] == []


@pytest.mark.parametrize(
    ("argument", "reason"), [("nope.log", "no such file"), ("00f7ac66...", "was shortened"), ("/", "directory")]
)
def test_what_is_neither_file_nor_id(argument, reason):
    result = run(argument)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_wrong_usage():
    assert run("a", "b").exit_code == 2
    assert run("--nope").exit_code == 2


def test_what_a_log_holds_cannot_act_upon_the_terminal():
    result = run(stdin=f"ray.exceptions.OwnerDiedError: \x1b]0;title\x07 \x1b[31m {ID}\n".encode())
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout


def test_help_shows_an_example_and_exit_codes():
    result = run("--help")
    assert "$ outlive explain " in result.stdout
    assert "Exit codes: 0 " in result.stdout


def test_explaining_needs_neither_ray_nor_numpy(tmp_path):
    file = tmp_path / "job.log"
    file.write_text(ERROR)
    program = (
        "import sys; from typer.testing import CliRunner; from outlive.cli.app import app; "
        f"code = CliRunner().invoke(app, ['explain', {str(file)!r}]).exit_code; "
        "sys.exit(code or str({'ray', 'numpy'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.strip() == ""


def test_explaining_works_where_ray_is_not_installed(tmp_path):
    file = tmp_path / "job.log"
    file.write_text(ERROR)
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('ray', 'numpy', 'grpc', 'rich.console'))); "
        f"sys.argv = ['outlive', 'explain', {str(file)!r}]; import outlive.cli; outlive.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("OwnerDiedError (owner-died), once, line 1\n")


@pytest.mark.parametrize(
    ("closed", "arguments"),
    [("<&-", "explain"), ("<&-", "lint -"), (">&-", "versions"), (">&-", "lint --rules"), ("2>&-", "explain nofile")],
)
def test_a_stream_that_is_closed_is_one_error_and_exit_code_2(closed, arguments):
    command = f"{sys.executable} -m outlive {arguments} {closed}"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == ("" if closed == "2>&-" else "error: Bad file descriptor\n")
