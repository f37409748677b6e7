"""The examples in the docstrings of the package run and give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import drrproj

MODULES = ["drrproj"] + [
    module.name
    for module in pkgutil.walk_packages(drrproj.__path__, "drrproj.")
    if not module.name.endswith("__main__") and not module.name.rpartition(".")[2].startswith("_")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_give_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    results = doctest.testmod(module)
    assert results.failed == 0


@pytest.mark.parametrize("name", [name for name in drrproj.__all__ if callable(getattr(drrproj, name))])
def test_every_public_name_has_an_example(name):
    thing = getattr(drrproj, name)
    if isinstance(thing, type) and issubclass(thing, Exception):
        assert thing.__doc__
        return
    assert ">>>" in (thing.__doc__ or "")
