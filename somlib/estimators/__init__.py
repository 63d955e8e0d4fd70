"""Maps as scikit-learn estimators: for pipelines, grid searches and cross-validation."""

from somlib.estimators.base import SOMEstimator
from somlib.estimators.clusterer import SOMClusterer
from somlib.estimators.predictors import SOMClassifier, SOMRegressor
from somlib.estimators.transformer import SOMTransformer

__all__ = ["SOMClassifier", "SOMClusterer", "SOMEstimator", "SOMRegressor", "SOMTransformer"]
