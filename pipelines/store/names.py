"""The names under which runs and registered versions keep facts in MLflow: tags, aliases and shared metrics.

Whoever writes one and whoever reads it take it from here, so that the two cannot differ.
"""

# Aliases of registered versions: the version that serves, and the newest that was published.
CHAMPION, CHALLENGER = "champion", "challenger"

# Tags of a run: what it is.
KIND_TAG = "som.kind"  # train, retrain, refresh
CONFIG_TAG = "som.config_digest"
DATA_TAG = "som.data_sha256"
PACKAGE_TAG = "som.package_version"
PYTHON_TAG = "som.python_version"
COMMIT_TAG = "mlflow.source.git.commit"
DEVICE_TAG = "som.device"
PROCESS_TAG = "som.process"  # who has the run open, for `stale.py` to see whether somebody still has
FLOW_RUN_TAG, FLOW_NAME_TAG, FLOW_PAGE_TAG = "prefect.flow_run_id", "prefect.flow_run_name", "prefect.flow_run_url"

# Tags of a run: what was found.
FAILURE_TAG = "som.failure"
UNDEFINED_TAG = "som.undefined"  # metrics that are not finite
DRIFT_TAG = "som.drift"

# Tags of a run and of the version that it made.
MODEL_TAG = "som.model_sha256"
VERDICT_TAG, VERDICT_REASON_TAG = "som.verdict", "som.verdict_reason"
CHAMPION_VERSION_TAG = "som.champion_version"  # that a challenger is evaluated against
PARENT_TAG = "som.parent_version"  # whose map and local models a refreshed version has
MAP_TAG = "som.map_version"  # whose training made the map
ROWS_TAG = "som.rows"
WATERMARK_TAG, WATERMARK_BEFORE_TAG = "som.watermark", "som.watermark_before"

# Tags of a version.
PUBLICATION_TAG = "som.publication"  # what identifies the act of publishing
PREVIOUS_TAG, PROMOTED_TAG = "som.previous_champion", "som.promoted"
PROMOTION_REASON_TAG = "som.promotion_reason"

# Metrics that more than one module knows.
LOCAL_ERRORS, COVERAGES = "jitl/*/rmse", "*coverage"  # one of each for each target that is a number
CLASS_LOSSES = "jitl/*/log_loss"  # one for each that is a class
LOCAL_LOSSES = f"{LOCAL_ERRORS}|{CLASS_LOSSES}"  # either
CURVE = "qe"  # of a training; a point of it is written at least every few seconds
