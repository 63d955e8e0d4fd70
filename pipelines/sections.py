"""The sections of a configuration file: each a frozen model with the bounds and the meaning of its settings."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

ScalingMethod = Literal["standard", "minmax", "robust", "none"]
ClusteringMethod = Literal["kmeans", "gmm", "hdbscan", "ward"]
FeatureSpace = Literal["weights", "positions", "combined"]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _refuse_number(value: Any) -> Any:
    if isinstance(value, bool | int | float):  # pydantic would take 2013 for 33 minutes past New Year 1970
        raise ValueError(f"must be a date or a time such as 2013-06-01 or 2013-06-01T12:00:00Z, got {value!r}")
    return value


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_as_list)]
Moment = Annotated[datetime, BeforeValidator(_refuse_number)]


class Section(BaseModel):
    """Settings that belong together; frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which rows and columns of which Parquet files."""

    path: str = Field(min_length=1, description="Parquet file, folder (hive partitions welcome) or glob pattern")
    features: Names = Field(
        min_length=1, description="Columns the map is trained on; temp_* is all that match, but for target and time"
    )
    target: Names = Field(default=(), description="Columns the map is read by, and never trained on")
    time: str | None = Field(default=None, description="Column that orders the rows; held-out rows are then the newest")
    start: Moment | None = Field(default=None, description="Rows from this time on; needs data.time")
    end: Moment | None = Field(default=None, description="Rows before this time; needs data.time")
    where: str | None = Field(default=None, description="Rows for which this SQL condition holds, e.g. month <= 6")
    drop_incomplete: bool = Field(default=False, description="Leave out rows in which a feature is missing")
    holdout: float = Field(default=0.2, ge=0, le=0.9, description="Share of rows kept from training, to measure on")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*_roles_problems(self.features, self.target, self.time)]
        if self.time is None and (self.start or self.end):
            problems.append(f"{'start' if self.start else 'end'} needs data.time, the column of dates or times")
        if self.start and self.end and _as_utc(self.start) >= _as_utc(self.end):
            problems.append(f"start must be before end, got {self.start} and {self.end}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class ScalingConfig(Section):
    """How features become comparable; the scaler is part of the model."""

    method: ScalingMethod = Field(
        default="standard",
        description="standard: mean 0, deviation 1; minmax: 0 to 1; robust: median 0, quartiles 1 apart; none",
    )


class AnalysisConfig(Section):
    """How the trained map is read."""

    clustering: ClusteringMethod = Field(default="kmeans", description="How neurons are grouped")
    n_clusters: int | None = Field(default=None, ge=1, description="Number of clusters; None: chosen by its score")
    feature_space: FeatureSpace = Field(default="weights", description="What neurons are compared by")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.clustering == "hdbscan" and self.n_clusters is not None:
            raise ValueError(f"n_clusters must be left out with hdbscan, which finds its own, got {self.n_clusters}")
        return self


class TrackingConfig(Section):
    """Where MLflow keeps the run and the model."""

    uri: str | None = Field(
        default=None, min_length=1, description="MLflow tracking URI; None: MLflow's own settings, else mlflow.db here"
    )
    experiment: str | None = Field(default=None, min_length=1, description="MLflow experiment; None: the name")
    model: str | None = Field(
        default=None, pattern=r"^[^/:]+$", max_length=256, description="Registered model; None: the name"
    )
    publish: bool = Field(default=True, description="Whether to register the model as a new version")

    @field_validator("uri")
    @classmethod
    def _without_secret(cls, uri: str | None) -> str | None:
        if without_password(uri) != uri:
            raise ValueError(
                "must not hold a password, for it would end up in logs and in the run: set MLFLOW_TRACKING_URI, or "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, in the environment"
            )
        return uri


class RuntimeConfig(Section):
    """How the machine is used."""

    threads: int | None = Field(default=None, ge=1, description="CPU threads for training; None: torch's own choice")


def without_password(uri: str | None) -> str | None:
    """The URI with the password in it, if any, replaced by ***."""
    parts = urlsplit(uri or "")
    if parts.password is None:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))


def _roles_problems(features: Sequence[str], target: Sequence[str], time: str | None) -> Iterator[str]:
    for role, names in (("features", features), ("target", target)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            yield f"{role} must name each column once, got {', '.join(twice)} twice"
    both = [name for name in target if name in features]
    if both:
        yield f"target must not be among the features, got {', '.join(both)} in both"
    if time is not None and time in (*features, *target):
        yield f"time must be neither feature nor target, got {time}"


def _as_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
