"""scikit-learn's own checks."""

from typing import Any

import pytest
from sklearn.utils.estimator_checks import check_estimator

from somlib.jitl import JITLClassifier, JITLRegressor

ESTIMATORS: list[Any] = [
    JITLRegressor(),
    JITLRegressor(experts="pure"),
    JITLRegressor(experts="pure", missing="mask", neighborhood="bmu_neighborhood", x=3, y=2),
    JITLRegressor(local_model="query_ridge", n_neighbors=20, ridge=10.0, level=10.0),
    JITLClassifier(experts="pure"),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_scikit_learns_checks_pass(estimator: Any) -> None:
    checks = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [(c["check_name"], c["exception"]) for c in checks if c["status"] != "passed"]
    assert [(name, error) for name, error in failed if "SCIPY_ARRAY_API is not set" not in str(error)] == []
    assert len(checks) > 40
