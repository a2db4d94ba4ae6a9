"""Values, exceptions and references that cannot be carried between processes; calls that Ray no longer has."""

from __future__ import annotations

from outlive.explain.evidence import nearby, says
from outlive.explain.model import Cause, Entry

_FILE = "Ray: python/ray/exceptions.py, "
_SERIALIZATION = "https://docs.ray.io/en/latest/ray-core/objects/serialization.html"

EXCEPTION = Entry(
    name="exception-cannot-be-unpickled",
    classes=("RaySystemError", "UnserializableException"),
    when=r"Failed to unpickle serialized exception|Failed to deserialize exception|UnserializableException",
    what="The *task* raised an exception, and this process could not turn it back into a Python object. The real error is that exception: it is in the log of the worker "
    '(and, since Ray 2.52, in the text as "Original exception").',
    causes=(
        Cause(
            "The __init__ of the exception's class takes other arguments than it passes to Exception.__init__. Such an exception cannot be unpickled anywhere.",
            signs=(
                says(
                    r"__(?:init|new)__\(\) (?:missing|takes|got an unexpected)|takes no keyword arguments|TypeError: .{0,80}argument"
                ),
            ),
        ),
        Cause(
            "Its module is not installed here.",
            signs=(says(r"No module named|ModuleNotFoundError|cannot import name"),),
        ),
        Cause(
            "Its class is not the same here as there, or is defined in __main__.",
            signs=(says(r"Can't get attribute|AttributeError"),),
        ),
        Cause(
            "It holds something that cannot be pickled (a lock, a socket, a module of torch).",
            signs=(says(r"cannot pickle|can't pickle"),),
        ),
    ),
    tell_apart=(
        "The last line of the inner traceback names the class. The worker's log, *-<pid>.err, has the exception itself with its traceback.",
        "`python -c 'import pickle, x; pickle.loads(pickle.dumps(x.Error(...)))'`",
    ),
    fix="""\
@ray.remote
def work():
    try:
        ...
    except LibraryError as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from None   # a class that can be carried

class MyError(Exception):
    def __init__(self, inner):
        super().__init__(inner)        # pass on exactly the arguments of __init__""",
    sources=(
        "Ray: python/ray/exceptions.py, RayError.from_ray_exception",
        "https://github.com/ray-project/ray/issues/54341",
        "https://github.com/verl-project/verl/issues/2277",
    ),
)

_ONE_PROCESS = r"(?:_thread|_io|generator|module|socket|sqlite3|weakref|select|coroutine|ssl|_asyncio)"
_IN_RAYS_PICKLE = r"[/\\]ray[/\\](?:(?:_private[/\\])?serialization|cloudpickle[/\\]cloudpickle(?:_fast)?)\.py\", line"

ENTRIES = (
    EXCEPTION,
    Entry(
        name="cannot-be-pickled",
        line=r"Could not serialize the (?:put value|return value|argument|function|actor class|deployment|retry exception)|^\s*TypeError: (?:cannot|can't) pickle '?[\w.]+'? objects?.{0,40}(?:ray|serialize)",
        what="A value, an argument or a function cannot be pickled, so that Ray cannot carry it to another process.",
        causes=(
            Cause("It holds something that belongs to one process: a lock, a thread, a socket, an open file, a generator, a database connection.",
                  signs=(says(rf"pickle '?{_ONE_PROCESS}"), nearby(rf"(?:cannot|can't) pickle '?{_ONE_PROCESS}"))),
            Cause("A function or class refers to such an object by a global name or from the enclosing function.", signs=(says(r"the (?:function|actor class)"),)),
        ),
        tell_apart=("Ray prints what it found below (`ray.util.inspect_serializability(value)` does so by hand).",),
        fix="# make it where it is used, and return plain data\n@ray.remote\ndef work(path):\n    with open(path) as file:        # not: work.remote(open(path))\n        return file.read()",
        sources=("Ray: python/ray/_private/worker.py, put_object", _SERIALIZATION),
    ),
    Entry(
        name="return-cannot-be-pickled",
        remote=(_IN_RAYS_PICKLE, r"^"),
        what="A value that a task or an actor's method returned (or a generator yielded) cannot be pickled, so that Ray cannot carry it to the caller. The code itself "
        "ran to its end: the traceback has no line of it, as Ray pickles the result.",
        causes=(
            Cause("The result holds something that belongs to one process: a lock, a thread, a socket, an open file, a generator, a database connection.", signs=(says(rf"pickle '?{_ONE_PROCESS}"),)),
            Cause("It holds an object of a class that cannot be pickled, often one that is written in C.", signs=(says(rf"(?:cannot|can't|Can't) pickle (?!'?{_ONE_PROCESS})"),)),
            Cause("It is nested too deeply, as a long linked list is.", signs=(says(r"deep recursion|maximum recursion"),)),
            Cause("The __reduce__ or __getstate__ of its class raises.", signs=(says(r", in __(?:reduce|reduce_ex|getstate|getnewargs|getnewargs_ex)__"),)),
        ),
        tell_apart=("`ray::name()` in the first line is the task. Call its function without Ray and give what it returns to `ray.util.inspect_serializability(value)`: it names the part.",),
        fix="""\
@ray.remote
def work(path):
    with open(path) as file:
        return file.read()              # plain data; not: return file

@ray.remote
class Reader:                           # or it stays in the process that made it, and others call that
    def __init__(self, path):
        self.file = open(path)
    def read(self, size):
        return self.file.read(size)""",
        sources=("Ray: python/ray/_raylet.pyx, store_task_outputs", _FILE + "RayTaskError.__str__ (which frames it leaves out)", _SERIALIZATION),
    ),
    Entry(
        name="put-owner-removed",
        line=r"The experimental `?_owner`? argument",
        what="ray.put(..., _owner=actor) was removed in Ray 2.56, without replacement: no other process can be made the owner of an object any more.",
        causes=(Cause("The code, or a library (RayDP, dagster-ray, deisa-ray, Mars), was written for Ray before 2.56.", signs=(says(r"_owner"),)),),
        tell_apart=("The traceback names the line that calls ray.put.",),
        fix="import outlive\nhandle = outlive.open().put(array)      # has no owner: instead of ray.put(array, _owner=keeper)\narray = handle.get()",
        sources=("https://github.com/ray-project/ray/pull/63520", "Ray: python/ray/_private/worker.py, put"),
    ),
    Entry(
        name="reference-left-out-of-band",
        classes=("OufOfBandObjectRefSerializationException",),
        what="An ObjectRef was pickled by hand (cloudpickle, a closure, a file). Ray would not have counted it, and raises here because "
        "RAY_allow_out_of_band_object_ref_serialization=0 is set.",
        causes=(
            Cause("A function or class refers to the ObjectRef from its enclosing scope or as a global.", signs=(nearby(r"_pickle_and_export|pickle_dumps|function_manager|export_actor_class"),)),
            Cause("The program pickles it: cloudpickle.dumps, multiprocessing, a queue, a database.", signs=(nearby(r"cloudpickle\.dumps|pickle\.dumps|multiprocessing"),)),
        ),
        tell_apart=("The traceback: the last line of your own code.",),
        fix="work.remote(ref)          # as an argument: counted\nhandle = outlive.open().put(array)   # or a handle, which may be pickled anywhere",
        sources=(_FILE + "OufOfBandObjectRefSerializationException", _SERIALIZATION + "#out-of-band-serialization"),
    ),
    Entry(
        name="user-code-raised",
        classes=("UserCodeException",),
        what="Your code that Ray Data ran (a map function, a UDF) raised. The exception is shown above, as the cause.",
        causes=(Cause("The exception in the traceback above.", signs=(nearby(r"^\s*[A-Za-z_][\w.]*(?:Error|Exception): "),)),),
        tell_apart=("The traceback of the cause ends with the line of your function.",),
        fix="ray.data.DataContext.get_current().max_errored_blocks = 10    # let some blocks fail, if that may be",
        sources=(_FILE + "UserCodeException",),
    ),
    Entry(
        name="raised-in-another-language",
        classes=("CrossLanguageError",),
        what="A task or actor in another language (Java, C++) raised; its own stack trace is in the message.",
        causes=(Cause("The exception in the message.", signs=(says(r"Caused by|Exception|Error in"),)),),
        tell_apart=("The stack trace in the message, and the worker's log.",),
        fix="# fix it there; here it can only be caught:\ntry:\n    ray.get(ref)\nexcept ray.exceptions.CrossLanguageError: ...",
        sources=(_FILE + "CrossLanguageError", "https://docs.ray.io/en/latest/ray-core/cross-language.html"),
    ),
    Entry(
        name="object-not-there",
        classes=("PlasmaObjectNotAvailable",),
        what="The object was not in this node's object store within the time given. Ray raises it inside; a program seldom sees it.",
        causes=(Cause("The object is still being made or fetched."), Cause("It was evicted or its node was lost.", signs=(nearby(r"has been marked dead|Attempting to recover"),))),
        tell_apart=("`ray memory` and `ray list objects`.",),
        fix="ready, waiting = ray.wait([ref], timeout=60)",
        sources=(_FILE + "PlasmaObjectNotAvailable",),
    ),
    Entry(
        name="asyncio-actor-exit",
        classes=("AsyncioActorExit",),
        what="An async actor called exit_actor(): Ray ends its methods with this exception. It is no error.",
        causes=(Cause("A method called ray.actor.exit_actor().", signs=(nearby(r"exit_actor\(\)"),)),),
        tell_apart=("Search the actor's code for exit_actor.",),
        fix="# Nothing to fix. `except Exception` does not catch it, and `except BaseException` should raise it again.",
        sources=(_FILE + "AsyncioActorExit",),
    ),
    Entry(
        name="generator-ended",
        classes=("ObjectRefStreamEndOfStreamError",),
        what="A streaming generator has no more values. Ray turns it into StopIteration; a program that sees it reads past the end.",
        causes=(Cause("next() was called on a generator that had ended, or by two readers at the same time."),),
        tell_apart=("Does more than one task or thread read the generator?",),
        fix="for ref in work.remote():      # instead of next() in a loop\n    ray.get(ref)",
        sources=(_FILE + "ObjectRefStreamEndOfStreamError",),
    ),
    Entry(
        name="generator-not-repeatable",
        classes=("StreamingGeneratorReplayInconsistentError",),
        what="A streaming generator was run again (a retry, a lost object) and yielded something else or another number of values than before.",
        causes=(Cause("It depends on time, random numbers, or data that changed."),),
        tell_apart=("Run it twice with the same arguments and compare.",),
        fix="@ray.remote(max_retries=0)      # never run it again; or make it repeatable: fixed seeds, a fixed list of files\ndef work(): ...",
        sources=(_FILE + "StreamingGeneratorReplayInconsistentError",),
    ),
    Entry(
        name="channel-timeout",
        classes=("RayChannelTimeoutError",),
        what="A Compiled Graph waited for a channel longer than its timeout (RAY_CGRAPH_get_timeout, submit_timeout: 10 s).",
        causes=(
            Cause("One of its actors died or hangs (NCCL, a deadlock).", signs=(nearby(r"ActorDiedError|RayActorError|NCCL|SYSTEM_ERROR"),)),
            Cause("A step takes longer than the timeout.", signs=(says(r"timed? ?out|timeout"),)),
        ),
        tell_apart=("`ray list actors --filter state=DEAD`; `py-spy dump --pid <actor>`.",),
        fix="RAY_CGRAPH_get_timeout=300 python program.py",
        sources=(_FILE + "RayChannelTimeoutError", "https://docs.ray.io/en/latest/ray-core/compiled-graph/ray-compiled-graph.html"),
    ),
    Entry(
        name="channel-broken",
        classes=("RayChannelError", "RayDirectTransportError"),
        what="A channel between actors (Compiled Graph, direct transport of tensors) broke or was closed.",
        causes=(
            Cause("One of the actors died.", signs=(nearby(r"ActorDiedError|RayActorError|SYSTEM_ERROR|The actor is dead"),)),
            Cause("The graph was torn down while a result was still waited for.", signs=(says(r"closed|[Tt]ear|teardown"),)),
            Cause("The transport failed: NCCL, NIXL, the network.", signs=(nearby(r"NCCL|NIXL|UCX|Connection reset"),)),
        ),
        tell_apart=("`ray list actors --filter state=DEAD`, and the first error in the actors' logs.",),
        fix="# find the first error (usually an actor's death) and fix that; then compile the graph again",
        sources=(_FILE + "RayChannelError", _FILE + "RayDirectTransportError"),
    ),
    Entry(
        name="graph-full",
        classes=("RayCgraphCapacityExceeded", "RayAdagCapacityExceeded"),
        what="More executions of a Compiled Graph are under way than its buffer holds: results are not fetched as fast as work is submitted.",
        causes=(Cause("execute() is called again before ray.get() of earlier results.", signs=(says(r"max_inflight|_max_buffered|capacity|buffer"),)),),
        tell_apart=("How many results are waited for at that point?",),
        fix="ray.get(refs.pop(0))                                        # fetch before submitting more\ndag.experimental_compile(_max_inflight_executions=20)       # or allow more",
        sources=(_FILE + "RayCgraphCapacityExceeded",),
    ),
    Entry(
        name="actor-name-taken",
        classes=("ActorAlreadyExistsError",),
        what="An actor of that name lives already in this namespace.",
        causes=(Cause("A detached actor of an earlier run, or a second caller that makes it too.", signs=(says(r"already (?:exists|taken)"),)),),
        tell_apart=("`ray list actors --filter name=<name>`.",),
        fix='Worker.options(name="worker", get_if_exists=True).remote()',
        sources=(_FILE + "ActorAlreadyExistsError",),
    ),
    Entry(
        name="actor-handle-unknown",
        classes=("ActorHandleNotFoundError",),
        what="ray.kill or cancel was called with the handle of an actor that this process's cluster does not know.",
        causes=(
            Cause("The handle is from before ray.shutdown() or ray.init(): another session.", signs=(nearby(r"ray\.shutdown|ray\.init"),)),
            Cause("The handle was kept in a file or a global beyond its cluster."),
        ),
        tell_apart=("Was Ray started anew between making the actor and this line?",),
        fix='actor = ray.get_actor("worker", namespace="app")    # look it up again',
        sources=(_FILE + "ActorHandleNotFoundError",),
    ),
)  # fmt: skip
