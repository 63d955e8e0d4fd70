"""scikit-learn's own checks: all of `check_estimator`, and those that it keeps for its own estimators."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils import estimator_checks

from somlib.estimators import SOMClassifier, SOMClusterer, SOMRegressor, SOMTransformer

# How many checks scikit-learn 1.9 has for each kind; 1.6 has a few less.
CHECKS = {"SOMTransformer": 54, "SOMClusterer": 53, "SOMClassifier": 62, "SOMRegressor": 60}
FEWER_IN_OLDER = 12

# scikit-learn skips its check of array API input unless SciPy was imported with this variable set.
RUN_ALL = """
import json, warnings
from sklearn.utils.estimator_checks import check_estimator
from somlib import estimators
warnings.simplefilter("error")
results = {}
for name in json.loads(input()):
    checks = check_estimator(getattr(estimators, name)(), on_fail=None, on_skip=None)
    results[name] = [(c["status"], c["check_name"], repr(c["exception"])) for c in checks]
print(json.dumps(results))
"""

VARIANTS: list[Any] = [
    SOMTransformer(output="distances"),
    SOMTransformer(missing="mask", output="distances"),
    SOMTransformer(topology="hexagonal", pbc=True, distance_function="manhattan"),
    SOMTransformer(x=3, y=2, initialization_mode="random", neighborhood_function="bubble"),
    SOMClusterer(method="ward", missing="mask"),
    SOMClusterer(method="gmm", feature_space="combined", topology="hexagonal"),
    SOMClassifier(n_neurons=1, target_weight=0.0),
    SOMClassifier(missing="mask", topology="hexagonal", distance_function="chebyshev"),
    SOMRegressor(n_neurons=1, target_weight=0.0),
    SOMRegressor(missing="mask", sigma_decay_function="sig_geometric_decay_to_one"),
]


@pytest.fixture(scope="module")
def results() -> dict[str, list[tuple[str, str, str]]]:
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN_ALL]
    done = subprocess.run(
        command, input=json.dumps(list(CHECKS)), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[tuple[str, str, str]]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", CHECKS)
def test_default_estimators_pass_every_check_with_none_skipped_or_excused(
    name: str, results: dict[str, list[tuple[str, str, str]]]
) -> None:
    assert [check for check in results[name] if check[0] != "passed"] == []
    assert len(results[name]) >= CHECKS[name] - FEWER_IN_OLDER


@pytest.mark.parametrize("estimator", VARIANTS, ids=repr)
def test_other_settings_pass_the_checks_too(estimator: Any) -> None:
    checks = estimator_checks.check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [(c["check_name"], c["exception"]) for c in checks if c["status"] != "passed"]
    without_array_api = [(name, error) for name, error in failed if "SCIPY_ARRAY_API is not set" not in str(error)]
    assert without_array_api == []
    assert Counter(c["status"] for c in checks)["passed"] > 40


# Checks of names, frames and output containers, which `check_estimator` leaves out.
BY_NAME = [estimator_checks.check_dataframe_column_names_consistency, estimator_checks.check_inplace_ensure_writeable]
OF_OUTPUT = [
    estimator_checks.check_get_feature_names_out_error,
    estimator_checks.check_transformer_get_feature_names_out,
    estimator_checks.check_transformer_get_feature_names_out_pandas,
    estimator_checks.check_set_output_transform,
    estimator_checks.check_set_output_transform_pandas,
    estimator_checks.check_set_output_transform_polars,
    estimator_checks.check_global_output_transform_pandas,
    estimator_checks.check_global_set_output_transform_polars,
]


@pytest.mark.parametrize("check", BY_NAME, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", [SOMTransformer, SOMClusterer, SOMClassifier, SOMRegressor])
def test_feature_names_are_kept_and_compared(kind: type, check: Callable[[str, Any], None]) -> None:
    check(kind.__name__, kind())


# The checks fit frames and transform arrays, and the other way around, of which scikit-learn warns.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")
@pytest.mark.parametrize("check", OF_OUTPUT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("output", ["positions", "distances"])
def test_transformed_frames_have_the_wanted_container_and_names(output: str, check: Callable[[str, Any], None]) -> None:
    check("SOMTransformer", SOMTransformer(output=output))
