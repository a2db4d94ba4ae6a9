"""Codecs: how values of other types are stored without pickle. See docs/values.md."""

from __future__ import annotations

from outlive.values.registry import register

__all__ = ["register"]
