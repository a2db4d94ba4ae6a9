"""Sentences that Ray prints with every message of a kind, in the wording of Ray 1.6 to 2.60: they are no evidence.

For example, "Some common causes include ... SIGSEGV" also comes with a worker that was killed for memory.
"""

from __future__ import annotations

import re

_SENTENCES = (
    # a worker's end (src/ray/raylet/node_manager.cc), 2.0 to 2.50 and later
    r"(?: ?\. )?There are some potential root causes\.(?:.{0,300}?unexpected errors?\.|.*)",
    r"(?: ?\. )?Some common causes include:(?:.{0,300}?unexpected errors?\.|.*)",
    r"\(\d\) (?:[Tt]he )?(?:process (?:is|was) killed by|worker (?:is )?crashed unexpectedly).*",
    r"\(\d\) Invalid memory access from Raylet.*",
    r"If the process was killed by the kernel OOM killer \(verifiable[^)]{0,500}\),.*",
    r"To troubleshoot the problem, check the logs for the dead worker\.",
    # a lost node (gcs_node_manager.cc, _private/worker.py)
    r"because the detector has missed too many heartbeats from it\.(?:.{0,500}?busy workload\.?|\s*This can happen when.*|$)",  # noqa: E501
    r"(?<!\s)\s*\(\d\) raylet (?:crashes unexpectedly|has lagging heartbeats)[^\n]*",
    r"This can happen if:? (?:\(1\) )?the (?:instance where|node was preempted).{0,200}?(?:etc\)|unexpectedly)\.?",
    r"raylet crashes unexpectedly \(OOM[^)]{0,500}\)\.?",
    # the raylet's own end (dashboard/agent, process_watcher.py)
    r"Possible reasons include: ?\(1\) SIGKILL(?:.{0,200}?termination signals\.|.*)",
    r"This can happen because the Ray agent was unexpectedly killed or failed\.",
    r"- The agent is killed by the OS \(e\.g\., out of memory\)\.",
    # memory
    r"Refer to the documentation on how to address the out of memory issue:.*",
    # the GCS out of reach (gcs_rpc_client.h)
    r"GCS may have been killed\. It's either GCS is terminated by `ray stop` or is killed unexpectedly\..*",
    # objects
    r"To see information about where this ObjectRef was created in Python,.{0,120}?`ray\.init\(\)`\.",
    r"To see information about where this ObjectRef was created.*",
    r"This may indicate a system-level bug\.",
)  # fmt: skip
_FIXED = re.compile("|".join(f"(?:{sentence})" for sentence in _SENTENCES))
_WORDS = (
    "potential root", "common causes", ") The ", ") the ", ") Invalid", "kernel OOM", "To troubleshoot", "heartbeats",
    "This can happen", "raylet crashes", "Possible reasons", "The agent is killed", "Refer to the doc", "GCS may have",
    "To see information", "system-level",
)  # fmt: skip


def without_fixed_text(text: str) -> str:
    """Ray's text of this case, without the sentences that come each time."""
    if not any(word in text for word in _WORDS):
        return text
    return _FIXED.sub("", text)
