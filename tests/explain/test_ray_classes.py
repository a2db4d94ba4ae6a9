"""Every class of ray.exceptions, of Ray 2.9 to the newest, is explained; the table is that of the installed Ray."""

from __future__ import annotations

import inspect
import json

import pytest
import ray
from ray import exceptions

from outlive import explain
from outlive.explain.knowledge.classes import table
from outlive.explain.reader import CLASSES
from tests.explain.make_ray_classes import TABLE, classes

BASES = {"RayError", "RayTaskError"}
VERSIONS = [tuple(map(int, version.split("."))) for version in json.loads(TABLE.read_text())["versions"]]
INSTALLED = tuple(map(int, ray.__version__.split(".")[:3]))


def test_the_table_is_that_of_the_installed_ray():
    with open(inspect.getfile(exceptions)) as file:
        installed = classes(file.read())
    assert set(installed) <= set(table()), "run tests/explain/make_ray_classes.py"
    if VERSIONS[-1] == INSTALLED:
        assert installed == {
            name: about["says"] for name, about in table().items() if about["until"] == ray.__version__
        }


def test_from_2_9_to_the_newest():
    assert VERSIONS[0][:2] <= (2, 9)
    assert VERSIONS[-1][:2] >= min(INSTALLED[:2], (2, 60))


@pytest.mark.parametrize("name", sorted(set(table()) - BASES))
def test_each_is_explained(name):
    assert name in CLASSES
    (explanation,) = explain.read(f"ray.exceptions.{name}: what it says\n").explanations
    assert explanation.error == name
    assert not explanation.variant.startswith("class-"), "write an entry for it"


@pytest.mark.parametrize("name", ["AuthenticationError", "RpcError"])
def test_classes_of_the_same_name_in_other_libraries(name):
    for text in (
        f"openai.{name}: x",
        f"{name}: x",
        f"ray.exceptions.RayTaskError({name}): ray::f() (pid=1, ip=10.0.0.1)",
    ):
        assert explain.read(text).explanations == ()


def test_a_class_without_an_entry_is_explained_by_ray(monkeypatch):
    from outlive.explain.knowledge.classes import entries

    (entry,) = entries(set(table()) - {"PlasmaObjectNotAvailable"})
    assert entry.classes == ("PlasmaObjectNotAvailable",)
    assert "within the given timeout" in entry.what
