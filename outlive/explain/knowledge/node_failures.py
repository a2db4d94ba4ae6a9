"""Nodes that were lost, taken away or never came: what the raylet, the GCS and the autoscaler log about them."""

from __future__ import annotations

from outlive.explain.evidence import nearby, says
from outlive.explain.knowledge.ends import KILLED_FOR_MEMORY, LIMITS, SCALED_DOWN_LINE
from outlive.explain.model import Cause, Entry

_HEALTH = "Ray: src/ray/gcs/gcs_health_check_manager.cc"
_MARKED = (
    r"mistakenly been marked as dead|failed to check the health of this node|RAYLET_MARKED_DEAD|health check failed"
)
_CRASHED = r"Raylet is terminated|\(raylet\) .{0,80}(?:Check failed|SIGSEGV|SIGABRT|SIGBUS|Unhandled exception)"
_LOST = "Objects that only it had are lost, and so are its workers and all objects that those owned."

ENTRIES = (
    Entry(
        name="raylet-marked-dead",
        line=r"mistakenly been marked as dead by the|GCS failed to check the health of this node for",
        what="The GCS took a node for dead although its raylet lived: it had checked the node's health several times (5 unless set, 3 s apart) and "
        "got no answer in time. The raylet then ended itself. " + _LOST,
        causes=(
            Cause("The machine or the raylet was overloaded: CPU, memory (swapping), disk.", signs=(KILLED_FOR_MEMORY, says(r"has become overloaded"))),
            Cause("The network between the node and the head was broken or slow.",
                  signs=(nearby(r"failed to connect to all addresses|Connection refused|DEADLINE_EXCEEDED|keepalive watchdog timeout"),)),
            Cause("The machine was suspended, or the container was paused or throttled to almost nothing."),
            Cause("The GCS restarted, or was itself too busy.", signs=(nearby(r"GCS has been unavailable|Failed to connect to GCS"),)),
        ),
        tell_apart=("CPU, memory and pressure (`cat /proc/pressure/*`) of that node at that time.", "gcs_server.out on the head: how many health checks failed."),
        fix="# Where Ray starts on the head, more patience (milliseconds, number of tries):\n"
        "RAY_health_check_timeout_ms=30000 RAY_health_check_failure_threshold=10 ray start --head ...\n"
        "# and leave the raylet a CPU of its own: ray start --num-cpus=<one fewer than there are>",
        sources=(_HEALTH, "Ray: src/ray/raylet/node_manager.cc", "https://github.com/ray-project/kuberay/issues/3827", "https://github.com/ray-project/ray/issues/54035"),
    ),
    Entry(
        name="node-lost",
        line=r"The node with node id:? \w+ .{0,200}has been marked dead|is dead because the health check failed|Node is dead because the health check failed",
        what="The GCS has marked a node dead. " + _LOST + " Ray prints the same words about heartbeats whatever the reason was.",
        causes=(
            Cause("The autoscaler or an operator took it away.", signs=(nearby(SCALED_DOWN_LINE),)),
            Cause("It was preempted (a spot instance).", signs=(nearby(r"preempt(?:ed|ion notice)(?!, had a hardware)"),)),
            Cause("Its raylet lived, but did not answer the GCS's health checks in time.", signs=(nearby(_MARKED), says(r"health check failed"))),
            Cause("Its raylet was killed or crashed.", signs=(nearby(_CRASHED),)),
            Cause("The kernel's OOM killer took it, or the pod's memory limit.", signs=(nearby(r"oom-kill|Out of memory: Kill|OOMKilled"),)),
        ),
        tell_apart=("The end of that node's raylet.out, `dmesg -T`, and the cloud's or Kubernetes' events (preemption, scale-down, OOMKilled).",),
        fix="@ray.remote(max_retries=3)   # tasks run again elsewhere\ndef work(): ...",
        sources=("Ray: src/ray/gcs/gcs_node_manager.cc", _HEALTH),
    ),
    Entry(
        name="raylet-crashed",
        line=r"Raylet is terminated|The raylet exited immediately because the Ray agent failed|\(raylet\) \w[\w./]*:\d+: +(?:.{0,60}Check failed|Unhandled exception)",
        what="A raylet (Ray's process on each node) ended by itself. Ray lists signals and memory whatever the reason was. " + _LOST,
        causes=(
            Cause("A limit of the system: threads, processes or open files (`ulimit -u`, `ulimit -n`, pids of the container).", signs=(nearby(LIMITS), says(LIMITS))),
            Cause("It stopped itself at a failed check or an exception, which it logged last.", signs=(says(r"Check failed|Unhandled exception"), nearby(r"\(raylet\).{0,200}Check failed|C \d+ \d+\] \(raylet\).{0,300}"))),
            Cause("It crashed: SIGSEGV, SIGABRT.", signs=(nearby(r"\*\*\* SIG(?:SEGV|ABRT|BUS) received|Segmentation fault"),)),
            Cause("The kernel's OOM killer took it.", signs=(nearby(r"oom-kill|Out of memory: Kill|OOMKilled"),)),
            Cause("Its agent ended, and with it the raylet: a port that was taken, or a broken installation (ray[default], grpcio).",
                  signs=(says(r"because the Ray agent failed"), nearby(r"agent_manager|dashboard_agent|Failed to start the dashboard"))),
            Cause("The GCS was gone, or had taken it for dead.", signs=(nearby(_MARKED), nearby(r"Failed to connect to GCS|GCS has been unavailable"))),
        ),
        tell_apart=("The last lines of raylet.out and raylet.err of that node (Ray quotes the last 20 of them).", "`dmesg -T | grep -i oom`."),
        fix="ulimit -n 65536 && ulimit -u unlimited && ray start ...   # in a shell, if a limit was reached",
        sources=("Ray: python/ray/_private/process_watcher.py", "https://github.com/ray-project/ray/pull/60048 (its text)"),
    ),
    Entry(
        name="node-scaled-down",
        line=r"Termination of node that's idle for|Removing \d+ nodes of type .{1,100}\(idle\)|Terminating the node with id .{1,100}\(idle\)|StandardAutoscaler: .{0,60}[Tt]erminating.{0,100}idle|"
        r"Terminating node due to \w*IDLE",
        what="The autoscaler took a node away because it had been idle: no task, no actor and nothing in its object store as Ray counts.",
        causes=(
            Cause("It was idle for longer than idle_timeout_minutes (5 unless set; KubeRay: idleTimeoutSeconds, 60).", signs=(says(r"idle"),)),
            Cause("More nodes than max_workers.", signs=(says(r"max_workers|max number of worker"),)),
        ),
        tell_apart=("monitor.log on the head has each decision.",),
        fix="idle_timeout_minutes: 30     # in the cluster file; KubeRay: autoscalerOptions.idleTimeoutSeconds: 1800",
        sources=("Ray: python/ray/autoscaler/v2/scheduler.py", "Ray: python/ray/autoscaler/_private/event_summarizer.py", "https://github.com/ray-project/kuberay/issues/859"),
    ),
    Entry(
        name="node-drained",
        line=r"Node is marked as dead by GCS because the node is drained|Raylet is drained\.|The node is (?:already )?drained, (?:exiting|continue)|Set node to be draining|DrainNode\(\) for node id|"
        r"Draining \d+ raylet\(s\)|the actor's node was terminated expectedly",
        what="A node was drained: told to take no more work and to end, by the autoscaler, an operator or a preemption notice.",
        causes=(
            Cause("A preemption notice (a spot instance).", signs=(says(r"PREEMPTION|preempt"), nearby(r"DRAIN_NODE_REASON_PREEMPTION|preemption notice"))),
            Cause("The autoscaler scaled down.", signs=(says(r"IDLE_TERMINATION"), nearby(SCALED_DOWN_LINE.split("|is drained")[0]))),
        ),
        tell_apart=("`ray list nodes --detail` has the reason and its message; monitor.log on the head.",),
        fix="# Keep replicas of arrays that must survive the loss of a node:\nhandle = outlive.open().put(array, replicas=2)",
        sources=("Ray: src/ray/gcs/gcs_node_manager.cc", "Ray: src/ray/protobuf/autoscaler.proto, DrainNodeReason"),
    ),
)  # fmt: skip
