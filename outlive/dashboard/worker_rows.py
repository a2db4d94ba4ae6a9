"""Workers as rows of the page, from the report of `outlive.workers.inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outlive.workers.rows import Report, Worker
    from outlive.workers.trimming import Trimmed


def document(report: Report) -> dict[str, Any]:
    """`Source.workers`."""
    return {
        "workers": [row(worker) for worker in report.workers],
        "nodes": [
            {
                "id": node.node_id,
                "name": node.name,
                "keeps": node.keeps,
                "error": node.error,
                "settings": [f"{one.name}={one.value} ({one.source})" for one in node.settings[:3]],
            }
            for node in report.nodes
        ],
        "unseen": list(report.unseen),
        "entrypoints": report.entrypoints,
    }


def row(worker: Worker) -> dict[str, Any]:
    """One worker. `kind` is its first reason; `why` has them all, each with what would let it go."""
    return {
        "id": worker.worker_id,
        "node": worker.node_id,
        "pid": worker.pid,
        "job": worker.job,
        "title": worker.title,
        "state": worker.state,
        "idle_for": worker.idle_for,
        "unique": worker.unique,
        "shared": worker.shared,
        "owned": worker.owned,
        "borrowed": worker.borrowed,
        "tasks": worker.tasks,
        "pending": worker.tasks_pending,
        "function": worker.function,
        "kind": worker.reasons[0].kind if worker.reasons else None,
        "why": [{"text": one.text, "remedy": one.remedy} for one in worker.reasons],
        "retirable": worker.retirable,
    }


def trimmed(result: Trimmed) -> dict[str, Any]:
    """`Source.preview_trim` and `Source.trim`."""
    return {
        "chosen": [
            {**row(one.worker), "because": one.because, "outcome": one.outcome, "left": one.left}
            for one in result.chosen
        ],
        "spared": [row(worker) for worker in result.spared],
        "unseen": list(result.unseen),
        "freed": result.freed,
    }
