"""examples/dicom_serve over HTTP: what it answers, and that nothing is lost while its replicas come and go."""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

from tests.conftest import eventually
from tests.examples.test_dicom_study import FOLDER, VOLUME, Image, image, phantom, zipped
from tests.pages.run import PREFIX, missing
from tests.ports import free_ports

ROOT = FOLDER.parents[1]
PYTHON = PREFIX / "bin" / "python"
PATIENCE = 120  # seconds for an answer


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of the application, and the environment in which programs join its cluster."""
    if package := missing():
        pytest.skip(f"{package} is not installed: pip install 'outlive[pages]'")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{FOLDER}"}
    for _ in range(3):  # Ray and Serve give up a start that takes long on a busy machine
        (port,) = free_ports(1)
        command = [PYTHON, "-m", "tests.examples.dicom_app", str(port)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
            if address := process.stdout.readline().strip():
                yield f"http://127.0.0.1:{port}/studies", {**environment, "RAY_ADDRESS": address}
                return
    pytest.fail("the application did not start")


@pytest.fixture(scope="module")
def series(served: tuple[str, dict[str, str]]) -> str:
    """The URL of a series that was uploaded."""
    url, _ = served
    answer = requests.post(url, phantom.zip_of(phantom.files_of(VOLUME)), timeout=PATIENCE)
    assert answer.status_code == 201, answer.text
    study, found = answer.json()["study"], answer.json()["series"]
    assert list(found.values()) == [list(VOLUME.shape)]
    assert requests.get(f"{url}/{study}", timeout=PATIENCE).json() == list(found)
    return f"{url}/{study}/series/{next(iter(found))}"


def shown(answer: requests.Response) -> np.ndarray:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def get(url: str, **params: object) -> requests.Response:
    return requests.get(url, params=params, timeout=PATIENCE)


def test_pictures(series: str) -> None:
    assert (shown(get(f"{series}/slices/7")) == image.window(VOLUME[7], 40, 400)).all()
    assert (shown(get(f"{series}/slices/7", center=500, width=1)) == image.window(VOLUME[7], 500, 1)).all()
    assert (shown(get(f"{series}/projection", center=500)) == image.window(VOLUME.max(0), 500, 400)).all()
    assert shown(get(f"{series}/slices/99", axis="y")).shape == (80, 128)


def test_each_node_reads_its_own_copy(series: str) -> None:
    nodes = set()
    with ThreadPoolExecutor(8) as threads:

        def both() -> bool:
            nodes.update(answer.headers["node"] for answer in threads.map(get, [f"{series}/slices/7"] * 8))
            return len(nodes) == 2

        eventually(both, PATIENCE)


@pytest.mark.parametrize(
    ("status", "path", "params", "reason"),
    [
        (404, "slices/24", {}, "there are 24"),
        (404, "slices/-1", {}, "there is no slice -1"),
        (422, "slices/one", {}, "integer"),
        (422, "slices/1", {"width": 0}, "greater than or equal to 1"),
        (422, "slices/1", {"width": "wide"}, "valid number"),
        (422, "projection", {"width": "nan"}, "width"),
        (422, "projection", {"center": "inf"}, "center"),
        (422, "projection", {"axis": "t"}, "'z', 'y' or 'x'"),
        (404, "..%2f..", {}, ""),
    ],
)
def test_what_cannot_be_shown(series: str, status: int, path: str, params: dict, reason: str) -> None:
    answer = get(f"{series}/{path}", **params)
    assert answer.status_code == status, answer.text
    assert reason in answer.text


@pytest.mark.parametrize(
    "path", ["1.2.3", "1.2.3/series/4/slices/0", "1.2.3/series/4/projection", "x" * 2000 + "/series/4/projection"]
)
def test_an_unknown_study(served: tuple[str, dict[str, str]], path: str) -> None:
    answer = get(f"{served[0]}/{path}")
    assert answer.status_code == 404, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("upload", "reason"),
    [
        (b"", "no ZIP of DICOM files"),
        (zipped(**{"scan.png": b"\x89PNG"}), "scan.png: this is no DICOM file"),
        (phantom.zip_of([*phantom.files_of(VOLUME[:2]), *phantom.files_of(VOLUME[:2])]), "2 studies"),
    ],
)
def test_what_is_no_study(served: tuple[str, dict[str, str]], upload: bytes, reason: str) -> None:
    answer = requests.post(served[0], upload, timeout=PATIENCE)
    assert answer.status_code == 400, answer.text
    assert reason in answer.json()["detail"]


def test_a_study_is_deleted(served: tuple[str, dict[str, str]]) -> None:
    files = phantom.files_of(VOLUME[:3])
    study = f"{served[0]}/{files[0].StudyInstanceUID}"
    assert requests.post(served[0], phantom.zip_of(files), timeout=PATIENCE).status_code == 201
    assert requests.delete(study, timeout=PATIENCE).status_code == 204
    assert [requests.delete(study, timeout=PATIENCE).status_code, get(study).status_code] == [404, 404]


@pytest.mark.timeout(600)
def test_replicas_come_and_go(served: tuple[str, dict[str, str]]) -> None:
    url, environment = served
    port = url.rpartition(":")[2].partition("/")[0]
    command = [PYTHON, FOLDER / "main.py", "--port", port]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("one of three viewers is left", "requests that were asked again: ", "release 2 serves"):
        assert said in done.stdout
    assert re.search(r"by status: \{200: \d+\}; 0 pictures were wrong$", done.stdout, re.MULTILINE), done.stdout
