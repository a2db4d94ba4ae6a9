"""Ends of Ray's processes without a Python exception: the causes that workers, actors and owners share."""

from __future__ import annotations

from outlive.explain.evidence import anywhere, nearby
from outlive.explain.model import Cause

KILLED_FOR_MEMORY = anywhere(
    r"[1-9]\d* Workers \(tasks / actors\) killed due to memory pressure|killed due to the node running low on memory|"
    r"NODE_OUT_OF_MEMORY|oom-kill|oom_reaper|Out of memory: Kill|OOMKilled|exceeds the memory usage threshold"
)
_CRASH = r"SIGSEGV|SIGBUS|SIGABRT|SIGFPE|SIGILL|Segmentation fault|Fatal Python error|\*\*\* Aborted|core dumped|terminate called"
_GPU = (
    r"CUDA out of memory|CUDA error|CUDA driver error|cudaError|cudaMalloc|NCCL error|NCCL WARN|ncclInternalError|ncclSystemError|"
    r"ncclUnhandled|ncclCommInit|Watchdog caught collective operation timeout|HIP error|CUBLAS_STATUS|device-side assert|Xid \("
)
LIMITS = (
    r"Resource temporarily unavailable|pthread_create failed|[Tt]hread creation failed|can't start new thread|Too many open files|EMFILE|"
    r"Cannot allocate memory|OPENBLAS_NUM_THREADS|errno 11\b|std::system_error"
)
STOPPED = (
    r"ray stop|Received SIGTERM|received SIGTERM|SIGTERM received|Shutting down the raylet|Terminating worker pods"
)

MEMORY = Cause(
    "It was killed for memory, by Ray's memory monitor or the kernel's OOM killer.", signs=(KILLED_FOR_MEMORY,)
)
NATIVE = Cause(
    "A crash in native code (a C extension, a GPU driver, NCCL).", signs=(anywhere(_CRASH, same_process=True),)
)
GPU = Cause(
    "The GPU or its communication failed, or the GPU's memory was used up.", signs=(anywhere(_GPU, same_process=True),)
)
LIMIT = Cause(
    "A limit of the system: threads and processes (`ulimit -u`, pids of the container) or open files (`ulimit -n`).",
    signs=(anywhere(LIMITS),),
)
NODE = Cause(
    "Its whole node was lost.",
    signs=(
        nearby(
            r"has been marked dead|Raylet is terminated|mistakenly been marked as dead|is dead because the health check failed"
        ),
    ),
)
SCALED_DOWN_LINE = (
    r"Termination of node that's idle for|Removing \d+ nodes of type .{1,100}\(idle\)|Terminating the node with id .{1,100}\(idle\)|"
    r"IDLE_TERMINATION|is drained|[Dd]rain(?:ing|ed)? (?:node|ray|raylet)|\bdrain(?:ed|ing)\b(?! for up to)|because the node is drained"
)
STOP = Cause("Ray was stopped, or the process got a signal.", signs=(nearby(STOPPED),))
NO_TRACE = Cause(
    "It called os._exit() or got SIGKILL. Ray cannot tell these apart, as it sees nothing but the closed connection."
)

PROCESS_ENDED = (MEMORY, NATIVE, GPU, LIMIT, NODE, STOP, NO_TRACE)

TELL_PROCESS = (
    "`dmesg -T | grep -iE 'oom|segfault'` on that node, at that time; in Kubernetes `kubectl describe pod`: OOMKilled.",
    "The last lines of the process's own log, *-<pid>.err in /tmp/ray/session_latest/logs of that node: a native crash leaves a stack there.",
    "`ulimit -u -n` in the shell that starts Ray, and `cat /sys/fs/cgroup/pids.max` in a container.",
)
