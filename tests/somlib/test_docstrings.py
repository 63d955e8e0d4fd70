"""The examples in docstrings, run."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import somlib

MODULES = sorted(module.name for module in pkgutil.walk_packages(somlib.__path__, "somlib."))
GIVEN = {"torch": torch, **{name: getattr(somlib, name) for name in somlib.__all__}}  # what a reader has imported
KNOWN_EXAMPLES = ("somlib.configs.som_config", "somlib.core.som", "somlib.utils.distances")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_show(name: str) -> None:
    if name == "somlib.utils.fused_kernel":
        pytest.importorskip("triton")  # which there is for Linux only
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs=GIVEN, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
    assert result.attempted > 0 or name not in KNOWN_EXAMPLES
