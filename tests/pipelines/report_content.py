"""A small report to test: content made by hand, and what a reader finds in the page."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl

from pipelines.report.content import ReportContent
from pipelines.report.facts import ColumnFacts, Facts
from pipelines.store.origin import RunFacts
from somlib import SOM

METRICS = {
    "train_qe": 0.5,
    "train_te": 0.04,
    "heldout_qe": 0.54,
    "heldout_te": 0.06,
    "clusters": 2.0,
    "cluster/silhouette_score": 0.6,
    "cluster/noise_ratio": 0.0,
}
RUN = RunFacts("abc123", "calm-otter", "boiler", datetime(2026, 3, 1, 12, tzinfo=UTC), {"som.data_sha256": "d1g3st"})


def make_facts(features: Any, targets: Any, **changes: Any) -> Facts:
    """Facts of columns given by name, all alike, or with facts of their own."""
    column = ColumnFacts(mean=0.0, deviation=1.0, low=-2.0, high=2.0, missing=0)
    fields: dict[str, Any] = {
        "rows": {"found": 120, "left_out": 0, "train": 100, "heldout": 20},
        "features": dict.fromkeys(features, column) if not isinstance(features, dict) else features,
        "targets": dict.fromkeys(targets, column) if not isinstance(targets, dict) else targets,
        "one_neuron_error": 2.0,
        "scaling": "standard",
        "clustering": "kmeans",
        "feature_space": "weights",
        "data": "plant.parquet",
    }
    return Facts(**(fields | changes))


def make_content(
    x: int = 4,
    y: int = 3,
    features: Sequence[str] = ("a", "b"),
    targets: Sequence[str] = ("yield",),
    facts: dict[str, Any] | None = None,
    som: dict[str, Any] | None = None,
    **changes: Any,
) -> ReportContent:
    """A map of random weights in the units of the data; every neuron but the first has rows, in two clusters."""
    random = np.random.default_rng(0)
    map_ = SOM(x, y, num_features=len(features), **({"topology": "hexagonal"} | (som or {})))
    m = x * y
    hits = np.arange(m, dtype=np.float64) if m > 1 else np.array([5.0])
    fields: dict[str, Any] = {
        "run": RUN,
        "som": map_,
        "facts": make_facts(**({"features": features, "targets": targets} | (facts or {}))),
        "rows": None,
        "features": tuple(features),
        "planes": map_.codebook.double().numpy(),
        "hits": hits,
        "distances": random.uniform(0.2, 1.0, m),
        "targets": {
            name: {"mean": np.where(hits > 0, random.normal(size=m), np.nan), "std": np.where(hits > 1, 0.5, np.nan)}
            for name in targets
        },
        "labels": np.where(np.arange(m) < (m + 1) // 2, 1, 2),
        "metrics": METRICS,
        "quantization_errors": [1.0, 0.6, 0.5],
        "topographic_errors": [0.2, 0.1, 0.04],
        "sigmas": None,
        "config": "name: boiler\n",
    }
    fields |= changes
    return ReportContent(**({"profiles": make_profiles(fields)} | fields))


def make_profiles(fields: Any) -> pl.DataFrame:
    """Profiles of rows that all have the values of their neuron."""
    lines = []
    for cluster in sorted(set(fields["labels"].tolist())):
        inside = fields["labels"] == cluster
        columns = [("feature", name, fields["planes"][:, i]) for i, name in enumerate(fields["features"])]
        columns += [("target", name, maps["mean"]) for name, maps in fields["targets"].items()]
        for role, name, values in columns:
            rows = fields["hits"][inside & np.isfinite(values)]
            mean = rows @ values[inside & np.isfinite(values)] / rows.sum() if rows.sum() else None
            lines.append({"cluster": cluster, "column": name, "role": role, "row_mean": mean})
    schema = {"cluster": pl.Int64, "column": pl.String, "role": pl.String, "row_mean": pl.Float64}
    return pl.DataFrame(lines, schema=schema)


def make_rows(neurons: Sequence[int], y: int, **columns: Any) -> pl.DataFrame:
    places = [(-1, -1) if neuron < 0 else divmod(neuron, y) for neuron in neurons]
    return pl.DataFrame(
        {
            "sample": range(len(neurons)),
            "row": [row for row, _ in places],
            "col": [col for _, col in places],
            "heldout": [False] * len(neurons),
        }
        | columns
    )


class Page(HTMLParser):
    """What is in a page: its elements in order, its text without scripts and styles, and its JSON by id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.json: dict[str, Any] = {}
        self._inside: tuple[str, dict[str, str | None]] | None = None
        self._script = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside, self._script = (tag, dict(attrs)), ""

    def handle_endtag(self, tag: str) -> None:
        if self._inside is not None and tag == self._inside[0]:
            identity = self._inside[1].get("id")
            if self._inside[1].get("type") == "application/json" and identity:
                self.json[identity] = json.loads(self._script, parse_constant=_refuse)
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.words.append(data)
        else:
            self._script += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """Attributes of every element of that tag with these attributes; `class_` for class."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]


def _refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is no JSON")
