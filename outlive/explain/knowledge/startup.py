"""Reasons why Ray, a worker or a connection does not start: limits of the system, the GCS, an environment."""

from __future__ import annotations

from outlive.explain.evidence import nearby, says
from outlive.explain.knowledge.ends import KILLED_FOR_MEMORY, LIMITS
from outlive.explain.model import Cause, Entry

_LIMIT_FIX = """\
# in the shell (or unit, or image) that starts Ray, before `ray start`:
ulimit -n 65536 -u unlimited         # Kubernetes: the kubelet's podPidsLimit; Docker: --pids-limit, --ulimit nofile=65536
# fewer threads in each worker, and fewer workers:
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
ray start --num-cpus=16 ...          # Ray starts as many workers as there are CPUs"""

ENTRIES = (
    Entry(
        name="worker-not-registered",
        line=r"have not registered (?:to raylet )?within (?:the )?timeout",
        what="The raylet started worker processes that did not report back in time (RAY_worker_register_timeout_seconds, 60). Tasks and actors that wait for "
        "them do not start.",
        causes=(
            Cause("A limit of the system: threads and processes (`ulimit -u`) or open files (`ulimit -n`).", signs=(nearby(LIMITS),)),
            Cause("They were killed for memory while they started.", signs=(KILLED_FOR_MEMORY,)),
            Cause("They crashed at start: a broken environment (another Python or Ray than the raylet's, a library that cannot be loaded).",
                  signs=(says(r"The process is dead, probably it crashed during start"),
                         nearby(r"No module named|ModuleNotFoundError|ImportError|version `?GLIBC|cannot open shared object file|Version mismatch"))),
            Cause("They started too slowly: many at once, Python on a network disk, a loaded machine.",
                  signs=(says(r"still alive, probably it's hanging"), nearby(r"cold start|slow NFS|hanging during start"))),
        ),
        tell_apart=("The workers' own logs, worker-*.err and python-core-worker-*_<pid>.log in /tmp/ray/session_latest/logs of that node.",
                    "Start one by hand on that node: `python -c 'import ray, torch'`, timed."),
        fix=_LIMIT_FIX + "\n# where starting is only slow:\nRAY_worker_register_timeout_seconds=300 ray start ...",
        sources=("Ray: src/ray/raylet/worker_pool.cc, MonitorStartingWorkerProcess", "https://github.com/ray-project/ray/pull/20964", "https://github.com/RLinf/RLinf/issues/227"),
    ),
    Entry(
        name="limit-of-threads",
        line=r"pthread_create failed: Resource temporarily unavailable|[Tt]hread creation failed: Resource temporarily unavailable|what\(\): +(?:thread: )?Resource temporarily unavailable|"
        r"\.(?:cc|h):\d+.{0,200}Resource temporarily unavailable|blas_thread_init: pthread_create failed",
        what="A process of Ray could not start a thread: the limit of processes and threads of this user or container is reached. Each worker has tens of threads, more "
        "on machines with many CPUs.",
        causes=(
            Cause("`ulimit -u`, the container's pids limit or kernel.threads-max is too low for so many workers.", signs=(says(r"Resource temporarily unavailable|pthread_create"),)),
            Cause("Libraries start a thread for each CPU in each worker (OpenMP, OpenBLAS, MKL).", signs=(nearby(r"OpenBLAS|libgomp|OMP_NUM_THREADS|OMP: Error"),)),
        ),
        tell_apart=("`ulimit -u`, `cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids.current`, `ps -eLf | wc -l` on that node.",),
        fix=_LIMIT_FIX,
        sources=("https://github.com/ray-project/ray/issues/36936", "https://github.com/ray-project/ray/issues/44296", "https://github.com/vllm-project/vllm/issues/13354"),
    ),
    Entry(
        name="limit-of-files",
        line=r"(?:\.(?:cc|h):\d+|RpcError|raylet|ray|COULD NOT CREATE A LOGGINGFILE).{0,300}(?:Too many open files|Too may open files|EMFILE)",
        what="A process of Ray has as many open files and sockets as it may have: connections to workers and nodes count.",
        causes=(
            Cause("`ulimit -n` is too low where Ray was started (often 1024).", signs=(says(r"Too ma(?:n)?y open files|EMFILE"),)),
            Cause("Something leaks files or sockets: the number grows with time.", signs=(nearby(r"CLOSE_WAIT"),)),
        ),
        tell_apart=("`ls /proc/<pid of the raylet>/fd | wc -l` and `grep 'open files' /proc/<pid>/limits`.",),
        fix=_LIMIT_FIX,
        sources=("https://github.com/NVIDIA-NeMo/RL/issues/988", "https://github.com/ray-project/ray/issues/10585"),
    ),
    Entry(
        name="gcs-unavailable",
        classes=("RpcError",),
        line=r"Failed to connect to GCS|GCS has been unavailable for more than|[Tt]imed out while waiting for GCS to become available|Couldn't reconnect to GCS|"
        r"Failed to get cluster ID from GCS|Failed to register worker \w* ?to Raylet|Unable to connect to GCS|Ray Client.{0,40}GCS.{0,40}(?:unavailable|failed)",
        what="The head's GCS (Ray's directory of nodes, actors and jobs) could not be reached. Ray gives up after RAY_gcs_rpc_server_reconnect_timeout_s (60), and the process "
        "or the whole node ends itself.",
        causes=(
            Cause("The head node or its GCS ended: killed for memory, restarted, scaled down, `ray stop`.",
                  signs=(KILLED_FOR_MEMORY, nearby(r"OOMKilled|gcs_server.{0,80}(?:SIGSEGV|SIGABRT|Check failed|killed|exited)|Received SIGTERM|ray stop|CrashLoopBackOff"),
                         says(r"has been unavailable for more than"))),
            Cause("The address or port is wrong or closed: a firewall, a NetworkPolicy, another network interface, a DNS name that does not resolve.",
                  signs=(nearby(r"Connection refused|failed to connect to all addresses|No route to host|Name or service not known|DNS resolution failed"),)),
            Cause("The versions of Ray or the cluster's token differ.", signs=(nearby(r"Version mismatch|version mismatch|UNAUTHENTICATED|[Aa]uthentication|Cluster ID mismatch"),)),
            Cause("A proxy catches gRPC (http_proxy, grpc_proxy).", signs=(nearby(r"https?_proxy|grpc_proxy|no_proxy"),)),
            Cause("The head was not yet up.", signs=(says(r"to become available|within 5 seconds|cluster ID"),)),
            Cause("A limit of threads or files of the process that connects.", signs=(nearby(LIMITS),)),
        ),
        tell_apart=("`ray health-check --address <head>:6379` from this machine; `nc -vz <head> 6379`.", "gcs_server.out and gcs_server.err on the head: its last lines."),
        fix="# on the head: is it there, and since when?\nps -o pid,lstart,cmd -C gcs_server\n# let a restart of the head be survived (Redis): RAY_REDIS_ADDRESS=... ray start --head; KubeRay: gcsFaultToleranceOptions",
        sources=("Ray: src/ray/gcs_rpc_client/rpc_client.h", "https://docs.ray.io/en/latest/ray-core/fault_tolerance/gcs.html",
                 "https://github.com/ray-project/kuberay/issues/3897", "https://github.com/ray-project/kuberay/issues/2540"),
    ),
    Entry(
        name="not-authenticated",
        classes=("AuthenticationError",),
        what="The cluster wants a token (the default of Ray 2.59 and newer), and this process has none or a wrong one.",
        causes=(
            Cause("No token was found: not in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.", signs=(says(r"[Nn]o .{0,40}token|not found|missing|required"),)),
            Cause("The token is that of another cluster.", signs=(says(r"[Ii]nvalid|mismatch|wrong|UNAUTHENTICATED"),)),
        ),
        tell_apart=("`sha256sum ~/.ray/auth_token` here and on the head: are they the same?",),
        fix="export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/.ray/auth_token     # the head's token, copied here",
        sources=("Ray: python/ray/exceptions.py, AuthenticationError", "https://docs.ray.io/en/latest/ray-security/token-auth.html"),
    ),
)  # fmt: skip
