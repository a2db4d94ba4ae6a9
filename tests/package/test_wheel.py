"""The wheel that `make dist` has built, in an environment with what pip would install beside it, and no Ray.

The environment is new, and the wheel is installed into it by pip. The packages that it depends on are not loaded from
the network again: those of this environment are linked into the new one, each with its own dependencies, and no others.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from outlive.lint import RULES

DIST = os.environ.get("OUTLIVE_DIST", "")
pytestmark = pytest.mark.skipif(not DIST, reason="`make dist` runs it")


@pytest.fixture(scope="module")
def wheel() -> Path:
    (path,) = Path(DIST).resolve().glob("*.whl")
    return path


@pytest.fixture(scope="module")
def outlive(wheel, tmp_path_factory):
    """Runs the command of the wheel, far from the checkout."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    for distribution in needed(wheel):
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY", "OUT"))}

    def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
        command = [python, "-c", code] if code else [python.with_name("outlive"), *arguments]
        options = {"cwd": folder, "env": {**environment, "COLUMNS": "200"}, "timeout": 120}
        return subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, **options)

    return run


def needed(wheel: Path) -> Iterator[metadata.Distribution]:
    """All that the wheel depends on, by its own metadata and theirs."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        found = re.findall(r"^Requires-Dist: (.*)$", archive.read(name).decode(), re.MULTILINE)
    seen = set[str]()
    while found:
        one = Requirement(found.pop())
        if one.name not in seen and (one.marker is None or one.marker.evaluate({"extra": ""})):
            seen.add(one.name)
            distribution = metadata.distribution(one.name)
            assert one.specifier.contains(distribution.version, prereleases=True), one
            yield distribution
            found += distribution.requires or []


def test_there_is_no_ray(outlive):
    done = outlive(code="import outlive; print(outlive.__file__); outlive.open()")
    assert "env/lib" in done.stdout
    assert done.stderr.endswith("MissingPackage: this needs Ray, which is not installed: pip install 'outlive[ray]'\n")
    assert outlive("ls").stderr == "error: this needs Ray, which is not installed: pip install 'outlive[ray]'\n"
    assert "Not installed here: Ray" in outlive("--help").stdout


def test_commands(outlive, tmp_path):
    (tmp_path / "program.py").write_text("import ray\nray.put(1, _owner=a)\n")
    (tmp_path / "log").write_text("ray.exceptions.OwnerDiedError: Failed to retrieve object " + "0" * 56 + "\n")
    assert outlive("--version").stdout.startswith("outlive ")
    found = outlive("lint", str(tmp_path))
    assert (found.returncode, found.stderr) == (1, "")
    assert "OUT101 put-owner" in found.stdout
    assert outlive("explain", str(tmp_path / "log")).returncode == 0
    assert outlive("workers", "plan", "--goal", "memory").returncode == 0
    assert "not installed" in outlive("versions").stdout
    assert outlive().returncode == 0


def test_pages_name_files_that_are_installed(outlive):
    assert outlive("lint", "--explain", "OUT101").stdout.startswith("# OUT101: put-owner\n")
    pages = outlive(code=f"from outlive.lint.pages import page\nfor code in {list(RULES)}: print(page(code))").stdout
    assert pages.count("\n# OUT") == len(RULES) - 1
    links = re.findall(r"\]\((?!https?:)([^)#]+)", pages)
    assert len(links) > 2
    for link in links:
        assert Path(link).is_file(), link
        assert "site-packages" in link


def test_what_is_in_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"outlive/py.typed", "outlive/explain/knowledge/ray_classes.json", "outlive/docs/doctor.md"} <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"outlive"}
    (sdist,) = Path(DIST).resolve().glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "tests/package/test_wheel.py", "docs/rules/OUT101.md"} <= inside
    assert not {name for name in inside if name.startswith((".venv", "dist/", "build/"))}
