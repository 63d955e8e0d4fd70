"""The names that users import, pinned."""

import importlib
from typing import Any

import pytest

import somlib

PINNED = {
    "somlib": {"SOM", "BaseSOM", "GrowingSOM", "HierarchicalSOM", "SOMConfig", "SOMVisualizer", "VisualizationConfig"},
    "somlib.core": {"SOM", "BaseSOM", "GrowingSOM", "HierarchicalSOM"},
    "somlib.configs": {"SOMConfig"},
    "somlib.visualization": {
        "BaseVisualizer", "ClusteringVisualizer", "HexagonalVisualizer", "RectangularVisualizer", "SOMVisualizer",
        "VisualizationConfig",
    },
    "somlib.estimators": {"SOMClassifier", "SOMClusterer", "SOMEstimator", "SOMRegressor", "SOMTransformer"},
}  # fmt: skip
REGISTRIES = {
    ("somlib.utils.distances", "DISTANCE_FUNCTIONS"): {"euclidean", "manhattan", "cosine", "chebyshev"},
    ("somlib.utils.neighborhood", "NEIGHBORHOOD_FUNCTIONS"): {"gaussian", "mexican_hat", "bubble", "triangle"},
    ("somlib.utils.decay", "DECAY_FUNCTIONS"): {
        "asymptotic_decay", "lr_inverse_decay_to_zero", "lr_linear_decay_to_zero", "sig_inverse_decay_to_one",
        "sig_linear_decay_to_one", "sig_geometric_decay_to_one",
    },
}  # fmt: skip
ERRORS: dict[str, tuple[type[Exception], ...]] = {
    "ArgumentError": (ValueError,),
    "ShapeError": (ValueError,),
    "DataError": (ValueError,),
    "DataTypeError": (TypeError,),
    "NotFittedError": (RuntimeError,),
    "SavedMapError": (ValueError,),
}


@pytest.mark.parametrize("module", PINNED)
def test_a_package_exports_its_public_names_and_no_others(module: str) -> None:
    package = importlib.import_module(module)
    assert set(package.__all__) == PINNED[module]
    assert len(package.__all__) == len(PINNED[module])
    assert all(hasattr(package, name) for name in PINNED[module])


def test_a_name_is_the_same_thing_wherever_it_is_imported_from() -> None:
    for module in PINNED:
        package: Any = importlib.import_module(module)
        for name in PINNED[module] & PINNED["somlib"]:
            assert getattr(package, name) is getattr(somlib, name)


@pytest.mark.parametrize(("module", "name"), REGISTRIES)
def test_a_registry_holds_its_functions_by_name(module: str, name: str) -> None:
    registry = getattr(importlib.import_module(module), name)
    assert set(registry) == REGISTRIES[module, name]
    assert all(callable(function) for function in registry.values())


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_of_the_one_family_and_of_the_builtin_that_callers_expect(name: str) -> None:
    errors = importlib.import_module("somlib.errors")
    assert issubclass(getattr(errors, name), (errors.SomlibError, *ERRORS[name]))
    assert issubclass(getattr(errors, name), errors.SomlibError)
    assert all(issubclass(getattr(errors, name), builtin) for builtin in ERRORS[name])
    assert issubclass(errors.SomlibWarning, UserWarning)
