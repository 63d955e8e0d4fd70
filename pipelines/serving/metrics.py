"""What Prometheus reads at `/metrics`: requests, rows, the queue, the version that answers, and whether inputs drift.

    som_requests_total{status}       requests to /invocations; 499 is a client that left
    som_request_seconds              from the head of a request to that of its answer, of those that were answered
    som_rows_total                   rows answered
    som_queue_requests, _limit       requests that wait or are worked on, and how many may
    som_model_info{...} 1            the model, its version and its alias
    som_model_created_seconds        when the version was registered, Unix time: its age is time() minus this
    som_model_stale                  1 while the alias points at a version that cannot serve
    som_input_drift{measure}         of the last rows that this version answered, see `pipelines.model.profile`:
                                     hits is the stability index of where they fall on the map, new_region the share
                                     that is farther from it than 99 % of held-out rows
    som_input_drift_usual{measure}   what as many rows of training in a row stay below, 999 times of 1,000
    som_input_drift_rows             how many rows that is

and memory, CPU time and open files of the process. Two measures of drift cost a request nothing that can be measured;
the others, and a report with reasons, are the business of `som retrain`.
"""

import math
from collections import deque
from collections.abc import Iterator

import numpy as np
import pandas as pd
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipelines.model.profile import Profile, stability_index
from pipelines.serving.admission import Admission
from pipelines.serving.service import Service
from pipelines.store.servable import Servable

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LAST_ROWS = 10_000  # that drift is measured on
USUAL_LEVEL = 0.999


class Metrics:
    """Counts what the server does.

    Args:
        service: Whose version answers.
        admission: Whose queue it is.
    """

    def __init__(self, service: Service, admission: Admission) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("som_requests", "Requests, by status.", ["status"], registry=self._registry)
        self._seconds = Histogram(
            "som_request_seconds", "Seconds to an answer.", buckets=SECONDS, registry=self._registry
        )
        self._rows = Counter("som_rows", "Rows answered.", registry=self._registry)
        self._inputs = Inputs()
        self._registry.register(_State(service, admission, self._inputs))
        ProcessCollector(registry=self._registry)

    def answered(self, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(str(status)).inc()
        if status == 200:
            self._seconds.observe(seconds)

    def saw(self, servable: Servable, answer: pd.DataFrame) -> None:
        """Count rows that a version answered, its `answer`."""
        self._rows.inc(len(answer))
        self._inputs.saw(servable, answer)

    def exposition(self) -> tuple[bytes, str]:
        """All of it as Prometheus reads it, and the type of this text."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class Inputs:
    """Where the last rows that a version answered fall on its map."""

    def __init__(self) -> None:
        self._version: str | None = None
        self._profile: Profile | None = None
        self._last: deque[tuple[int, bool]] = deque(maxlen=LAST_ROWS)  # part of the map, and whether it is far off

    def saw(self, servable: Servable, answer: pd.DataFrame) -> None:
        """Add rows; those of another version than before begin anew."""
        model = servable.model
        if servable.version.version != self._version:
            self._version, self._profile = servable.version.version, model.profile
            self._last.clear()
        if self._profile is None:
            return
        row, col, distance = (answer[name].to_numpy() for name in ("row", "col", "quantization_error"))
        placed = row >= 0
        winner, far = (row * model.som.grid.y + col)[placed], distance[placed] > self._profile.far
        self._last.extend(zip(np.array(self._profile.regions)[winner].tolist(), far.tolist(), strict=True))

    def measures(self) -> dict[str, tuple[float, float]]:
        """Each measure by name, and what is usual."""
        profile, rows = self._profile, len(self._last)
        if profile is None or not rows:
            return {}
        regions, far = zip(*self._last, strict=True)
        found = {
            "hits": stability_index(np.array(profile.hits), np.bincount(regions, minlength=len(profile.hits))),
            "new_region": sum(far) / rows,
        }
        return {name: (value, self._usual(profile, name, rows)) for name, value in found.items()}

    @staticmethod
    def _usual(profile: Profile, measure: str, rows: int) -> float:
        known = profile.usual.get(measure)
        return known.bound(rows, USUAL_LEVEL) if known is not None else math.nan

    def __len__(self) -> int:
        return len(self._last)


class _State(Collector):
    """What is looked up when Prometheus asks."""

    def __init__(self, service: Service, admission: Admission, inputs: Inputs) -> None:
        self.service = service
        self.admission = admission
        self.inputs = inputs

    def collect(self) -> Iterator[Metric]:
        version = self.service.current.servable.version
        yield _gauge("som_queue_requests", "Requests that wait or are worked on.", self.admission.inside)
        yield _gauge("som_queue_limit", "How many may.", self.admission.limits.queue)
        yield _gauge("som_model_stale", "Whether the alias points elsewhere.", self.service.problem is not None)
        info = GaugeMetricFamily("som_model_info", "What answers.", labels=["model", "version", "alias"])
        info.add_metric([version.name, version.version, self.service.alias or ""], 1)
        yield info
        if version.created is not None:
            yield _gauge("som_model_created_seconds", "When it was registered.", version.created.timestamp())
        yield _gauge("som_input_drift_rows", "Last rows that drift is measured on.", len(self.inputs))
        drift = GaugeMetricFamily("som_input_drift", "Drift of the last rows.", labels=["measure"])
        usual = GaugeMetricFamily("som_input_drift_usual", "What training rows stay below.", labels=["measure"])
        for name, (value, bound) in self.inputs.measures().items():
            drift.add_metric([name], value)
            usual.add_metric([name], bound)
        yield drift
        yield usual


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
