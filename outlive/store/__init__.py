"""Programs call this: stores, handles, and how any process of the cluster puts, reads and deletes an array."""

from __future__ import annotations

import outlive.ray_internals  # noqa: F401 - without Ray, this says what to install, whichever module is loaded first
