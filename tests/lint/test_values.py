"""What counts as a finding, rule by rule, and what does not."""

from __future__ import annotations

from textwrap import dedent

import pytest

from outlive.lint import check_source
from outlive.lint.fixes import fixed

PUT_OWNER = {
    "import ray as r\nr.put(1, _owner=a)": True,
    "from ray import put\nput(1, _owner=a)": True,
    "from ray import put as p\np(1, _owner=a)": True,
    "from ray import *\nput(1, _owner=a)": True,
    "import ray\nq = ray.put\nq(1, _owner=a)": True,
    "import ray\nray.put(1, **{'_owner': a})": True,
    "import ray, functools\nf = functools.partial(ray.put, _owner=a)": True,
    "def f():\n    import ray\n    return ray.put(1, _owner=a)": True,
    "from common import ray\nray.put(1, _owner=a)": True,
    "import importlib\nray = importlib.import_module('ray')\nray.put(1, _owner=a)": True,
    "try:\n    import ray\nexcept ImportError:\n    ray = None\nray.put(1, _owner=a)": True,
    "from ray._private.worker import put\nput(1, _owner=a)": True,
    "import ray.util\nray.put(1, _owner=a)": True,
    "import ray\nclass A:\n    def f(self):\n        self.ray.put(1, _owner=a)": True,
    "import ray\noptions = {'_owner': a}\nray.put(1, **options)": True,
    "import ray\noptions = dict(_owner=a)\nray.put(1, **options)": True,
    "import ray\noptions = {}\nif new: options['_owner'] = a\nray.put(1, **options)": True,
    "import ray\noptions = dict()\noptions.update(_owner=a)\nray.put(1, **{**options})": True,
    "import ray\ndef put(x, **options): return ray.put(x, **options)\nput(1, _owner=a)": True,
    "import ray\nclass A:\n    def __init__(self): self.o = {'_owner': a}\n    def f(self): ray.put(1, **self.o)": True,
    "import ray\nray.put(1, a)": True,
    "import ray\noptions = {'_owner': None}\nray.put(1, **options)": False,
    "import ray\noptions = {'_tensor_transport': 'nccl'}\nray.put(1, **options)": False,
    "import ray\ndef put(x, **options): return ray.put(x, **options)\nput(1, other=a)": False,
    "import ray\nray.put(1, **unknown)": False,
    "import ray\nqueue.put(1, _owner=a)": False,
    "def put(x, _owner): ...\nput(1, _owner=a)  # ray": False,
    "import ray\ndef f(ray):\n    ray.put(1, _owner=a)": False,
    "import ray\nray.put(1)": False,
}


@pytest.mark.parametrize("code", PUT_OWNER)
def test_put_owner_however_ray_is_imported(code):
    assert [finding.code for finding in check_source(code)] == ["OUT101"] * PUT_OWNER[code]


HEAD = """\
import ray, functools, numpy as np
@ray.remote
class Keeper:
    def __init__(self): self.data = {}
    def keep(self, key, obj_ref): self.data[key] = obj_ref
    def model(self, weights): self.weights = weights
keeper = Keeper.remote()
@ray.remote
def f(): return 1
"""

REFS_OF_A_TASK = (
    "@ray.remote\ndef h(): return [f.remote()]\n@ray.remote\ndef g(x): return ray.get(x)\ng.remote(h.remote())"
)
DETACHED = """\
@ray.remote
class Store:
    def __init__(self): self.refs, self.one = {}, None
    def keep(self, key, refs): self.refs[key] = refs
    def first(self, refs): self.one = refs[0]
    def hold(self, held): self.one = held
    def look(self, refs): return len(refs)
    def work(self): self.refs['mine'] = [f.remote()]
store = Store.options(name='s', namespace='n', lifetime='detached').remote()
"""
CASES = [
    ("OUT102", "keeper.keep.remote('k', ray.put(1))", True),
    ("OUT102", "ref = f.remote()\nkeeper.keep.remote('k', obj_ref=ref)", True),
    ("OUT102", "keeper.keep.options(num_returns=1).remote('k', f.remote())", True),
    ("OUT102", "def g(handle):\n    handle.keep.remote('k', ray.put(1))", True),
    ("OUT102", "keeper.keep.remote('k', [ray.put(1)])", False),
    ("OUT102", "keeper.model.remote(ray.put(1))", False),  # it wants the value
    ("OUT102", "x = f.remote()\nx = ray.get(x)\nkeeper.keep.remote('k', x)", False),
    ("OUT103", "@ray.remote\ndef g(x):\n    return ray.get(x)\ng.remote(f.remote())", True),
    ("OUT103", "@ray.remote\ndef g(x):\n    return ray.get(x)\ng.remote([f.remote()])", False),
    ("OUT103", "@ray.remote\ndef g(x):\n    x = other()\n    return ray.get(x)\ng.remote(f.remote())", False),
    (
        "OUT103",
        REFS_OF_A_TASK,
        False,
    ),
    ("OUT201", "@ray.remote(max_calls=1)\ndef g():\n    refs = [f.remote() for _ in range(3)]\n    return refs", True),
    ("OUT201", "@ray.remote(max_calls=1)\ndef g():\n    return {'a': ray.put(1)}", True),
    ("OUT201", "@ray.remote(num_gpus=1)\ndef g():\n    return ray.put(1)", True),
    ("OUT201", "@ray.remote(max_calls=1)\ndef g():\n    keeper.keep.remote('k', [ray.put(1)])", True),
    ("OUT201", "def make(): return ray.put(1)\n@ray.remote(max_calls=1)\ndef g():\n    return make()", True),
    ("OUT201", "def g(): return ray.put(1)\ng = ray.remote(max_calls=2)(g)", True),
    ("OUT201", "@ray.remote(max_calls=0)\ndef g():\n    return ray.put(1)", False),
    ("OUT201", "@ray.remote(num_gpus=1, max_calls=0)\ndef g():\n    return ray.put(1)", False),
    ("OUT201", "@ray.remote(max_calls=1)\ndef g():\n    return ray.get(f.remote())", False),
    ("OUT201", "@ray.remote(max_calls=1)\ndef g(wrapped):\n    return wrapped\ng.remote([ray.put(1)])", False),
    ("OUT202", "@ray.remote\ndef g(w):\n    keeper.model.remote(w)\ng.remote([ray.put(1)])", True),
    ("OUT202", "@ray.remote\ndef g(w: list[ray.ObjectRef]):\n    keeper.model.remote(w)", True),
    ("OUT202", "@ray.remote\ndef g(w):\n    ray.get(keeper.model.remote(w))\ng.remote([ray.put(1)])", False),
    ("OUT202", "@ray.remote\ndef g(w):\n    return keeper.model.remote(w)\ng.remote([ray.put(1)])", False),
    ("OUT202", "@ray.remote\ndef g(w):\n    keeper.model.remote(w)\ng.remote(ray.put(1))", False),
    ("OUT203", "X = {}\n@ray.remote\ndef g(w):\n    X['a'] = w[0]\ng.remote([ray.put(1)])", True),
    ("OUT203", "X = None\n@ray.remote\ndef g():\n    global X\n    X = ray.put(1)", True),
    ("OUT203", "class C:\n    refs = []\n@ray.remote\ndef g():\n    C.refs.append(ray.put(1))", True),
    ("OUT203", "class C:\n    ref = None\n@ray.remote\ndef g():\n    C.ref = ray.put(1)", True),
    (
        "OUT203",
        "@functools.lru_cache\ndef model(): return ray.put(1)\n@ray.remote\ndef g(): return ray.get(model())",
        True,
    ),
    ("OUT203", "@ray.remote\ndef g():\n    X = []\n    X.append(ray.put(1))", False),
    ("OUT203", "X = []\ndef g():\n    X.append(ray.put(1))", False),  # the driver's
    ("OUT204", "r = ray.put(1)\n@ray.remote\ndef g(): return ray.get(r)", True),
    ("OUT204", "def main():\n    r = ray.put(1)\n    @ray.remote\n    def g(): return ray.get(r)", True),
    ("OUT204", "r = ray.put(1)\n@ray.remote\nclass A:\n    def g(self): return ray.get(r)", True),
    ("OUT204", "r = ray.put(1)\n@ray.remote\ndef g(x=r): return x", True),
    ("OUT204", "r = ray.put(1)\n@ray.remote\ndef g(r): return r\ng.remote(r)", False),
    ("OUT204", "r = ray.put(1)\ndef g(): return ray.get(r)", False),
    ("OUT205", "@ray.remote\ndef g():\n    return ray.put(1)", True),
    ("OUT205", "@ray.remote\ndef g(x):\n    return 3, ray.put(x)", True),
    ("OUT205", "@ray.remote\ndef g():\n    refs = [ray.put(x) for x in xs]\n    return refs", True),
    ("OUT205", "@ray.remote\nclass A:\n    def m(self):\n        return {'a': ray.put(1)}", True),
    ("OUT205", "@ray.remote\nclass A:\n    def m(self):\n        yield [ray.put(1)]", True),
    ("OUT205", "def make(): return ray.put(1)\n@ray.remote\ndef g():\n    return make()", True),
    ("OUT205", "@ray.remote(max_calls=1)\ndef g():\n    return ray.put(1)", False),  # that is OUT201
    ("OUT205", "@ray.remote\ndef g():\n    return ray.get(ray.put(1))", False),
    ("OUT205", "@ray.remote\ndef g():\n    return [f.remote()]", False),
    ("OUT205", "@ray.remote\nclass A:\n    def m(self):\n        self.r = ray.put(1)\n        return [self.r]", False),
    ("OUT205", "@ray.remote\nclass A:\n    def _m(self):\n        return ray.put(1)", False),
    ("OUT205", "def g():\n    return ray.put(1)", False),
    ("OUT205", "@ray.remote\ndef g(refs):\n    return refs\ng.remote([ray.put(1)])", False),
    ("OUT206", "import pickle\npickle.dumps(ray.put(1))", True),
    ("OUT206", "import pickle\nrefs = {'a': f.remote()}\npickle.dump(refs, file)", True),
    ("OUT206", "from ray import cloudpickle\nref = ray.put(1)\ncloudpickle.dumps(ref)", True),
    ("OUT206", "ray.get(ray.ObjectRef(bytes.fromhex(key)))", True),
    ("OUT206", "import torch\ntorch.save([f.remote()], path)", True),
    ("OUT206", "import pickle\npickle.dumps(ray.get(f.remote()))", False),
    ("OUT206", "import pickle\ndef g(x):\n    pickle.dumps(x)", False),
    ("OUT206", "ray.ObjectRef(bytes.fromhex(key)).hex()", False),
    ("OUT206", "ref = ray.ObjectRef(data)\nworker.deserialize_and_register_object_ref(ref)\nray.get(ref)", False),
    ("OUT206", "def g(ref: ray.ObjectRef): print(ref.hex())", False),
    ("OUT303", DETACHED + "store.keep.remote('k', [ray.put(1)])", True),
    ("OUT303", DETACHED + "store.keep.remote('k', {'a': f.remote()})", True),
    ("OUT303", DETACHED + "store.first.remote([f.remote()])", True),
    ("OUT303", DETACHED + "@ray.remote\ndef g():\n    ray.get_actor('s').hold.remote([ray.put(1)])", True),
    ("OUT303", DETACHED + "store.keep.remote('k', ray.put(1))", False),  # arrives as its value: OUT102
    ("OUT303", DETACHED + "store.look.remote([ray.put(1)])", False),
    ("OUT303", "keeper.keep.remote('k', [ray.put(1)])", False),
    ("OUT301", "@ray.remote(lifetime='detached')\nclass A: ...\nA.remote()", True),
    ("OUT301", "Other.options(lifetime='detached', name=None).remote()", True),
    ("OUT301", "Keeper.options(lifetime='detached', **more).remote()", False),
    ("OUT301", "Keeper.options(lifetime=None).remote()", False),
    ("OUT302", "Keeper.options(lifetime='detached', name='a').remote()", True),
    ("OUT302", "ray.init(namespace='n')\nKeeper.options(lifetime='detached', name='a').remote()", False),
    ("OUT302", "Keeper.options(lifetime='detached', name='a', namespace='n').remote()", False),
    ("OUT401", "refs = [f.remote() for _ in range(3)]\nfor ref in refs:\n    print(ray.get(ref))", True),
    ("OUT401", "refs = {1: f.remote()}\nout = {k: ray.get(v) for k, v in refs.items()}", True),
    ("OUT401", "refs = [f.remote()]\nfor i, ref in enumerate(refs):\n    ray.get(ref)", True),
    ("OUT401", "ready, rest = ray.wait([f.remote()])\nfor ref in ready:\n    ray.get(ref)", False),
    ("OUT401", "@ray.remote\ndef g():\n    yield 1\nfor ref in g.remote():\n    ray.get(ref)", False),
    ("OUT401", "for task in completed_tasks:\n    for ref in task.refs:\n        ray.get(ref)", False),
    ("OUT401", "for refs in batches:\n    ray.get(refs)", False),
    ("OUT401", "for ref in [f.remote()]:\n    try:\n        ray.get(ref)\n    except Exception:\n        pass", False),
    ("OUT402", "for w in workers:\n    ray.get(w.m.remote())", True),
    ("OUT402", "states = {i: ray.get(w.m.remote()) for i, w in enumerate(workers)}", True),
    ("OUT402", "urls = [ray.get(w.m.remote(1)) for w in self.workers]", True),
    ("OUT402", "for i in range(3):\n    x = ray.get(workers[i].m.remote())", True),
    ("OUT402", "for info in infos:\n    ray.get(info.worker.close.remote())", True),
    ("OUT402", "for w in workers:\n    ray.get(w.m.options(num_returns=1).remote())", True),
    ("OUT402", "@ray.remote\ndef g(x): return x\nout = []\nfor x in xs:\n    out.append(ray.get(g.remote(x)))", True),
    ("OUT402", "ray.get([w.m.remote() for w in workers])", False),
    ("OUT402", "for w in workers:\n    if ray.get(w.free.remote()):\n        break", False),
    ("OUT402", "state = 0\nfor w in workers:\n    state = ray.get(w.m.remote(state))", False),
    ("OUT402", "for w in workers:\n    ray.get(w.restart.remote())\n    time.sleep(1)", False),
    ("OUT402", "for w in workers:\n    ray.get(w.m.remote(), timeout=3)", False),
    (
        "OUT402",
        "for w in workers:\n    try:\n        ray.get(w.m.remote())\n    except Exception:\n        pass",
        False,
    ),
    ("OUT402", "for w in workers:\n    with contextlib.suppress(Exception):\n        ray.get(w.m.remote())", False),
    ("OUT402", "for x in xs:\n    ray.get(keeper.model.remote(x))", False),  # one actor
    ("OUT402", "@ray.remote\ndef g(x): return x\nfor x in xs:\n    state = ray.get(g.remote(x, state))", False),
    ("OUT402", "while True:\n    ray.get(keeper.model.remote(1))", False),
    ("OUT501", "import outlive\noutlive.NumpyStore(np.empty(0), 'k').retrieve()", True),
    ("OUT501", "from outlive import NumpyStore\ns = NumpyStore(None, 'k')\ns.retrieve()", True),
    ("OUT501", "from outlive import NumpyStore\ns = NumpyStore(np.zeros(3), 'k')\ns.retrieve()", False),
    ("OUT501", "from outlive import NumpyStore\ns = NumpyStore(np.empty(0), 'k')", False),
    *(
        ("OUT501", f"from outlive import NumpyStore\nimport mine\n{code}", found)
        for code, found in {
            # what is done with the entry itself
            "s = NumpyStore(None, 'k')\nprint(s.shape, len(s))\ns.retrieve()\ns.get()": True,
            "s = NumpyStore(None, 'k')\ns.write(x)\ns.retrieve()": False,
            "s = NumpyStore(None, 'k')\nfill(s)\ns.retrieve()": False,
            "s = NumpyStore(None, 'k')\npool.map(s.write, x)\ns.retrieve()": False,
            "s = NumpyStore(None, 'k')\ns.data = x\ns.retrieve()": False,
            "def f():\n    s = NumpyStore(None, 'k')\n    s.retrieve()\n    return s": False,
            "def f():\n    s = NumpyStore(None, 'k')\n    def g(): s.write(x)\n    g()\n    return s.retrieve()": False,
            "s = NumpyStore(None, 'k')\ndef f(): return s.retrieve()": True,
            "(s := NumpyStore(None, 'k')).retrieve()": True,
            "s = NumpyStore(None, 'k')\nt = s\nt.retrieve()": True,
            "s = NumpyStore(None, 'k')\nt = s\nt.write(x)\ns.retrieve()": False,
            # and with others of the same name
            "s = NumpyStore(None, 'k')\ns = NumpyStore.open('j')\ns.retrieve()": False,
            "s = NumpyStore(x, 'j')\ns.write(x)\ns = NumpyStore(None, 'k')\ns.retrieve()": True,
            "if a:\n    s = NumpyStore(None, 'k')\nelse:\n    s = NumpyStore.open('j')\ns.retrieve()": True,
            "def f():\n    s = NumpyStore(None, 'k')\n    s.retrieve()\ndef g(s): s.write(x)": True,
            "s = mine.Store(None, 'k')\ns.put(x)\ns.retrieve()": False,
            "s = mine.Store(None, 'k')\ns.retrieve()": True,
        }.items()
    ),
    ("OUT601", "ray.init(_system_config={'kill_idle_workers_interval_ms': 0})", True),
    ("OUT601", "import os\nos.environ['RAY_kill_idle_workers_interval_ms'] = '0'", True),
    ("OUT601", "from os import environ\nenviron.setdefault('RAY_kill_idle_workers_interval_ms', str(0))", True),
    ("OUT601", "config = dict(kill_idle_workers_interval_ms=0)", True),
    ("OUT601", "run('RAY_kill_idle_workers_interval_ms=0 ray start --head')", True),
    ("OUT601", "run('ray start --head --system-config={\"kill_idle_workers_interval_ms\": 0}')", True),
    ("OUT601", "ray.init(_system_config={'kill_idle_workers_interval_ms': 200})", False),
    ("OUT601", "ray.init(_system_config={'num_workers_soft_limit': 0})", False),
    ("OUT601", "run('RAY_kill_idle_workers_interval_ms=0.5')", False),
    ("OUT602", "import os\nray.init()\nos.environ['RAY_num_workers_soft_limit'] = '0'", True),
    ("OUT602", "import os\n@ray.remote\ndef g():\n    os.environ['RAY_num_workers_soft_limit'] = '0'", True),
    (
        "OUT602",
        "from os import environ\ndef f():\n    ray.init()\n    environ.setdefault('RAY_num_workers_soft_limit', '0')",
        True,
    ),
    ("OUT602", "ray.init(address='auto', _system_config={'num_workers_soft_limit': 0})", True),
    ("OUT602", "ray.init('ray://head:10001', _system_config=config)", True),
    ("OUT602", "ray.init(address='local', _system_config={'num_workers_soft_limit': 0})", False),
    ("OUT602", "import os\nos.environ['RAY_num_workers_soft_limit'] = '0'\nray.init()", False),
    (
        "OUT602",
        "import os\nray.init()\nray.shutdown()\nos.environ['RAY_num_workers_soft_limit'] = '0'\nray.init()",
        False,
    ),
    ("OUT602", "import os\nray.init()\nos.environ['RAY_DEDUP_LOGS'] = '0'", False),
]


@pytest.mark.parametrize(("rule", "code", "found"), CASES)
def test_rule(rule, code, found):
    assert (rule in {finding.code for finding in check_source(HEAD + code)}) is found


FIXES = {
    "import ray\nray.put(x, _owner=None)\n": "import ray\nray.put(x)\n",
    "import ray\n( ray.put( x , _owner = None ) )  # so\n": "import ray\n( ray.put( x) )  # so\n",
    "import ray\r\nray.put(_owner=None, value=1)\r\n": "import ray\r\nray.put(value=1)\r\n",
    "import ray\n@ray.remote\ndef f(): ...\nrefs = [f.remote()]\nx = [ray.get(r) for r in refs]\n": (
        "import ray\n@ray.remote\ndef f(): ...\nrefs = [f.remote()]\nx = ray.get(refs)\n"
    ),
    "import ray\n@ray.remote\ndef f(): ...\nrefs = {f.remote()}\nx = [ray.get(r) for r in refs]\n": (
        "import ray\n@ray.remote\ndef f(): ...\nrefs = {f.remote()}\nx = ray.get(list(refs))\n"
    ),
    "import ray\n@ray.remote\ndef f(): 1\ndef g():\n    refs = [f.remote()]\n    return[ray.get(r) for r in refs]\n": (
        "import ray\n@ray.remote\ndef f(): 1\ndef g():\n    refs = [f.remote()]\n    return ray.get(refs)\n"
    ),
    "import ray\n@ray.remote\ndef f(): ...\nrefs = [f.remote()]\nfor x in[ray.get(r) for r in refs]: print(x)\n": (
        "import ray\n@ray.remote\ndef f(): ...\nrefs = [f.remote()]\nfor x in ray.get(refs): print(x)\n"
    ),
    "from outlive import NumpyStore\na = NumpyStore(np.empty((0,)), key).retrieve()\n": (
        "from outlive import NumpyStore\na = NumpyStore.open(key).retrieve()\n"
    ),
    "import outlive\na = outlive.NumpyStore(None, key='k', store='s').retrieve()\n": (
        "import outlive\na = outlive.NumpyStore.open(key='k', store='s').retrieve()\n"
    ),
}
LEFT_ALONE = [
    "import ray\nray.put(x, _owner=actor)\n",
    "import ray\nray.put(\n    x,  # why\n    _owner=None,  # and why\n)\n",
    "import ray\n@ray.remote\ndef f(): ...\nrefs = [f.remote()]\nx = [ray.get(r) for r in refs if r]\n",
    "import ray\n@ray.remote\ndef f(): ...\nrefs = [f.remote()]\nx = [ray.get(r)  # why\n     for r in refs]\n",
    "import ray\nx = [ray.get(r) for r in unknown]\n",
    # each may give several refs: ray.get of their list is right, and of a list of such lists raises ValueError
    "import ray\nfrom tasks import f\nrefs = [f.remote()]\nx = [ray.get(r) for r in refs]\n",
    "import ray\n@ray.remote(**options)\ndef f(): ...\nrefs = [f.remote()]\nx = [ray.get(r) for r in refs]\n",
    "import ray\n@ray.remote\ndef f(): ...\nrefs = [f.options(**more).remote()]\nx = [ray.get(r) for r in refs]\n",
    "import ray\n@ray.remote\nclass A:\n    @ray.method(num_returns=2)\n    def f(self): ...\n{}".format(
        "a = A.remote()\nrefs = [a.f.remote()]\nx = [ray.get(r) for r in refs]\n"
    ),
]


@pytest.mark.parametrize("code", FIXES)
def test_fix_and_again(code):
    result, applied = fixed(code, "a.py")
    assert result == FIXES[code]
    assert len(applied) == 1
    assert fixed(result, "a.py") == (result, [])


@pytest.mark.parametrize("code", LEFT_ALONE)
def test_what_is_not_safe_is_left_alone(code):
    assert check_source(code)
    assert fixed(code, "a.py") == (code, [])


@pytest.mark.parametrize(
    ("comment", "silent"),
    [
        ("# noqa", True),
        ("# NOQA:OUT101", True),
        ("# noqa: E501, OUT101", True),
        ("# noqa: E501 OUT101", True),
        ("# type: ignore # noqa: OUT101 - old Ray", True),
        ("# noqa: OUT102", False),
        ("# noqa: E501", False),
        ("# noqable", False),
    ],
)
def test_noqa(comment, silent):
    assert (check_source(f"import ray\nray.put(1, _owner=a)  {comment}\n") == []) is silent


def test_noqa_at_the_end_of_the_statement():
    code = dedent("""\
        import ray
        ref = ray.put(
            1,
            _owner=a,
        ){}
        """)
    assert check_source(code.format("  # noqa: OUT101")) == []
    assert len(check_source(code.format(""))) == 1
