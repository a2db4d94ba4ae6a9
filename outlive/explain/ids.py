"""Ray's ids, field by field: which job, task, attempt and return or put an id names. Needs no cluster and no Ray.

Layout: src/ray/common/id.h and id.cc of Ray. From left to right an ObjectID is

    | 8 bytes: the task, hashed | 12 bytes: the actor, hashed | 4 bytes: job | 4 bytes: index |
    '-------------------------- TaskID -------------------------------------'

where the actor's bytes are all ff for a normal task, and ActorID is actor and job. Job and index are little-endian.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from outlive.explain.id_words import FIRST_PUT, Maker, ordinal, put_sentence, return_sentence

Kind = Literal[
    "ObjectID", "TaskID", "ActorID", "JobID", "WorkerID or NodeID", "WorkerID", "PlacementGroupID", "LeaseID"
]

_PLAUSIBLE_PUTS = 100_000_000  # more than any process makes, but so few that random bytes are seldom in this range
_PLAUSIBLE_JOBS = 1 << 20
_PLAUSIBLE_ATTEMPTS = 32
_SIZES: dict[int, Kind] = {
    4: "JobID",
    16: "ActorID",
    18: "PlacementGroupID",
    24: "TaskID",
    28: "ObjectID",
    32: "LeaseID",
}
_WRAPPED = re.compile(
    r"\s*(?:(?P<kind>[A-Za-z]{3,20}(?:ID|Id|Ref))\s*\()?[^0-9A-Za-z]*(?:0[xX])?(?P<hex>[0-9a-fA-F]*)(?P<rest>.{0,20})",
    re.DOTALL,
)
_ONLY_WRAPPING = re.compile(r"[^0-9A-Za-z]*\Z")


class NotAnId(ValueError):
    """The text is not an id of Ray. The message says why."""


@dataclass(frozen=True)
class Field:
    """A part of an id: its name, its hex digits as in the id, and their meaning."""

    name: str
    hex: str
    meaning: str


@dataclass(frozen=True)
class DecodedId:
    """The content of an id.

    Attributes
    ----------
    kind, hex
        Which of Ray's ids, and its digits in lower case.
    fields
        The id's parts from left to right; their digits joined are `hex`.
    sentence
        Who made it, which process owned it, whether it has lineage: in plain words.
    job, actor, task
        The job's number, the actor's id, and the id of the task as the state API lists it, where the id says them.
    maker
        What kind of code made the object, or is the task.
    attempt
        Which execution of the task called `ray.put`: 0 the first; None where the id does not say.
    index, put
        The object's number, and whether it comes from `ray.put` (rather than being a return value).
    """

    kind: Kind
    hex: str
    fields: tuple[Field, ...]
    sentence: str
    job: int | None = None
    actor: str | None = None
    task: str | None = None
    maker: Maker = "unknown"
    attempt: int | None = None
    index: int | None = None
    put: bool = False


def decode(text: str) -> DecodedId:
    """Decode an ObjectID, TaskID, ActorID, JobID, WorkerID, NodeID, PlacementGroupID or LeaseID.

    Parameters
    ----------
    text
        Hex digits in any case; quotes, brackets, an ellipsis or `ObjectRef(...)` around them do not matter.

    Raises
    ------
    NotAnId
        The text is something else, or was shortened.

    Examples
    --------
    >>> decode("00f7ac668d3063a5ffffffffffffffffffffffff0200000002e1f505").job
    2
    """
    match = _WRAPPED.match(text[:400])
    digits = match["hex"].lower() if match else ""
    if match is None or not digits or not _ONLY_WRAPPING.match(match["rest"]):
        raise NotAnId(f"{_short(text)} is not an id: an id consists of hex digits")
    size, odd = divmod(len(digits), 2)
    kind = _SIZES.get(size)
    dotted = "..." in text or "\u2026" in text
    shortened = dotted and kind == "JobID" and _PLAUSIBLE_JOBS <= _number(digits) < 0xFFFFFFFF
    if odd or kind is None or shortened:
        sizes = ", ".join(f"{2 * n} ({name})" for n, name in _SIZES.items())
        cut = "it was shortened; give all of it. " if dotted else ""
        raise NotAnId(
            f"{_short(text)} has {len(digits)} hex digits, and no id of Ray has that many. {cut}Ids have {sizes}"
        )
    if kind == "ObjectID" and not _is_object(digits, match["kind"] or ""):
        return _decode_worker(digits)
    return _DECODERS[kind](digits)


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _is_object(digits: str, wrapper: str) -> bool:
    """Tells apart ids of the same length: worker and node ids are random throughout, or a job followed by ff."""
    if wrapper.lower() in {"objectref", "objectid"}:
        return True
    if wrapper.lower() in {"workerid", "nodeid", "clientid", "uniqueid"}:
        return False
    job, index = _number(digits[40:48]), _number(digits[48:56])
    return 0 < job < _PLAUSIBLE_JOBS and 0 < index <= FIRST_PUT + _PLAUSIBLE_PUTS


def _number(digits: str) -> int:
    return int.from_bytes(bytes.fromhex(digits), "little")


def _job_field(digits: str) -> Field:
    return Field("job", digits, "no job (nil)" if digits == "f" * 8 else f"job {_number(digits)}")


def _is_nil(digits: str) -> bool:
    return set(digits) == {"f"}


def _decode_job(digits: str) -> DecodedId:
    job = _number(digits)
    if _is_nil(digits):
        return DecodedId("JobID", digits, (_job_field(digits),), "The nil JobID: no job at all.")
    sentence = f"Job {job}: driver number {job} that connected to this cluster, counted since the cluster started."
    return DecodedId("JobID", digits, (_job_field(digits),), sentence, job=job)


def _decode_actor(digits: str) -> DecodedId:
    unique, job = digits[:24], _job_field(digits[24:])
    number = None if _is_nil(digits[24:]) else _number(digits[24:])
    if _is_nil(unique):
        fields = Field("actor", unique, "no actor (nil)"), job
        return DecodedId(
            "ActorID", digits, fields, f"No actor (nil) of {job.meaning}: what normal tasks have here.", job=number
        )
    fields = Field("actor", unique, "hash of who created the actor, and when"), job
    sentence = (
        f"An actor that was created in {job.meaning}; the job's driver, a task or another actor of it owns the actor."
    )
    return DecodedId("ActorID", digits, fields, sentence, job=number, actor=digits)


def _decode_task(digits: str) -> DecodedId:
    unique, actor, job = digits[:16], digits[16:40], _job_field(digits[40:])
    maker = _maker(digits, None)
    about = {
        "driver": f"The main program (driver) of {job.meaning}.",
        "actor creation task": f"The task that runs __init__ of actor {digits[16:]}.",
        "actor task": f"A method call on actor {digits[16:]}, or work of a thread, in {job.meaning}.",
        "normal task": f"A normal task (a function called with .remote()) of {job.meaning}; a pooled worker ran it.",
    }[maker]
    fields = Field("task", unique, _task_meaning(maker)), Field("actor", actor, _actor_meaning(actor)), job
    number = None if _is_nil(digits[40:]) else _number(digits[40:])
    with_actor = None if _is_nil(actor) else digits[16:]
    return DecodedId("TaskID", digits, fields, about, job=number, actor=with_actor, task=digits, maker=maker)


def _maker(task: str, index: int | None) -> Maker:
    """The kind of a task. `index`: that of the object that it made, if the id is an object's."""
    rest_of_task, actor = task[2:16], task[16:40]
    if _is_nil(actor):
        return "driver" if _is_nil(rest_of_task) else "normal task"
    if _is_nil(rest_of_task):
        return "actor creation task"
    # A thread that runs no task has a random task id and no return values, so that its puts count from 1.
    # A method with one return value or more begins at 2 (TaskID::FromRandom, WorkerContext::GetNextPutIndex).
    return "thread or async actor" if index == FIRST_PUT + 1 else "actor task"


def _task_meaning(maker: Maker) -> str:
    return {
        "driver": "all ff: the driver",
        "actor creation task": "all ff: the task that creates the actor",
        "thread or async actor": "random: a thread that runs no task of its own",
    }.get(maker, "hash of the parent task and of how many tasks that had submitted")


def _actor_meaning(actor: str) -> str:
    return "all ff: no actor" if _is_nil(actor) else "the actor's hash"


def _decode_object(digits: str) -> DecodedId:
    task, index = digits[:48], _number(digits[48:])
    job, actor, number = _job_field(task[40:]), task[16:40], _number(task[40:])
    old_put = index <= FIRST_PUT and _is_nil(task[2:40])  # a driver returns nothing
    put = index > FIRST_PUT or old_put
    maker = _maker(task, index)
    attempt = int(task[:2], 16) if put and not _is_nil(task[:2]) else None
    if attempt is not None and attempt >= _PLAUSIBLE_ATTEMPTS:
        attempt = None
    handle = index == 1 and maker == "actor creation task"
    fields: list[Field] = []
    if put and attempt is not None:
        fields.append(Field("attempt", task[:2], f"attempt {attempt}: {ordinal(attempt + 1)} execution of the task"))
        fields.append(Field("task", task[2:16], _task_meaning(maker)))
    else:
        fields.append(Field("task", task[:16], _task_meaning(maker)))
    fields += [
        Field("actor", actor, _actor_meaning(actor)),
        job,
        Field("index", digits[48:], _index_meaning(index, old_put, maker)),
    ]
    if handle:
        sentence = (
            f"Stands for the handle of actor {task[16:]}; it has no value, Ray counts references to the actor by it."
        )
    elif put:
        sentence = put_sentence(maker, job.meaning, attempt, index, task)
    else:
        sentence = return_sentence(maker, job.meaning, index, task)
    real_actor = None if _is_nil(actor) or maker == "thread or async actor" else task[16:]
    return DecodedId(
        "ObjectID", digits, tuple(fields), sentence, job=number, actor=real_actor,
        task=None if put else task, maker=maker, attempt=attempt, index=index, put=put,
    )  # fmt: skip


def _index_meaning(index: int, old_put: bool, maker: Maker) -> str:
    if old_put:
        return f"{index}: put number {index} (numbered as in old Ray, without the gap of {FIRST_PUT:,})"
    if index <= FIRST_PUT:
        return f"{index:,}: return value {index:,}"
    count = index - FIRST_PUT
    if maker in {"driver", "actor creation task", "thread or async actor"}:
        return f"{index:,} = {FIRST_PUT:,} + {count:,}: ray.put number {count:,}"
    return f"{index:,} = {FIRST_PUT:,} + {count:,}: ray.put number {count:,} less the task's number of return values"


def _decode_worker(digits: str) -> DecodedId:
    if _is_nil(digits):
        return DecodedId("WorkerID or NodeID", digits, (Field("id", digits, "nil"),), "A nil id: none.")
    if _is_nil(digits[8:]):  # ComputeDriverIdFromJob, src/ray/common/id.cc
        job = _job_field(digits[:8])
        parts = job, Field("filler", digits[8:], "all ff: a driver")
        return DecodedId(
            "WorkerID", digits, parts, f"The driver process of {job.meaning}.", job=_number(digits[:8]), maker="driver"
        )
    fields = (Field("id", digits, "28 random bytes"),)
    sentence = "A worker process or a node: the id is random and says no more; `--address` asks a running cluster."
    return DecodedId("WorkerID or NodeID", digits, fields, sentence)


def _decode_group(digits: str) -> DecodedId:
    job = _job_field(digits[28:])
    sentence = f"A placement group that was created in {job.meaning}."
    return DecodedId(
        "PlacementGroupID", digits, (Field("group", digits[:28], "random"), job), sentence, job=_number(digits[28:])
    )


def _decode_lease(digits: str) -> DecodedId:
    worker = _decode_worker(digits[8:])
    fields = (
        Field("counter", digits[:8], f"lease {_number(digits[:8])} of its requester"),
        Field("requester", digits[8:], worker.sentence),
    )
    sentence = (
        f"A lease: the right to run tasks on one worker. Lease {_number(digits[:8])} asked for by: {worker.sentence}"
    )
    return DecodedId("LeaseID", digits, fields, sentence, job=worker.job)


_DECODERS = {
    "JobID": _decode_job,
    "ActorID": _decode_actor,
    "PlacementGroupID": _decode_group,
    "TaskID": _decode_task,
    "ObjectID": _decode_object,
    "LeaseID": _decode_lease,
}
