"""The sections of a configuration file: each a frozen model with the bounds and the meaning of its settings."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from pipelines.masking import holds_secret
from pipelines.settings.columns import PAST_KINDS, Columns
from pipelines.settings.section import Section
from pipelines.settings.values import DriftLimits, Extent, Moment, Names, Shares, as_bound, as_bytes

ScalingMethod = Literal["standard", "minmax", "robust", "none"]
# As `CLUSTERING_METHODS` of somlib has them, whose records need PyTorch; a test holds both together.
ClusteringMethod = Literal["kmeans", "gmm", "hdbscan", "ward", "connectivity", "mixture"]
FIND_THEIR_NUMBER = ("hdbscan",)
COMPARE_ROWS = ("mixture",)
FeatureSpace = Literal["weights", "positions", "combined"]
Experts = Literal["blend", "pure"]
TargetKind = Literal["class", "number"]


class DataConfig(Section):
    """Which rows and columns of which Parquet files."""

    path: str = Field(
        min_length=1,
        description="Parquet file, folder (hive partitions welcome) or glob pattern, "
        "also at s3://, gs:// or abfs://; or one file at https://; keys come from the environment",
    )
    features: Names = Field(
        min_length=1, description="Columns the map is trained on; temp_* is all that match, but for target and time"
    )
    columns: Columns = Field(
        default_factory=dict,
        description="What features are that are no plain numbers, by name or pattern: city: category",
    )
    target: Names = Field(default=(), description="Columns the map is read by, and never trained on")
    target_kind: dict[str, TargetKind] = Field(
        default_factory=dict,
        description="What targets are, by name, where it is not what they seem: grade: class; text and true/false are "
        "classes, numbers are numbers",
    )
    time: str | None = Field(default=None, description="Column that orders the rows; held-out rows are then the newest")
    start: Moment | None = Field(default=None, description="Rows from this time on; needs data.time")
    end: Moment | None = Field(default=None, description="Rows before this time; needs data.time")
    where: str | None = Field(default=None, description="Rows for which this SQL condition holds, e.g. month <= 6")
    drop_incomplete: bool = Field(default=False, description="Leave out rows in which a feature is missing")
    holdout: float = Field(default=0.2, ge=0, le=0.9, description="Share of rows kept from training, to measure on")
    _whole: "DataConfig | None" = PrivateAttr(default=None)

    @property
    def whole(self) -> "DataConfig":
        """The data that this is a part of, where lags and rolling means of its rows look back."""
        return self._whole or self

    def part(self, **narrower: Any) -> "DataConfig":
        """The same with narrower `start`, `end` or `where`: a part that looks back into the whole."""
        part = self.model_copy(update=narrower)
        part._whole = self.whole
        return part

    @field_validator("path")
    @classmethod
    def _without_secret(cls, path: str) -> str:
        if "://" in path and holds_secret(path):
            raise ValueError(
                "must not hold a password or a token, for it would end up in logs and in the run: give it in the "
                "environment"
            )
        return path

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        parted = self.time is not None and self.time in self.columns and self.columns[self.time].kind == "time"
        problems = [*_roles_problems(self.features, self.target, None if parted else self.time)]
        if parted and self.time in self.target:
            problems.append(f"time must be no target, got {self.time}")
        backward = [name for name, said in self.columns.items() if said.kind in PAST_KINDS]
        if backward and self.time is None:
            problems.append(f"columns.{backward[0]} is a {self.columns[backward[0]].kind} and needs data.time")
        if odd := [name for name in self.target_kind if name not in self.target]:
            problems.append(f"target_kind must name targets, got {', '.join(odd)}")
        if self.time is None and (self.start or self.end):
            problems.append(f"{'start' if self.start else 'end'} needs data.time, the column of dates or times")
        if self.start and self.end and _as_utc(self.start) >= _as_utc(self.end):
            problems.append(f"start must be before end, got {self.start} and {self.end}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class WindowConfig(Section):
    """Which rows of `data` `som retrain` trains on, and which newest ones it holds out."""

    mode: Literal["full", "growing", "sliding"] = Field(
        default="full", description="full: all rows; growing: all until a time; sliding: the newest ones"
    )
    length: Extent | None = Field(
        default=None,
        description="Of a sliding window with its held-out part: partitions such as 3, or a time: 36h, 90d, 8w",
    )
    until: Annotated[datetime | str | None, BeforeValidator(as_bound)] = Field(
        default=None, description="Rows before this time, or up to this partition such as month=06; None: the newest"
    )
    holdout: Extent | None = Field(
        default=None, description="Newest part, held out from training, like length; None: the share data.holdout"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if (self.length is None) == (self.mode == "sliding"):
            was = "left out" if self.length is None else self.length
            problems.append(f"length must be given with mode=sliding and only then, got {was} with mode={self.mode}")
        if self.until is not None and self.mode == "full":
            problems.append(f"until needs mode=growing or mode=sliding, got mode=full and {self.until}")
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

    clustering: ClusteringMethod = Field(
        default="mixture", description="How neurons are grouped; kmeans where feature_space is not weights"
    )
    n_clusters: int | None = Field(default=None, ge=1, description="Number of clusters; None: found by the method")
    feature_space: FeatureSpace = Field(default="weights", description="What neurons are compared by")

    @model_validator(mode="before")
    @classmethod
    def _by_feature_space(cls, given: Any) -> Any:
        """The default compares rows, which have no positions."""
        if isinstance(given, dict) and given.get("feature_space", "weights") != "weights":
            return {"clustering": "kmeans"} | given
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.clustering in FIND_THEIR_NUMBER and self.n_clusters is not None:
            raise ValueError(
                f"n_clusters must be left out with {self.clustering}, which finds its own, got {self.n_clusters}"
            )
        if self.clustering in COMPARE_ROWS and self.feature_space != "weights":
            raise ValueError(
                f"feature_space must be weights with clustering {self.clustering}, which compares rows, "
                f"got {self.feature_space}"
            )
        return self


class JITLConfig(Section):
    """Local models on the map that predict the targets: just-in-time learning."""

    enabled: bool | None = Field(
        default=None,
        description="Whether targets get local models; None: yes, unless features and neurons are too many to be quick",
    )
    experts: Experts = Field(
        default="blend",
        description="blend: local models and boosting, mostly more accurate; pure: local models alone, several times "
        "faster to fit and to answer",
    )
    coverage: float = Field(default=0.9, gt=0, lt=1, description="Share of targets that intervals shall hold")
    max_rows: int = Field(
        default=100_000,
        ge=1_000,
        description="Most rows that the models of a target learn and hold, the newest; bounds time and memory",
    )
    keep_days: float | None = Field(
        default=None, gt=0, description="Age beyond which rows are forgotten, counted from the newest; None: never"
    )
    per_neuron: int | None = Field(
        default=None, ge=1, description="Most rows that a neuron holds, the newest; None: no limit"
    )


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
        if uri is not None and holds_secret(uri):
            raise ValueError(
                "must not hold a password or a token, for it would end up in logs and in the run: set "
                "MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, in the environment"
            )
        return uri


class DriftConfig(Section):
    """When new rows count as drifted from those a map was trained on: each limit as [warn, drift].

    A limit is a size that matters in practice; beyond it a shift counts only if it is also larger than training's own
    windows of as many consecutive rows show by chance. Limits of the stability index are those usual in credit
    scoring (Siddiqi, Credit Risk Scorecards, Wiley 2006), those of means the medium and large effects of Cohen
    (Statistical Power Analysis, 2nd ed., 1988); for the others there is no convention.
    """

    stability_index: DriftLimits = Field(default=(0.1, 0.25), description="Of hits, features and predictions (PSI)")
    mean: DriftLimits = Field(default=(0.5, 0.8), description="Shift of a feature's mean, in training deviations")
    missing: DriftLimits = Field(default=(0.05, 0.2), description="Change of a feature's share of missing values")
    error_ratio: DriftLimits = Field(default=(1.2, 1.5), description="Quantization error, as a multiple of held-out's")
    new_region: DriftLimits = Field(
        default=(0.05, 0.15), description="Share of rows farther from the map than 99 % of the held-out rows"
    )
    false_alarms: float = Field(
        default=0.01, gt=0, le=0.2, description="Share of checks without any drift that may still warn"
    )


class RetrainConfig(Section):
    """How `som retrain` makes a challenger, and when it makes none."""

    from_scratch: bool = Field(
        default=False,
        description="Whether to train one from scratch too, beside the one that starts from the champion; the better "
        "of the two by the first of promotion.rules goes on",
    )
    skip_without_drift: bool = Field(
        default=False, description="Whether to train none while the held-out rows look like those of the champion"
    )
    approval_hours: float = Field(
        default=24.0, gt=0, description="How long a deployed run waits for a person, where promotion.approval is set"
    )


class RefreshConfig(Section):
    """When `som refresh` lets new labelled rows into what serves: every limit must hold; null sets none.

    Rows near in time are alike, so a few of them say little. Of the shipped weather, July to December, these limits
    refused 5 of 176 daily refreshes; with 10 rows and a coverage from 0.6 on, 353 of 754 hourly ones were refused.
    """

    fewest_rows: int = Field(
        default=24, ge=1, description="New labelled rows of a target to evaluate its model on; fewer wait for more"
    )
    rmse_ratio: float | None = Field(
        default=2.0, gt=0, description="Largest RMSE on the new rows, as a multiple of that on held-out rows"
    )
    log_loss_ratio: float | None = Field(
        default=2.0, gt=0, description="The same of the log loss of classes, with rows of unknown classes left out"
    )
    log_loss_least: float = Field(
        default=0.1, ge=0, description="Log loss on new rows that is always let in, whatever its ratio"
    )
    coverage: Shares | None = Field(
        default=(0.5, 1.0), description="Share of new rows that must lie within their intervals, as [lowest, highest]"
    )
    fallback: float | None = Field(default=0.5, ge=0, le=1, description="Largest share of new rows off the map")


class RuntimeConfig(Section):
    """How the machine is used."""

    threads: int | None = Field(default=None, ge=1, description="CPU threads; None: torch's choice, local models one")
    memory: Annotated[int, BeforeValidator(as_bytes, json_schema_input_type=int | str)] | None = Field(
        default=None,
        ge=0,
        description="What training rows may take, such as 2GB; more rows are streamed: read anew in each pass. None: "
        "half of the machine's",
    )
    checkpoint_seconds: float = Field(
        default=30.0, ge=0, description="How often a training is kept, to go on from after a crash; 0: each epoch"
    )
    state: str = Field(
        default=".som",
        min_length=1,
        description="Folder for checkpoints of runs that are not done, from the working folder like mlflow.db",
    )


def _roles_problems(features: Sequence[str], target: Sequence[str], time: str | None) -> Iterator[str]:
    for role, names in (("features", features), ("target", target)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            yield f"{role} must name each column once, got {', '.join(twice)} twice"
    both = [name for name in target if name in features]
    if both:
        yield f"target must not be among the features, got {', '.join(both)} in both"
    if time is not None and time in (*features, *target):
        cure = f": columns={{{time}: time}} takes parts of it as features" if time in features else ""
        yield f"time must be neither feature nor target, got {time}{cure}"


def _as_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
