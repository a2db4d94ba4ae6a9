"""The codecs for other libraries' types that come with outlive. A module is loaded when a value is of its library."""

from __future__ import annotations

LIBRARIES: dict[str, str] = {}
"""Top-level module of a value's type -> the module of outlive that registers codecs for it."""

CODECS: dict[str, tuple[str, str]] = {}
"""Name of a codec -> the module of outlive that registers it, and the package that it needs."""
