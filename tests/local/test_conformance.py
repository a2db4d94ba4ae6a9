"""A local store passes the suite that outlive ships for stores."""

from __future__ import annotations

import outlive
from outlive.testing.conformance import ValueStoreTests


class TestStore(ValueStoreTests):
    """`ValueStoreTests` takes its `store` from conftest."""


assert outlive
