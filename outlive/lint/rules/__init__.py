"""All rules, by code. Each has a module here that checks it, loaded when needed, and a page in docs/rules."""

from __future__ import annotations

from outlive.lint.rule import Rule

_ALL = (
    Rule(
        code="OUT101",
        name="put-owner",
        why=(
            "Ray 2.56 removed the experimental argument, and there is no replacement: a ref belongs to the "
            "process that puts it."
        ),
        fix=(
            "Keep the array where no process owns it, as outlive.open().put(array), or return it from the task as a "
            "value."
        ),
        check="put_owner",
        fixable=True,
    ),
    Rule(
        code="OUT102",
        name="ref-stored-as-value",
        why=(
            "Ray fetches a ref that is itself an argument before the call: the actor keeps the whole array, not "
            "the ref, and a later ray.get of what it kept raises ValueError."
        ),
        fix="Pass the ref inside a list, store.remote(key, [ref]), and take it out there; or pass a handle of outlive.",
        check="stored_argument",
    ),
    Rule(
        code="OUT103",
        name="get-of-argument",
        why=(
            "Ray fetches a ref that is itself an argument before the call, so the parameter is the value, and "
            "ray.get of it raises ValueError."
        ),
        fix="Use the parameter as it is, or pass the ref inside a list if the task itself is to fetch it.",
        check="get_of_argument",
    ),
    Rule(
        code="OUT201",
        name="ref-owned-by-max-calls-worker",
        why=(
            "The worker that calls ray.put, or .remote, owns the object. Spent or not, it stays as ray::IDLE with"
            " all it leaked until the last ref is gone; if it is killed, the object is lost (OwnerDiedError)."
        ),
        fix=(
            "Return the array itself (the caller owns what a task returns), or outlive.open().put(array), which "
            "gives a handle."
        ),
        check="max_calls_owner",
    ),
    Rule(
        code="OUT202",
        name="ref-relayed-by-task",
        why=(
            "The owner learns of the next holder from the task's worker. If that dies first, the owner lets the "
            "object go, and the next ray.get raises ReferenceCountingAssertionError."
        ),
        fix=(
            "Wait for the receiver, ray.get(store.keep.remote([ref])), or hand the ref on from its owner; a "
            "handle of outlive can go through anybody."
        ),
        check="relayed_ref",
    ),
    Rule(
        code="OUT203",
        name="ref-in-global",
        why=(
            "A worker refuses to exit while it holds any ref, its own or another's. One in a global stays for the"
            " life of the process, so the reaper never gets the worker, nor does the object ever end."
        ),
        fix=(
            "Let the ref end with the task: return it to its caller, pass it as an argument each time, or keep a "
            "handle of outlive."
        ),
        check="global_ref",
    ),
    Rule(
        code="OUT204",
        name="captured-ref",
        why=(
            "The ref is pickled into the function: Ray keeps the object until the job ends, and each worker that "
            "ever ran the function holds the ref, and can never be reaped."
        ),
        fix="Pass the ref as an argument.",
        check="captured_ref",
    ),
    Rule(
        code="OUT205",
        name="put-handed-out",
        why=(
            "An object belongs to the process that puts it, and a put has no lineage. When that worker or actor ends, "
            "is killed or loses its node, every holder of the ref gets OwnerDiedError; until then it cannot be reaped."
        ),
        fix=(
            "Return the array itself (the caller owns what a task returns), or outlive.open().put(array), which "
            "gives a handle."
        ),
        check="returned_put",
    ),
    Rule(
        code="OUT206",
        name="pickled-ref",
        why=(
            "A ref's bytes do not say who owns the object, and Ray does not count what it did not pickle itself: what "
            "is loaded can never be fetched. ray.cloudpickle pins the object until the job ends, and not beyond."
        ),
        fix="Save the array, or put it by a key, outlive.open().put(array, key=...); outlive's handles can be pickled.",
        check="pickled_ref",
    ),
    Rule(
        code="OUT301",
        name="detached-actor-without-name",
        why=(
            "A detached actor lives until it is killed, and ray.get_actor needs a name for that. Without one it "
            "keeps its memory, its objects and its node for as long as the cluster runs."
        ),
        fix=(
            'Give it a name and a namespace: .options(lifetime="detached", name="store", namespace="app", '
            "get_if_exists=True)."
        ),
        check="detached_actor:without_name",
    ),
    Rule(
        code="OUT302",
        name="detached-actor-without-namespace",
        why=(
            "A program that does not name its namespace gets a new, random one. The next program finds no actor "
            "of this name there, and get_if_exists makes another one, while the first lives on."
        ),
        fix=(
            'Name the namespace, in .options(namespace="app") and ray.get_actor(name, namespace="app"), or in ray.init.'
        ),
        check="detached_actor:without_namespace",
    ),
    Rule(
        code="OUT303",
        name="detached-actor-keeps-refs",
        why=(
            "The actor outlives its program, but a ref that the program or one of its tasks made does not: the object "
            "ends with its owner, and the next program that asks the actor for it gets OwnerDiedError."
        ),
        fix="Send the array itself, or a handle of outlive that was put with lifetime='detached'.",
        check="detached_refs",
    ),
    Rule(
        code="OUT401",
        name="get-in-loop",
        why=(
            "One call fetches one object and waits for it: a failed task goes unnoticed behind one that hangs, "
            "nothing is fetched in parallel, and the list keeps every object alive to the end."
        ),
        fix=(
            "ray.get(refs) for all of them at once; or ray.wait in a loop for each as it becomes ready, letting "
            "go of its ref."
        ),
        check="get_in_loop",
        fixable=True,
    ),
    Rule(
        code="OUT402",
        name="call-in-loop",
        why=(
            "The calls run one after the other: n actors or tasks take n times as long as one, all but one of them "
            "idle, and the first that hangs holds up all."
        ),
        fix="Call all, then wait once: ray.get([actor.method.remote() for actor in actors]).",
        check="call_in_loop",
    ),
    Rule(
        code="OUT501",
        name="dummy-store-entry",
        why="The constructor stores its data: what was to be read is overwritten before it is read.",
        fix="Give the class a constructor that only reads; with outlive it is NumpyStore.open(key), or store[key].",
        check="dummy_entry",
        fixable=True,
    ),
    Rule(
        code="OUT601",
        name="reaper-off",
        why=(
            "The reaper ends workers that are idle and own nothing. Without it each keeps its memory until its job "
            "ends; a large interval makes it lazier than Ray's own 200 ms, not more eager."
        ),
        fix="Leave the interval alone. To have idle workers end sooner, set num_workers_soft_limit=0.",
        check="reaper_off",
    ),
    Rule(
        code="OUT602",
        name="reaper-setting-without-effect",
        why=(
            "Each raylet reads its settings once, when it starts: from its own environment, and from what the head was "
            "started with. Nothing can be changed afterwards, and ray.init takes no _system_config when it joins."
        ),
        fix="Set it before the ray.init that starts the cluster, or in the environment of ray start on every node.",
        check="late_setting",
    ),
)

RULES: dict[str, Rule] = {rule.code: rule for rule in _ALL}
