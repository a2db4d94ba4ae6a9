"""The page about GPUs does what it says, with a driver that stands in for NVIDIA's."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/howto/gpu.md"


def test_page(run):
    """What needs PyTorch is left out where it is not installed."""
    lacking = () if find_spec("torch") else ("torch", "tensor", "device")
    said = run(f"""
import doctest
warnings.simplefilter("ignore")
os.environ["OUTLIVE_ROOT"] = store.place.root
text = open({str(PAGE)!r}).read()
test = doctest.DocTestParser().get_doctest(text, {{}}, "gpu.md", None, 0)
test.examples = [one for one in test.examples if not any(name in one.source for name in {lacking!r})]
result = doctest.DocTestRunner().run(test)
print(result.attempted, result.failed)
""")
    attempted, failed = said.splitlines()[-1].split()
    assert int(attempted) > 6 and failed == "0"
