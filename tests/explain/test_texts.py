"""What is found in a text, and what must not be: source code, unknown errors, boilerplate."""

from __future__ import annotations

import pytest

from outlive import explain

NAME = "ReferenceCountingAssertionError"
ID = "00f7ac668d3063a5ffffffffffffffffffffffff0200000002e1f505"


@pytest.mark.parametrize(
    "text",
    [
        f"RayTaskError({NAME})({NAME}(\u2018{ID}\u2019, \u2018\u2019))",
        f"ReferenceCountingAssertionError('{ID}', '')",
        f"2026-01-01 12:00:00 ERROR job failed: ray.exceptions.{NAME}: Failed to retrieve {ID}",
        f"What is the cause of ReferenceCountingAssertionError('{ID}')?",
    ],
)
def test_the_question_of_the_thread(text):
    (explanation,) = explain.read(text).explanations
    assert (explanation.error, explanation.variant, explanation.count) == (
        "ReferenceCountingAssertionError",
        "owner-let-go",
        1,
    )
    (decoded,) = explanation.ids
    assert (decoded.job, decoded.maker, decoded.put) == (2, "normal task", True)
    assert "The owner is alive" in explanation.what
    assert "A process in the middle died" in explanation.causes[0].text
    assert "in a way that Ray does not count" in explanation.causes[1].text
    assert any("max_calls is set says little" in tell for tell in explanation.tell_apart)
    assert any("issues/18456" in source for source in explanation.sources)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        "all is well",
        "ValueError: nothing of Ray",
        "except ray.exceptions.OwnerDiedError:",
        "from ray.exceptions import OwnerDiedError",
        "raise OwnerDiedError('x')",
        "class OwnerDiedError(ObjectLostError):",
        "We caught OwnerDiedError again",
        '  File "a.py", line 3, in f\n    OwnerDiedError: "not an error but a line of code"\nValueError: x',
        "MyOwnerDiedError: not Ray's",
        "torch.OutOfMemoryError: host memory",
    ],
)
def test_nothing_is_made_up(text):
    reading = explain.read(text)
    assert reading.explanations == ()
    assert reading.unexplained == {}


def test_unknown_exceptions_of_ray_are_counted_and_not_explained():
    reading = explain.read("ray.exceptions.BrandNewError: who knows\n" * 3)
    assert reading.explanations == ()
    assert reading.unexplained == {"BrandNewError": 3}


def test_repeats_are_counted():
    line = f"ray.exceptions.OwnerDiedError: Failed to retrieve object {ID}. \n"
    prefixed = f"(f pid=1, ip=10.0.0.1) {line.rstrip()} [repeated 3x across cluster]\n"
    (explanation,) = explain.read(line * 2 + prefixed).explanations
    assert explanation.count == 5
    assert explanation.lines == (1, 2, 3)
    assert [decoded.hex for decoded in explanation.ids] == [ID]


def test_interleaved_writers_are_kept_apart():
    text = (
        f"(f pid=1) ray.exceptions.OwnerDiedError: Failed to retrieve object {ID}\n"
        "(g pid=2) ray.exceptions.WorkerCrashedError: The worker died\n"
        "(f pid=1) The object's owner has exited.\n"
    )
    assert {one.variant: one.count for one in explain.read(text).explanations} == {"owner-died": 1, "worker-crashed": 1}


def test_what_ray_always_says_is_no_evidence():
    text = (
        "ray.exceptions.WorkerCrashedError: The worker died unexpectedly while executing this task.\n"
        "Some common causes include: (1) the process was killed by the OOM killer, (3) SIGSEGV\n"
    )
    (explanation,) = explain.read(text).explanations
    assert all(not cause.evidence for cause in explanation.causes)


def test_gpu_memory_is_not_the_memory_of_the_node():
    text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    (explanation,) = explain.read(text).explanations
    assert explanation.variant == "out-of-gpu-memory"


def test_every_entry_says_all():
    from outlive.explain.knowledge import ENTRIES
    from outlive.explain.reader import Reader

    Reader()
    for entry in ENTRIES:
        assert entry.what and entry.causes and entry.tell_apart and entry.fix and entry.sources, entry.name
        assert entry.classes or entry.line or entry.remote


def test_every_exception_about_objects_workers_and_actors_is_known():
    from ray import exceptions

    from outlive.explain.reader import CLASSES

    named = [
        "ReferenceCountingAssertionError",
        "OwnerDiedError",
        "ObjectLostError",
        "ObjectFetchTimedOutError",
        "ObjectFreedError",
        "ObjectReconstructionFailedError",
        "ObjectStoreFullError",
        "OutOfDiskError",
        "WorkerCrashedError",
        "TaskCancelledError",
        "NodeDiedError",
        "OutOfMemoryError",
        "RaySystemError",
        "RayActorError",
    ]
    subclasses = {kind.__name__ for kind in exceptions.RayActorError.__subclasses__()}
    subclasses |= {kind.__name__ for kind in exceptions.ObjectLostError.__subclasses__()}
    assert {*named, *(name for name in subclasses if "(" not in name)} <= CLASSES


def test_what_is_not_known_is_counted_and_shown():
    line = "[2025-03-04 19:28:30,014 E {pid} {pid}] (raylet) new_part.cc:12: The flux of worker {n} is off"
    text = "\n".join(line.format(pid=n, n=n) for n in range(3)) + "\nray.exceptions.NewestError: of tomorrow\n"
    reading = explain.read(text)
    assert reading.explanations == ()
    assert reading.unexplained == {"NewestError": 1}
    assert [(one.line, one.count) for one in reading.unknown] == [(1, 3), (4, 1)]
    assert reading.unknown[0].text == line.format(pid=0, n=0)


@pytest.mark.parametrize("level", ["I", "W", "D"])
def test_other_lines_of_ray_are_no_errors(level):
    assert explain.read(f"[2025-03-04 19:28:30,014 {level} 4 4] (raylet) x.cc:1: something").unknown == ()


def test_an_owner_that_is_a_driver_is_named():
    driver = "13000000" + "f" * 48
    died = f"ray.exceptions.OwnerDiedError: x {ID}\n(`/logs/*{driver}*` at IP address 1.1.1.1)"
    (mention,) = explain.read(died).explanations[0].mentions
    assert (mention.label, mention.id.sentence) == ("owner", "The driver process of job 19.")
    dead = (
        f"ray.exceptions.ActorDiedError: x\nThe actor is dead because its owner has died. Owner Id: {driver} Owner Ip"
    )
    (mention,) = explain.read(dead).explanations[0].mentions
    assert (mention.label, mention.id.maker) == ("Owner Id", "driver")


@pytest.mark.parametrize("name", ["app.errors.TaskCancelledError", "app.ObjectLostError", "pool.WorkerCrashedError"])
def test_a_class_of_another_library_with_the_name_of_one_of_ray_is_not_explained(name):
    text = f'Traceback (most recent call last):\n  File "app/main.py", line 3, in run\n{name}: the user said stop\n'
    assert not explain.read(text).explanations
    assert explain.read(text.replace(name, f"ray.exceptions.{name.split('.')[-1]}")).explanations


DIED = (
    "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.\n\tclass_name: A\n"
    "\tip: 10.0.0.1\nThe actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR "
    "Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file.\n"
)


@pytest.mark.parametrize("head", ["", "2026-01-01 12:00:00,000 ERROR run.py:3 - "])
@pytest.mark.parametrize("between", ["", "\n", "3 files saved\n", "saved: /data/7\n"])
def test_a_line_that_another_program_wrote_after_an_error_is_not_its_words(head, between):
    (explanation,) = explain.read(f"{head}{DIED}{between}earlier run: CUDA out of memory\n").explanations
    assert "GPU" in explanation.causes[0].text
    (evidence,) = explanation.causes[0].evidence
    assert evidence.endswith("(elsewhere in this text; not certain to be related)")


@pytest.mark.parametrize(
    "tail",
    [
        "The worker log says CUDA out of memory",  # a sentence of Ray's may begin so
        "\tlast line: CUDA out of memory",
    ],
)
def test_a_line_that_may_be_of_the_message_is_taken_for_its_words(tail):
    (explanation,) = explain.read(DIED + tail).explanations
    (evidence,) = explanation.causes[0].evidence
    assert "not certain" not in evidence


def test_a_sentence_that_a_person_wrapped_goes_on():
    wrapped = DIED.replace("a connection error code 2", "\nCUDA out of memory, and error code 2")
    (explanation,) = explain.read(wrapped).explanations
    (evidence,) = explanation.causes[0].evidence
    assert "not certain" not in evidence
