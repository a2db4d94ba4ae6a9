"""Servers of object storage on this machine: moto, which is written for tests, and SeaweedFS, which programs use.

`outlive[test-save]` has both.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tests.ports import free_ports
from tests.waiting import eventually

BUCKET = "bucket"
_KEYS = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1"}
_MOTO = """
import socket, sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""
_OWN_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
              "s3.port", "s3.port.grpc")  # fmt: skip


class Server:
    """A server with an empty bucket, whose content goes with it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="outlive-bucket-"))
        try:
            self.process, port = self._start(self._folder)
            self.endpoint = f"http://127.0.0.1:{port}"
            self.options = {"endpoint": self.endpoint, **_KEYS}
            eventually(self._has_bucket, 60)
        except BaseException:
            self.kill()
            raise

    def _start(self, folder: Path) -> tuple[subprocess.Popen[str], int]:
        """Start it; the process, and the port at which it answers soon."""
        raise NotImplementedError

    def kill(self) -> None:
        """Kill it, and remove what it has. Harmless to repeat."""
        with contextlib.suppress(AttributeError):
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _has_bucket(self) -> bool:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name=_KEYS["region"], aws_access_key_id=_KEYS["access_key_id"],
            aws_secret_access_key=_KEYS["secret_access_key"],
            config=Config(retries={"max_attempts": 0}, proxies={}, connect_timeout=5, read_timeout=5),
        )  # fmt: skip
        try:
            client.create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError) as error:
            return "BucketAlready" in str(error)  # an answer to an earlier try was late
        return True


class Moto(Server):
    """moto's server."""

    @staticmethod
    def is_installed() -> bool:
        return all(map(importlib.util.find_spec, ("obstore", "moto", "boto3")))

    def _start(self, folder: Path) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", _MOTO], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        return process, int(process.stdout.readline())


class SeaweedFS(Server):
    """SeaweedFS: master, volume, filer and S3 in one process."""

    _ports: Mapping[str, int] = MappingProxyType({})

    @staticmethod
    def is_installed() -> bool:
        return Moto.is_installed() and _weed() is not None

    def _start(self, folder: Path) -> tuple[subprocess.Popen[str], int]:
        weed = _weed()
        assert weed is not None
        self._ports = ports = dict(zip(_OWN_PORTS, free_ports(len(_OWN_PORTS)), strict=True))
        credentials = [{"accessKey": _KEYS["access_key_id"], "secretKey": _KEYS["secret_access_key"]}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        told = {"identities": [{"name": "tests", "credentials": credentials, "actions": actions}]}
        (folder / "s3.json").write_text(json.dumps(told))
        (folder / "data").mkdir()
        process = subprocess.Popen(
            [
                weed, "-logtostderr=true", "server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                "-s3", "-s3.config=s3.json",
                "-s3.autoCreateBucket=false", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
                "-master.telemetry=false", "-master.volumeSizeLimitMB=256", "-volume.max=64",
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            cwd=folder, env={"HOME": str(folder)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        return process, ports["s3.port"]

    def kill(self) -> None:
        super().kill()
        for port in self._ports.values():  # it leaves sockets outside its folder
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)


def _weed() -> str | None:
    """The path of SeaweedFS' program, which pip puts beside Python's."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


SERVERS = [kind for kind in (Moto, SeaweedFS) if kind.is_installed()]
