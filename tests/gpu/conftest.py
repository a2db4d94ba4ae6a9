"""A GPU's driver that stands in for NVIDIA's (see fake_cuda.c), and programs that use it. No GPU is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.local.conftest import REPOSITORY, WITHOUT_RAY, end, new_root

_BEGIN = """
import ctypes, gc, os, threading, warnings
from outlive import gpu
cuda = ctypes.CDLL("libcuda.so.1")
cuda.fake_flags.argtypes = (ctypes.c_void_p,)
flags = lambda array: cuda.fake_flags(array.ctypes.data)
values = np.arange(1 << 17)
"""
Run = Callable[..., str]


@pytest.fixture(scope="session")
def fake_gpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the driver's library, for LD_LIBRARY_PATH."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler is here, to make a stand-in of NVIDIA's driver")
    folder = tmp_path_factory.mktemp("cuda")
    source, library = Path(__file__).with_name("fake_cuda.c"), folder / "libcuda.so.1"
    subprocess.run([compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return folder


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    path = new_root()
    yield path
    end(path)


@pytest.fixture
def run(fake_gpu: Path, root: str) -> Run:
    """What a program prints that has `store`, and the driver."""

    def run(code: str, **env: str) -> str:
        opened = f"{WITHOUT_RAY}store = outlive.open(local=True, root={root!r})\n"
        environment = {**os.environ, "PYTHONWARNINGS": "error", "LD_LIBRARY_PATH": str(fake_gpu), **env}
        program = [sys.executable, "-c", opened + _BEGIN + code]
        done = subprocess.run(program, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment, timeout=240)
        assert done.returncode == 0
        return done.stdout.strip()

    return run
