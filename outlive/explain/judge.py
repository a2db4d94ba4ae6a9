"""Sorts the causes of an entry by the evidence in a text."""

from __future__ import annotations

from dataclasses import replace

from outlive.explain.evidence import UNCERTAIN
from outlive.explain.model import Cause, Entry, Explanation, JudgedCause, Scene, Sign


def judge(entry: Entry, scene: Scene, error: str, count: int = 1, lines: tuple[int, ...] = ()) -> Explanation:
    """Explain the error of `entry` by the evidence in `scene`.

    Causes with evidence about this error come first, then those with evidence elsewhere in the text, then those without
    evidence, and ruled out ones last. Within each group the weight decides, then the order in the entry.
    """
    judged = [(_judge_cause(cause, scene), cause.weight(scene) if cause.weight else 0.0) for cause in entry.causes]
    ranked = [cause for cause, _ in sorted(judged, key=lambda pair: (_rank(pair[0]), -pair[1]))]
    message = scene.occurrences[0].lines[0].text.strip() if scene.occurrences else ""
    return Explanation(
        error=error,
        variant=entry.name,
        what=entry.what,
        causes=tuple(ranked),
        tell_apart=entry.tell_apart,
        fix=entry.fix,
        sources=entry.sources,
        count=count,
        lines=lines,
        ids=scene.ids,
        message=message[:500],
    )


def _rank(cause: JudgedCause) -> int:
    if cause.ruled_out:
        return 3
    if not cause.evidence:
        return 2
    return 1 if all(evidence.endswith(UNCERTAIN) for evidence in cause.evidence) else 0


def _judge_cause(cause: Cause, scene: Scene) -> JudgedCause:
    contrary = [evidence for sign in cause.against if (evidence := _for_every_id(sign, scene))]
    if contrary:
        return JudgedCause(cause.text, tuple(contrary), ruled_out=True)
    return JudgedCause(cause.text, tuple(evidence for sign in cause.signs if (evidence := sign(scene))))


def _for_every_id(sign: Sign, scene: Scene) -> str | None:
    """The evidence, if it holds for each of the ids. A cause that one of many ids contradicts is not ruled out."""
    found = [sign(replace(scene, ids=(one,))) for one in scene.ids] or [sign(scene)]
    return found[0] if all(found) else None
