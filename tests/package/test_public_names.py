"""A public name that is loaded late is not hidden by a module of the same name, once that one is imported."""

from __future__ import annotations

import importlib
import pkgutil

import pytest


@pytest.mark.parametrize("package", ["outlive", "outlive.workers"])
def test_no_module_has_a_public_name(package):
    found = importlib.import_module(package)
    assert not {one.name for one in pkgutil.iter_modules(found.__path__)} & set(found._HOME)
