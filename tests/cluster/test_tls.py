"""A whole Ray cluster with TLS: outlive's port uses Ray's certificates, on both sides."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.arrays.test_full_disks import REPOSITORY
from tests.transfer.test_settings import certificates


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl makes certificates here")
def test_two_nodes_with_tls(tmp_path: Path) -> None:
    addresses = [one.address for some in psutil.net_if_addrs().values() for one in some if one.family == socket.AF_INET]
    names = ",".join(["DNS:localhost", *(f"IP:{address}" for address in addresses)])
    ours = certificates(tmp_path, "ours", names)
    certificates(tmp_path, "theirs", names)
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.tls_cluster", tmp_path],
        cwd=REPOSITORY,
        env=os.environ | ours,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "strangers refused: 3" in done.stdout
