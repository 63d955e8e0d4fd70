"""Recognizing work that is done, so that doing it again costs nothing and doubles nothing.

What decides a result is the kind of work, the settings, the content of the data and the version of this package; for a
challenger also the champion that it is evaluated against. A run has these as tags. One that is FINISHED with the tags
of the work at hand, in the same experiment, is its result.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from pipelines.store.connection import mlflow_errors
from pipelines.store.names import CHAMPION_VERSION_TAG, CONFIG_TAG, DATA_TAG, KIND_TAG, PACKAGE_TAG
from pipelines.store.origin import DISTRIBUTION
from pipelines.store.tracking import TrackedRun

MOST = 20  # newest runs that are looked at


@dataclass(frozen=True)
class Work:
    """A piece of work.

    Attributes:
        kind: `train` or `retrain`.
        config_digest: `PipelineConfig.digest`.
        data_sha256: Digest of the content of all rows that it works on.
        champion: Version that a challenger is evaluated against; None where there is none, or nothing is evaluated.
    """

    kind: str
    config_digest: str
    data_sha256: str
    champion: str | None = None

    @property
    def tags(self) -> Mapping[str, str]:
        """What the run of the work has to carry, for the work to be recognized."""
        tags = {
            KIND_TAG: self.kind,
            CONFIG_TAG: self.config_digest,
            DATA_TAG: self.data_sha256,
            PACKAGE_TAG: version(DISTRIBUTION),
        }
        return tags if self.champion is None else tags | {CHAMPION_VERSION_TAG: self.champion}

    @property
    def key(self) -> str:
        """SHA-256 of all of it, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.tags, sort_keys=True).encode()).hexdigest()


def finished_runs(run: TrackedRun, work: Work) -> Iterator[TrackedRun]:
    """The runs that did the work before, the newest first.

    Args:
        run: The run that is at it now; those of the same experiment count.
        work: What it is about to do.

    Raises:
        TrackingError: MLflow cannot be reached, or refuses.
    """
    wanted = [f"tags.`{name}` = '{value}'" for name, value in work.tags.items()]
    with mlflow_errors():
        found = run.client.search_runs(
            [run.experiment_id],
            filter_string=" AND ".join(["attributes.status = 'FINISHED'", *wanted]),
            max_results=MOST,
            order_by=["attributes.start_time DESC"],
        )
    return (TrackedRun(each.info.run_id) for each in found if _same_champion(each.data.tags, work))


def _same_champion(tags: Mapping[str, str], work: Work) -> bool:
    return tags.get(CHAMPION_VERSION_TAG) == work.champion
