# ruff: noqa: E501 - whole sentences of Ray
"""What Ray prints with every message of a kind decides nothing, in the wording of every version."""

from __future__ import annotations

import pytest

from outlive import explain

EXIT = "Worker unexpectedly exits with a connection error code 2. End of file."
FIXED = {
    "2.0 to 2.49": f"{EXIT} There are some potential root causes. (1) The process is killed by SIGKILL by OOM killer due to high memory "
    "usage. (2) ray stop --force is called. (3) The worker is crashed unexpectedly due to SIGSEGV or other unexpected errors.",
    "2.50 to 2.58": f"{EXIT} Some common causes include: (1) the process was killed by the OOM killer due to high memory usage, (2) ray stop "
    "--force was called, or (3) the worker crashed unexpectedly due to SIGSEGV or another unexpected error.",
    "2.60": f"{EXIT} Some common causes include: (1) the process was killed by the OOM killer due to high memory usage, (2) ray stop --force "
    "was called, or (3) the worker crashed unexpectedly due to SIGSEGV or another unexpected error. If the process was killed by the kernel "
    "OOM killer (verifiable by checking for OOM in dmesg of the OOMing node), consider something or other.",
}  # fmt: skip
MARKED = (
    "The node with node id: "
    + "1b" * 28
    + " and address: 10.1.0.154 and node name: 10.1.0.154 has been marked dead because the detector has missed too many heartbeats from it. This can happen when a \t"
)
LOST = {
    "2.0 to 2.30": MARKED + "(1) raylet crashes unexpectedly (OOM, preempted node, etc.) \n\t(2) raylet has lagging heartbeats due to slow network or busy workload.",
    "2.31 to 2.60": MARKED + "(1) raylet crashes unexpectedly (OOM, etc.) \n\t(2) raylet has lagging heartbeats due to slow network or busy workload.",
    "terminated": "Raylet is terminated. Termination is unexpected. Possible reasons include: (1) SIGKILL by the user or system OOM killer, (2) Invalid memory access from Raylet causing SIGSEGV or SIGBUS, (3) Other termination signals. Last 20 lines of the Raylet logs:",
    "died": "ray.exceptions.NodeDiedError: Task failed because the node it was running on is dead or unavailable. Node IP: 10.1.0.1, node ID: " + "1b" * 28 + ". This can happen if the node was preempted, had a hardware failure, or its raylet crashed unexpectedly. To see node death information, use `ray list nodes --filter node_id=x`",
    "died, 2.9": "ray.exceptions.NodeDiedError: Task failed due to the node dying. This can happen if: (1) the instance where the node was running failed, (2) raylet crashes unexpectedly (OOM, preempted node, etc).",
}  # fmt: skip
ACTOR = "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.\n\tpid: 442\n\tip: 10.1.0.5\nThe actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
WORKER = "(raylet) A worker died or was killed while executing a task by an unexpected system error. To troubleshoot the problem, check the logs for the dead worker. Worker IP address: 10.1.0.5 Worker PID: 442 Worker exit type: SYSTEM_ERROR Worker exit detail: "
TEXTS = [ACTOR + text for text in FIXED.values()] + [WORKER + text for text in FIXED.values()] + list(LOST.values())


@pytest.mark.parametrize("text", TEXTS)
def test_alone_it_is_no_evidence(text):
    (explanation,) = explain.read(text).explanations
    assert [cause.text for cause in explanation.causes if cause.evidence] == []


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("other", TEXTS)
def test_nor_for_another_error(text, other):
    for explanation in explain.read(f"{text}\n\n{other}").explanations:
        decided = [(cause.text, cause.evidence) for cause in explanation.causes if cause.evidence]
        assert not any(
            "killed for memory" in cause or "native code" in cause or "OOM killer" in cause for cause, _ in decided
        )


CRASH = "*** SIGSEGV received at time=1774789190 on cpu 12 ***"


@pytest.mark.parametrize("text", TEXTS[:6])
def test_what_stands_outside_of_it_decides(text):
    (first, *_) = explain.read(f"{text}\n(Worker pid=442) {CRASH}\n").explanations
    assert "native code" in first.causes[0].text
    assert "of the same process, pid 442" in first.causes[0].evidence[0]


@pytest.mark.parametrize("text", TEXTS[:6])
def test_another_process_does_not(text):
    (first, *_) = explain.read(f"{text}\n(Worker pid=443) {CRASH}\n").explanations
    assert not any(cause.evidence for cause in first.causes)


@pytest.mark.parametrize("text", TEXTS[:6])
def test_a_memory_line_about_the_same_node_comes_first(text):
    line = "(raylet) [2026-01-12 09:00:00,000 E 41 41] (raylet) node_manager.cc:3277: 1 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed due to other reasons at node (ID: 1b, IP: 10.1.0.5)"
    for explanation in explain.read(f"{text}\n(W pid=442) CUDA error: x\n{line}").explanations[:1]:
        assert "killed for memory" in explanation.causes[0].text
        assert "names the same address" in explanation.causes[0].evidence[0]
