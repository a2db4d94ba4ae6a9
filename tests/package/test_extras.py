"""What `pip install outlive` brings is enough for all that it says, and what is missing is named."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import outlive
from outlive.arrays.info import ArrayInfo
from outlive.extras import EXTRAS, INSTALLED, install, lacking, named, need

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
"""The file that pip reads."""


def without(*packages: str, run: str, **options) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that has none of these packages."""
    code = f"import sys\nfor name in {packages!r}: sys.modules[name] = None\n{run}"
    return subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT, timeout=120, **options
    )


def command(*arguments: str, lacks: tuple[str, ...] = ("ray",)) -> subprocess.CompletedProcess[str]:
    """Run the command `outlive` where these packages are not installed."""
    run = f"sys.argv = ['outlive', *{arguments!r}]\nfrom outlive.cli import main\nmain()"
    return without(*lacks, run=run)


STARTS = """
import json, os, sys
sys.modules["ray"] = None
import outlive.cli.app, typer.rich_utils
for line in sys.stdin:
    arguments, folder = json.loads(line)
    if (pid := os.fork()) == 0:
        for fd, name in enumerate((os.devnull, f"{folder}/out", f"{folder}/err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), fd)
        sys.argv = ["outlive", *arguments]
        outlive.cli.main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def starting():
    """A process without Ray that has loaded all commands, and forks one that runs each."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STARTS], text=True, cwd=ROOT, **pipes) as process:
        yield process


@pytest.fixture
def without_ray(starting, tmp_path_factory):
    """As `command`, which loads the commands each time."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path_factory.mktemp("command")
        starting.stdin.write(json.dumps([arguments, str(folder)]) + "\n")
        starting.stdin.flush()
        code = int(starting.stdout.readline())
        said = [folder.joinpath(name).read_text() for name in ("out", "err")]
        return subprocess.CompletedProcess(arguments, code, *said)

    return run


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+(\[\w+\])?", one)[0] for one in requirements}


def test_the_tables_are_those_of_pyproject():
    assert names(PROJECT["dependencies"]) - {"typer"} == set(INSTALLED.values())
    added = {extra: names(PROJECT["optional-dependencies"][extra]) for extra in EXTRAS}
    assert added == {
        extra: {"outlive[ray]" if one == "ray" != extra else one for one in EXTRAS[extra]} for extra in EXTRAS
    }


def test_every_extra_can_be_asked_for(monkeypatch):
    for package in {package for packages in EXTRAS.values() for package in packages}:
        monkeypatch.setitem(sys.modules, package, None)
    for extra, packages in EXTRAS.items():
        assert lacking(extra) == list(packages)
        assert extra in install(extra)
        for package in packages:
            with pytest.raises(outlive.MissingPackage, match=r"pip install 'outlive\[") as caught:
                need(package)
            assert caught.value.name == package
    other = ModuleNotFoundError("No module named 'x'", name="x")
    assert named(other) is other  # a package of the user's program


def test_a_folder_of_the_same_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "ray").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(one for one in sys.path if "-packages" not in one)])
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    assert lacking("ray") == ["ray"]
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))  # a program's own
    assert lacking("ray") == []


def test_python_without_ray():
    done = without(
        "ray",
        run="""
import pickle
import outlive
from outlive import lint, explain, tune
assert "numpy" not in sys.modules
outlive.Store, outlive.ArrayHandle, outlive.FewerReplicas  # a local store needs no Ray: see tests/local
assert outlive.shutdown() == 0
for needs_ray, *arguments in (("open",), ("load", "/tmp"), ("NumpyStore.open", "k"), ("nodes",), ("drain", "node")):
    try:
        eval("outlive." + needs_ray)(*arguments)
    except outlive.MissingPackage as error:
        assert isinstance(error, (outlive.OutliveError, ImportError)) and error.name == "ray"
        assert str(error) == "this needs Ray, which is not installed: pip install 'outlive[ray]'", error
    else:
        raise SystemExit(needs_ray)
for needs_ray in ("inspect", "trim", "recycle", "keep_trim", "record"):
    try:
        getattr(outlive.workers, needs_ray)
    except outlive.MissingPackage as error:
        assert error.name == "ray"
    else:
        raise SystemExit(needs_ray)
outlive.workers.simulate, outlive.workers.Trace
""",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_python_without_what_other_libraries_need():
    done = without(
        *("dask", "xarray", "zarr"),
        run="""
import outlive
outlive.Store, outlive.ArrayHandle
for package in ("dask", "xarray", "zarr"):
    try:
        getattr(outlive, package)
    except outlive.MissingPackage as error:
        needs = f"this needs {package}, which is not installed: pip install 'outlive[{package}]'"
        assert str(error) == needs, error
    else:
        raise SystemExit(package)
""",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_ray_data_without(package: str):
    done = without(
        package,
        run=f"""
import outlive
try:
    outlive.data
except outlive.MissingPackage as error:
    assert str(error) == "this needs {package}, which is not installed: pip install 'outlive[data]'", error
else:
    raise SystemExit("{package}")
""",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_object_storage_without_its_package():
    done = without(
        "obstore",
        run="""
import outlive
from outlive.archive.opening import place_of
place_of("/folder")
try:
    place_of("s3://bucket/run7")
except outlive.MissingPackage as error:
    assert str(error) == "this needs obstore, which is not installed: pip install 'outlive[save]'", error
else:
    raise SystemExit("obstore")
""",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "obstore, for object storage. pip install 'outlive[save]'" in " ".join(
        command("save", "--help", lacks=("obstore",)).stdout.split()
    )


def test_nothing_else_loads_them():
    others = {"dask", "ray.data", "xarray", "zarr"}
    run = f"import outlive; outlive.Store, outlive.open; sys.exit(len({others} & {{*sys.modules}}))"
    assert without(run=run).returncode == 0


def test_a_handle_that_comes_to_a_program_without_ray(tmp_path):
    info = ArrayInfo("0" * 32, "default", "k", "'<f8'", (3,), False, 128, 24, 4096, 1)
    (tmp_path / "handle").write_bytes(pickle.dumps(outlive.ArrayHandle(info)))
    load = f"import pickle; handle = pickle.load(open({str(tmp_path / 'handle')!r}, 'rb'))"
    done = without("ray", run=f"{load}\nprint(handle.key)\nhandle.get()")
    assert done.stdout == "k\n"
    assert "outlive.errors.MissingPackage: this needs Ray" in done.stderr


def test_a_ray_that_is_too_old():
    done = without(
        run="""
import types
for name in ("ray", "ray._private", "ray._private.state", "ray._private.worker"):
    sys.modules[name] = types.ModuleType(name)
import ray
ray.__version__, ray._private = "2.48.0", sys.modules["ray._private"]
ray._private.state, ray._private.worker = sys.modules["ray._private.state"], sys.modules["ray._private.worker"]
import outlive
outlive.open()
"""
    )
    assert "UnsupportedRay: outlive needs Ray 2.49 or newer, and this is Ray 2.48.0" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["ls"], ["put", "a.npy", "k"], ["nodes"], ["doctor"], ["workers"], ["workers", "trim"]], ids=" ".join
)
def test_commands_that_need_ray(arguments, tmp_path, without_ray):
    if "a.npy" in arguments:
        import numpy as np

        np.save(tmp_path / "a.npy", np.zeros(3))
        arguments = ["put", str(tmp_path / "a.npy"), "k"]
    done = without_ray(*arguments, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        '{"error": "this needs Ray, which is not installed: pip install \'outlive[ray]\'", "type": "MissingPackage"}\n'
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["lint", "tests/lint/programs/numpy_store.py"], 1, "OUT"),
        (["lint", "--explain", "OUT601"], 0, "# OUT601"),
        (["explain", "tests/explain/cases/objects.txt"], 0, "Owner"),
        (["tune", "--quick"], 0, "file system"),
        (["workers", "plan", "--goal", "memory"], 0, "num_workers_soft_limit"),
        (["workers", "plan", "--goal", "memory", "--kuberay", "tests/workers/files/raycluster.yaml"], 0, "patched"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_commands_that_need_none(arguments, code, says, without_ray):
    done = without_ray(*arguments)
    assert (done.returncode, done.stderr) == (code, "")
    assert says in done.stdout


def test_help_names_what_is_missing(without_ray):
    said = command("--help", lacks=("ray", "pyarrow", "nibabel")).stdout
    said = " ".join(said.split())
    without = "explain, lint, metrics, tune, versions, workers plan, workers simulate, and those with --local"
    assert f"Not installed here: Ray, for all commands but {without}." in said
    assert "pyarrow, for workers record, workers simulate. pip install 'outlive[traces]'" in said
    assert "Ray, nibabel, for demo. pip install 'outlive[demo]'" in said
    assert without_ray("dashboard", "--help").stdout.count("Not installed here") == 1
    assert "Not installed here: pyarrow" in command("workers", "record", "--help", lacks=("pyarrow",)).stdout
    assert "Not installed here: Ray. pip install 'outlive[ray]'" in without_ray("nodes", "--help").stdout
    but_local = "Not installed here: Ray, for all but --local. pip install 'outlive[ray]'"
    assert but_local in without_ray("ls", "--help").stdout
    assert "Not installed here" not in without_ray("lint", "--help").stdout
    assert "Not installed here" not in command("--help", lacks=()).stdout
