"""Registered memory: which it is, when it ends, what a GPU's driver refuses; by a driver that stands in for one."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.local.conftest import REPOSITORY


def test_the_memory_of_a_view_until_its_last_one_is_gone(run):
    said = run("""
view = gpu.register(store.put(values))
print(view.flags.writeable, (view == values).all(), flags(view), flags(view[-1:]), cuda.fake_ranges())
again, part = gpu.register(store.put(values)), gpu.register(view[10:70000])
print(cuda.fake_ranges(), part.base is view.base)
del view, again
print(cuda.fake_ranges(), flags(part), part[0])
del part
print(cuda.fake_ranges(), cuda.fake_depth())
""")
    assert said.splitlines() == ["False True 9 9 1", "2 True", "1 9 10", "0 0"]


def test_twice_is_once(run):
    said = run("""
handle = store.put(values)
views = [gpu.register(handle) for _ in range(3)]
store["k"] = values
shared = store["k"]
threads = [threading.Thread(target=lambda: views.append(gpu.register(shared))) for _ in range(8)]
for one in threads: one.start()
for one in threads: one.join()
print(len(views), cuda.fake_ranges())
views.clear()
del shared
print(cuda.fake_ranges())
""")
    assert said.splitlines() == ["11 2", "0"]


def test_a_driver_that_locks_no_read_only_memory(run):
    said = run(
        """
handle = store.put(values)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    view = gpu.register(handle)
print([one.category.__name__ for one in caught], caught[0].filename)
own = gpu.register(handle, mode="c")
print(view.flags.writeable, flags(view), flags(own), cuda.fake_ranges())
view[0] = own[1] = 7
print(handle.get()[:2])
try: gpu.register(handle.get())
except outlive.OutliveError as error: print(type(error).__name__)
del view, own
print(cuda.fake_ranges())
""",
        FAKE_READ_ONLY="0",
    )
    assert said.splitlines() == ["['PagesCopied'] <string>", "True 1 1 2", "[0 1]", "Refused", "0"]


@pytest.mark.parametrize("old", [{}, {"FAKE_REFUSES": "cuDeviceGetAttribute:1"}])
def test_a_driver_that_uses_our_pages_or_is_too_old_to_say(run, old):
    uses = "0" if old else "1"
    said = run(
        """
warnings.simplefilter("ignore")
view = gpu.register(store.put(values))
print(flags(view), view.flags.writeable)
""",
        FAKE_READ_ONLY="0",
        FAKE_USES_OUR_PAGES=uses,
        **old,
    )
    assert said == ("1 True" if old else "1 False")


def test_other_memory(run):
    """Of a value, all arrays are registered together. Small arrays are not, and memory of the program's own is."""
    said = run("""
store["batch"] = {"images": values, "labels": values[:9000], "name": "x", "few": values[:4]}
batch = store["batch"]
images = gpu.register(batch["images"])
print(flags(images), flags(batch["labels"]), cuda.fake_ranges())
gpu.register(batch["labels"]), gpu.register(batch["few"]), gpu.register(store.put(values[:4]))
print(cuda.fake_ranges())
own = np.frombuffer(bytearray(values.tobytes()), values.dtype)
gpu.register(own[100:])
print(flags(own), cuda.fake_ranges())
del own, images, batch
print(cuda.fake_ranges())
for wrong, mode in (store.handle("batch"), "r"), (store.handle("batch"), "c"), (values, "x"):
    try: gpu.register(wrong, mode=mode)
    except (TypeError, ValueError) as error: print(type(error).__name__)
""")
    assert said.splitlines() == ["9 9 1", "1", "1 2", "0", "TypeError", "TypeError", "ValueError"]


def test_an_array_that_has_its_memory_itself(run):
    """It has to be unregistered before it is freed, which NumPy tells of too late from 2.5 on."""
    said = run("""
own = values.copy()
try: gpu.register(own)
except ValueError as error: print(error)
print(cuda.fake_ranges())
del own
print(cuda.fake_ranges())
""")
    if np.lib.NumpyVersion(np.__version__) < "2.5.0.dev0":
        assert said.splitlines() == ["1", "0"]
    else:
        assert said.endswith("register one that is in a store, as register(store.put(array))\n0\n0")


def test_the_gpu_that_the_process_uses(run):
    """As PyTorch does: no context is made on another one."""
    said = run(
        """
handle = store.put(values)
cuda.fake_use(2)
view = gpu.register(handle)
print([cuda.fake_active(one) for one in range(4)], cuda.fake_depth())
thread = threading.Thread(target=lambda: print(flags(gpu.register(store.put(values)))))  # has no context
thread.start(), thread.join()
print([cuda.fake_active(one) for one in range(4)], cuda.fake_ranges(), cuda.fake_waits(2) > 0)
before = cuda.fake_waits(2)
del view
print(cuda.fake_ranges(), cuda.fake_waits(2) > before, [cuda.fake_waits(one) for one in (0, 1, 3)], cuda.fake_depth())
""",
        FAKE_GPUS="4",
    )
    assert said.splitlines() == ["[0, 0, 1, 0] 1", "9", "[0, 0, 1, 0] 1 True", "0 True [0, 0, 0] 1"]


def test_a_forked_child(run):
    """It unregisters nothing, and is told why it can register nothing. The library would end it otherwise."""
    said = run("""
handle = store.put(values)
view = gpu.register(handle)
pid = os.fork()
if not pid:
    del view
    gc.collect()
    try: gpu.register(handle)
    except outlive.GpuUnavailable as error: print("forked" in str(error), flush=True)
    outlive.gpu.registering._driver = None  # as if only another library had used CUDA
    try: gpu.register(handle)
    except outlive.GpuUnavailable as error: print("forked" in str(error), flush=True)
    print((handle.get() == values).all(), flush=True)
    os._exit(0)
print(os.waitpid(pid, 0)[1], cuda.fake_ranges())
""")
    assert said.splitlines() == ["True", "True", "True", "0 1"]


def test_what_the_driver_refuses(run):
    said = run(
        """
handle = store.put(values)
try: gpu.register(handle)
except outlive.GpuUnavailable as error: print(error)
os.environ["FAKE_REFUSES"] = ""
ctypes.CDLL(None).setenv(b"FAKE_REFUSES", b"", 1)
view = gpu.register(handle)
print(flags(view))
""",
        FAKE_REFUSES="cuMemHostRegister_v2:2",
    )
    assert said.splitlines() == ["CUDA refused cuMemHostRegister_v2: CUDA_ERROR_OUT_OF_MEMORY, out of memory", "9"]


@pytest.mark.parametrize("function", ["cuCtxSynchronize:900", "cuMemHostUnregister:999"])
def test_what_could_not_be_unregistered_stands_in_nobodys_way(run, function):
    """As while a graph is captured. Until then nothing else is mapped there: a GPU would read the old pages."""
    said = run(f"""
handle = store.put(values)
view = gpu.register(handle)
ctypes.CDLL(None).setenv(b"FAKE_REFUSES", b"{function}", 1)
import logging; logging.disable()
address = view.ctypes.data
del view
print(cuda.fake_ranges())
ctypes.CDLL(None).setenv(b"FAKE_REFUSES", b"", 1)
view = handle.get()
print(view.ctypes.data == address, flags(view))
gpu.register(view)
print(flags(view), cuda.fake_ranges())
del view
print(cuda.fake_ranges())
""")
    assert said.splitlines() == ["1", "False -1", "9 1", "0"]


def test_an_interrupt_at_every_call_of_the_driver(run):
    """A signal handler that raises leaves no memory registered of which outlive does not know."""
    said = run("""
from outlive.gpu.driver import Driver
handle = store.put(values)
plain, calls, at = Driver._call, 0, -1
def call(self, name, *arguments):
    global calls
    plain(self, name, *arguments)
    calls += 1
    if calls == at: raise KeyboardInterrupt
Driver._call = call
gpu.register(handle)
most, wrong = calls, 0
for at in range(1, most + 1):
    calls = 0
    view = handle.get()
    try: gpu.register(view)
    except KeyboardInterrupt: pass
    calls = most  # no more interrupts
    gpu.register(view)
    wrong += flags(view) != 9 or cuda.fake_ranges() != 1
    del view
    wrong += cuda.fake_ranges() or cuda.fake_depth()
print(most > 5, wrong)
""")
    assert said == "True 0"


def test_without_a_gpu(run, root):
    code = f"""
import numpy as np, outlive
handle = outlive.open(local=True, root={root!r}).put(np.zeros(1 << 16))
try: outlive.gpu.register(handle)
except outlive.GpuUnavailable as error: print(error)
"""
    if not os.path.exists("/dev/nvidiactl"):
        command = [sys.executable, "-c", code]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, check=True).stdout
        assert said.startswith("NVIDIA's driver is not installed here")
    said = run("""
try: gpu.register(store.put(values))
except outlive.GpuUnavailable as error: print(error)
""", FAKE_GPUS="0")  # fmt: skip
    assert said == "CUDA refused cuInit: CUDA_ERROR_NO_DEVICE, unknown"


def test_pytorch(run):
    pytest.importorskip("torch")
    said = run("""
import torch
warnings.simplefilter("ignore")
view = gpu.register(store.put(values))
tensor = torch.from_numpy(view)
print(tensor.data_ptr() == view.ctypes.data)
del view
print(cuda.fake_ranges(), int(tensor[-1]))
del tensor
print(cuda.fake_ranges())
""")
    assert said.splitlines() == ["True", "1 131071", "0"]


def test_another_array_over_registered_memory(run):
    """It is refused, and the first one stays registered until its own last view is gone, and no longer."""
    said = run("""
own = np.frombuffer(bytearray(values.tobytes()), values.dtype)
gpu.register(own)
other = np.frombuffer(memoryview(own), own.dtype)
for _ in range(2):
    try: gpu.register(other)
    except outlive.GpuUnavailable as error: print(error)
print(cuda.fake_ranges())
del other
print(cuda.fake_ranges())
del own
gc.collect()
print(cuda.fake_ranges())
""")
    refused = "this memory is registered already, for another array: keep that one, and use it here"
    assert said.splitlines() == [refused, refused, "1", "1", "0"]
