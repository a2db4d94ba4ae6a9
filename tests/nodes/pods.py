"""Pods of KubeRay, played by processes: each has process ids, a file system at /dev/shm and an address of its own.

unshare(1) starts a pod's first process, `ray start --block`, in namespaces of its own. SIGTERM goes to that process
alone. SIGKILL to it ends all processes of the pod at once, as the kubelet and the kernel do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray import cloudpickle

from tests.conftest import ROOT, eventually
from tests.nodes.raylets import lives
from tests.ports import free_ports

SYSTEM = '{"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 5}'
"""A raylet that is gone is noticed after a second."""
APART = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
APART += ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
_MOUNT = 'mount --bind "$0" /dev/shm && exec "$@"'
_REPOSITORY = Path(__file__).parents[2]
_RAY = "from tests.little_ray import start_little; start_little({}); from ray.scripts.scripts import main; main()"
_STORE = 80 << 20


def no_pods() -> str | None:
    """Why no pods can be played here; None if they can."""
    if any(shutil.which(program) is None for program in ("unshare", "nsenter")):
        return "unshare and nsenter of util-linux are not installed"
    tried = subprocess.run([*APART, "mount", "--bind", "/dev", "/mnt"], capture_output=True, text=True)
    return f"no namespaces for pods: {tried.stderr.strip()}" if tried.returncode else None


needs_pods = pytest.mark.skipif(bool(_why := no_pods()), reason=_why or "")


class Pod:
    """A pod, from its start to its end. It has the resource `pod<number>`.

    Parameters
    ----------
    shm
        The folder that it sees as /dev/shm: of its own, or another pod's.
    little
        The arguments of `start_little`.
    """

    def __init__(self, cluster: Pods, number: int, shm: Path, ip: str, arguments: list[str], little: str) -> None:
        self.number, self.shm, self.ip, self._cluster = number, shm, ip, cluster
        self.log = cluster.folder / f"pod{number}.log"
        shm.mkdir(mode=0o777, parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-c",
            _RAY.format(little),
            "start",
            "--block",
            "--disable-usage-stats",
            f"--node-ip-address={ip}",
        ]
        command += [f"--object-store-memory={_STORE}", "--min-worker-port=0", "--max-worker-port=0", *arguments]
        command += [f'--resources={{"pod{number}": 1}}']
        with open(self.log, "wb") as log:
            self._unshare = subprocess.Popen(
                [*APART, "sh", "-c", _MOUNT, str(shm), *command],
                cwd=_REPOSITORY,
                env=cluster.environment(number),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        (self.first,) = eventually(lambda: psutil.Process(self._unshare.pid).children())  # of the pod's processes

    def wait(self) -> None:
        """Wait until Ray has started there."""
        eventually(lambda: self._unshare.poll() is not None or "Ray runtime started" in self.log.read_text(), 180)
        assert self._unshare.poll() is None, self.log.read_text()

    def command(self, *words: str) -> list[str]:
        """A command that runs these words in the pod, as `kubectl exec` does."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={self.first.pid}", *user, "--mount", "--pid", *words]

    def start(self, function: Callable[..., Any], *arguments: Any) -> Program:
        """Start a program in the pod that calls the function, connected to the cluster."""
        return Program(self, self._cluster, function, arguments)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function in a program of the pod, and return what it returned."""
        return self.start(function, *arguments).result()

    def exec(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command in the pod, as `kubectl exec` and the hooks of a container do."""
        begun = self.start_command(*words)
        out, errors = begun.communicate(timeout=timeout)
        return subprocess.CompletedProcess(words, begun.returncode, out, errors)

    def start_command(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in the pod, as `exec`."""
        return subprocess.Popen(
            self.command(*words),
            cwd=_REPOSITORY,
            env={**self._cluster.environment(self.number), "RAY_ADDRESS": self._cluster.address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def terminate(self) -> None:
        """Send SIGTERM to its first process. The kubelet does so once the hook has ended."""
        self.first.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all its processes at once, and wait until they are gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.first.kill()
        self._unshare.wait(60)
        eventually(lambda: not lives(self.first))

    @property
    def runs(self) -> bool:
        return lives(self.first)


class Program:
    """A program in a pod."""

    def __init__(self, pod: Pod, cluster: Pods, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        cloudpickle.register_pickle_by_value(sys.modules[function.__module__])
        name = cluster.folder / uuid.uuid4().hex
        self._call, self._result = name.with_suffix(".call"), name.with_suffix(".result")
        self.log = name.with_suffix(".log")
        self._call.write_bytes(cloudpickle.dumps((function, arguments)))
        words = [sys.executable, "-m", "tests.nodes.in_pod", cluster.address, pod.ip, self._call, self._result]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                pod.command(*map(str, words)),
                cwd=_REPOSITORY,
                env=cluster.environment(pod.number),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def result(self, timeout: float = 300) -> Any:
        """Wait for its end; returns what the function returned."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
        assert self.process.returncode == 0, self.log.read_text()
        return cloudpickle.loads(self._result.read_bytes())

    @property
    def runs(self) -> bool:
        return self.process.poll() is None


class Pods:
    """The pods of one cluster. The first is the head; its GCS is at `address`, whichever pod it runs in."""

    def __init__(self, folder: Path, redis: str | None = None, **environment: str) -> None:
        self.folder, self._redis, self._changes = folder, redis, environment
        self._port, self._client_port = free_ports(2)
        self.address = f"127.0.0.1:{self._port}"  # as the head's service: it stays when the head's pod does not
        self._all: list[Pod] = []

    def environment(self, number: int) -> dict[str, str]:
        """What its processes have, and the commands that are run in a pod."""
        changes = {
            "OUTLIVE_ROOT": "/dev/shm/outlive",
            "OUTLIVE_SPILL_TO": str(self.folder / f"spill{number}"),
            "PYTHONPATH": str(_REPOSITORY),
            "RAY_AUTH_MODE": "disabled",
            "RAY_CLOUD_INSTANCE_ID": f"pod{number}",  # this and the type, KubeRay tells every pod
            "RAY_NODE_TYPE_NAME": "group" if number else "headgroup",
            "RAY_TMPDIR": str(self.folder / "ray"),
            "RAY_enable_autoscaler_v2": "1",  # as `ray start` sets it in such a pod, also if nothing scales
            "RAY_gcs_rpc_server_reconnect_timeout_s": "600",  # as KubeRay sets it; the head's settings come too late
            **self._changes,
        }
        if self._redis is not None:
            changes |= {"RAY_REDIS_ADDRESS": self._redis, "RAY_external_storage_namespace": "the-cluster"}
        return {**os.environ, **changes}

    def start_head(self, shm: Path | None = None, *, monitor: bool = False) -> Pod:
        """Start a head. Its address is another each time, and its GCS is where the one before was.

        With `monitor`, the process of the autoscaler runs there. It has no configuration, and so it removes nothing.
        """
        options = ["--head", f"--port={self._port}", "--include-dashboard=false", "--num-cpus=1"]
        options += [f"--ray-client-server-port={self._client_port}", f"--system-config={SYSTEM}"]
        options += [f"--temp-dir={self.folder / 'ray'}"]
        self.head = self._start(options, shm, "monitor=True" if monitor else "")
        return self.head

    def start_worker(self, shm: Path | None = None) -> Pod:
        return self._start([f"--address={self.address}", "--num-cpus=2"], shm)

    def _start(self, arguments: list[str], shm: Path | None, little: str = "") -> Pod:
        number = len(self._all)
        pod = Pod(self, number, shm or self.folder_of(number), f"127.0.0.{number + 11}", arguments, little)
        self._all.append(pod)
        pod.wait()
        return pod

    def folder_of(self, number: int) -> Path:
        """What the pod with this number has as /dev/shm, if it is not given another's."""
        return Path(ROOT, f"{self.folder.name}-{number}")

    def close(self) -> None:
        """End all pods and remove what is left of them."""
        for pod in reversed(self._all):
            pod.kill()
            shutil.rmtree(pod.shm, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def pods(redis: str | None = None, **environment: str) -> Iterator[Pods]:
    """A cluster of pods, none of them started yet, that ends with the block."""
    made = Pods(Path(tempfile.mkdtemp(prefix="outlive-p-", dir="/tmp")), redis, **environment)  # short, for sockets
    try:
        yield made
    finally:
        made.close()


class Redis:
    """A server of Redis with a file to which it appends each change, so that it may be killed as well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (self._port,) = free_ports(1)
        self.address = f"127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        options = {"port": self._port, "bind": "127.0.0.1", "dir": self._folder, "appendonly": "yes", "save": ""}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        with open(self._folder / "redis.log", "ab") as log:
            self.process = subprocess.Popen([redis_server() or "", *words], stdout=log, stderr=log)
        eventually(lambda: "Ready to accept connections" in (self._folder / "redis.log").read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def redis_server() -> str | None:
    """The program, if it is installed (Debian: redis-server), or OUTLIVE_REDIS names it."""
    return os.environ.get("OUTLIVE_REDIS") or shutil.which("redis-server")


needs_redis = pytest.mark.skipif(
    redis_server() is None, reason="no redis-server: install it, or name it by OUTLIVE_REDIS"
)


@contextlib.contextmanager
def redis() -> Iterator[Redis]:
    """A Redis that ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="outlive-r-", dir="/tmp"))
    made = Redis(folder)
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder)
