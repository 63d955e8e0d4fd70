"""One experiment is one file: what to train on, how, and where the results go.

    name: weather
    data:
      path: data/weather
      features: [temp_EWR, humid_EWR, temp_LGA, humid_LGA]
      target: humid_JFK
    som: {x: 25, y: 15}

is a complete one. `data.path` is taken from the folder of the file that holds it, so that a run does not depend on
where it was started. Command-line overrides (`som.sigma=2.5`) are parsed like values of the file; a path in them is
taken from the working folder, like every path on a command line.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pipelines.errors import ConfigError
from pipelines.masking import masked
from pipelines.settings.promotion import PromotionConfig
from pipelines.settings.section import Section
from pipelines.settings.sections import (
    AnalysisConfig,
    DataConfig,
    DriftConfig,
    JITLConfig,
    RefreshConfig,
    RetrainConfig,
    RuntimeConfig,
    ScalingConfig,
    TrackingConfig,
    WindowConfig,
)
from pipelines.settings.yaml_text import expanded, parse_yaml, read_text
from pipelines.wording import counted
from somlib.configs import SOMConfig

ELSEWHERE = ("name", "tracking", "refresh", "runtime")  # sections that decide nothing of a training,
EVALUATION = ("promotion", "drift", "retrain")  # and those by which its result is evaluated


class PipelineConfig(Section):
    """Everything that one experiment is; frozen, unknown fields refused.

    Example:
        >>> config = PipelineConfig(name="demo", data={"path": "demo.parquet", "features": ["a", "b"]})
        >>> config.scaling.method, config.som.algorithm
        ('standard', 'minibatch')
    """

    name: str = Field(description="What the experiment and the registered model are called")
    data: DataConfig
    window: WindowConfig = Field(default_factory=WindowConfig)
    scaling: ScalingConfig = Field(default_factory=ScalingConfig)
    som: SOMConfig = Field(default_factory=SOMConfig)
    analysis: AnalysisConfig = Field(default_factory=AnalysisConfig)
    jitl: JITLConfig = Field(default_factory=JITLConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    promotion: PromotionConfig = Field(default_factory=PromotionConfig)
    drift: DriftConfig = Field(default_factory=DriftConfig)
    retrain: RetrainConfig = Field(default_factory=RetrainConfig)
    refresh: RefreshConfig = Field(default_factory=RefreshConfig)
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w .-]{0,99}", name):
            raise ValueError(f"must be letters, digits, blanks and _ . - only, letter or digit first, got {name!r}")
        return name

    @model_validator(mode="after")
    def _columns_given(self) -> Self:
        problems = []
        if self.jitl.enabled and not self.data.target:
            problems.append("jitl.enabled needs data.target, the columns to predict")
        if self.jitl.keep_days is not None and self.data.time is None:
            problems.append("jitl.keep_days needs data.time, the column of dates or times")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def predicts(self) -> bool:
        """Whether targets shall get local models."""
        return bool(self.data.target) and self.jitl.enabled is not False

    @property
    def experiment_name(self) -> str:
        """The MLflow experiment that runs go to."""
        return self.tracking.experiment or self.name

    @property
    def model_name(self) -> str:
        """The registered model that versions go to."""
        return self.tracking.model or self.name

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the model: all settings but names, places, and how it is evaluated later."""
        return self._digest_without(*ELSEWHERE, *EVALUATION)

    @property
    def retrain_digest(self) -> str:
        """SHA-256 of what decides a model and whether it is promoted."""
        return self._digest_without(*ELSEWHERE)

    def _digest_without(self, *sections: str) -> str:
        left_out: dict[str, Any] = dict.fromkeys(sections, True) | {"data": {"path"}, "som": {"device"}}
        decisive = self.model_dump(mode="json", exclude=left_out)
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def neurons(self) -> int | None:
        """Neurons of the map; None where its size is left to the data."""
        return None if self.som.x is None or self.som.y is None else self.som.x * self.som.y

    def resolved(self) -> dict[str, Any]:
        """Settings by dotted name (`som.sigma`), without those of the map that are left to the data."""
        taken = {"tracking.experiment": self.experiment_name, "tracking.model": self.model_name}
        sections = self.model_dump(mode="json")
        columns = sections["data"].pop("columns")  # by names that MLflow may not take for those of parameters
        if columns:
            taken["data.columns"] = json.dumps(columns, ensure_ascii=False)
        values = dict(_flattened(sections)) | taken
        return {name: value for name, value in values.items() if value is not None or not name.startswith("som.")}

    def to_yaml(self) -> str:
        """The settings as text that `load_config` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_config(file: str | Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """The configuration in a YAML file, with `section.field=value` overrides on top.

    Raises:
        ConfigError: No such file, no YAML, or settings that are not allowed; every problem has its line.
    """
    return checked(read_settings(file, overrides), str(file))


def read_settings(file: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of a YAML file with overrides on top, not checked yet; a relative `data.path` is resolved.

    Raises:
        ConfigError: No such file, no YAML mapping, or an override that is none.
    """
    path = expanded(str(file))
    settings = parse_yaml(read_text(str(file)), str(file))
    if not isinstance(settings, dict):
        raise ConfigError(f"{file}: must be a mapping of settings such as name: weather, got {_kind(settings)}")
    data = settings.get("data")
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        data["path"] = _resolved(data["path"], path.resolve().parent)
    for override in overrides:
        _apply(settings, override)
    return settings


def checked(settings: Mapping[str, Any], origin: str) -> PipelineConfig:
    """A configuration from settings; `origin` opens each line of an error.

    Raises:
        ConfigError: Settings that are missing, unknown or not allowed; every problem has its line.
    """
    try:
        return PipelineConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(*(f"{origin}: {line}" for line in problem_lines(error))) from None


def problem_lines(error: ValidationError) -> list[str]:
    """One line for each problem: the setting, what it must be, what came, and near names for an unknown one."""
    problems = error.errors()
    broken = {problem["loc"] for problem in problems}  # a list with a broken item also counts as one without items
    inner = {place[:i] for place in broken for i in range(len(place))}
    shown = (problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in inner)
    return [masked(line) for problem in shown for line in _lines(problem)]


# ---------------------------------------------------------------- reading


def _resolved(path: str, folder: Path) -> str:
    """`path` from `folder`, which is no link, unless it is absolute, a home path, or a URI."""
    if "://" in path or not path:
        return path
    parts = expanded(path).parts
    while parts[:1] == ("..",):
        folder, parts = folder.parent, parts[1:]
    return str(folder.joinpath(*parts))


def _apply(settings: dict[str, Any], override: str) -> None:
    """Set `section.field=value` in nested settings."""
    name, equals, text = override.partition("=")
    *sections, field = name.strip().split(".")
    if not equals or not field:
        raise ConfigError(f"--set must look like som.sigma=2.5, got {masked(override)!r}")
    if not text.strip():  # such as a variable of the shell that is not set
        raise ConfigError(f"--set {override} must have a value: write {name.strip()}=null to leave it open")
    value = parse_yaml(text, f"--set {masked(override)}")
    for section in sections:
        inner = settings.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(masked(f"--set {override}: {section} is not a section, it is set to {inner!r}"))
        settings = inner
    settings[field] = value


# ---------------------------------------------------------------- problems


def _lines(problem: ErrorDetails) -> Iterator[str]:
    name = ".".join(str(part) for part in problem["loc"])
    kind, value = problem["type"], problem["input"]
    if kind == "missing":
        yield f"{name} is required{_description(problem['loc'])}"
    elif kind == "extra_forbidden":
        yield f"{name} is no known setting{_suggestion(problem['loc'])}"
    elif kind == "value_error":
        separator = "." if name else ""
        for reason in str(problem["ctx"]["error"]).split("; "):
            yield f"{name}{separator if _names_field(reason) else ' '}{reason}".strip()
    elif kind == "model_type":
        yield f"{name} must be a section of settings, got {value!r}"
    else:
        yield f"{name} {_rule(problem)}, got {'nothing' if value is None else repr(value)}{_cure(name, value)}"


# What pydantic calls a type, and what people call it.
TYPES = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
    "tuple": "must be a list",
    "datetime": "must be a date or a time such as 2013-06-01 or 2013-06-01T12:00:00Z",
}


def _rule(problem: ErrorDetails) -> str:
    """What a setting must be."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "too_short":
        return f"must have at least {counted(context['min_length'], 'item')}"
    if kind == "string_too_short":
        return "must not be empty"
    named, _, detail = kind.rpartition("_")
    named = named.partition("_from")[0]
    if named in TYPES and detail in ("type", "parsing", "float", "inclusive"):
        return TYPES[named]
    return problem["msg"].replace("Input should be", "must be", 1).replace("String should", "must", 1)


def _cure(name: str, value: Any) -> str:
    """What to do about the mistakes that are made most."""
    if value is None:
        return ": give a value or leave the line out"
    if name == "data.features" and value == []:
        return ": name columns, or a pattern such as temp_*"
    if name == "data.path" and isinstance(value, list):
        return ": a folder or a pattern such as data/*.parquet takes several files"
    if name.startswith("data.features.") and isinstance(value, int | float):
        return f": columns go by their names; put {str(value)!r} in quotes if it is one"
    if isinstance(value, str) and re.fullmatch(r"\s*[\d.]+\s*%", value):
        return f": write {float(value.strip(' %')) / 100:g}"
    if name == "data.holdout" and isinstance(value, int | float) and 1 < value < 100:
        return f": it is a share, write {value / 100:g} for {value:g} %"
    if isinstance(value, str) and (size := re.fullmatch(r"(\d+)\s*[x×*,]\s*(\d+)", value)) and name == "som.x":
        return f": write x: {size[1]} and y: {size[2]}"
    return ""


def _names_field(reason: str) -> bool:
    """Whether the reason of a section's own check opens with the name of a field, so that it reads section.field."""
    return reason.split(maxsplit=1)[0] in {known.rpartition(".")[2] for known in _known_settings()}


def _suggestion(place: tuple[int | str, ...]) -> str:
    *sections, field = (str(part) for part in place)
    known = list(_known_settings())
    prefix = "".join(f"{section}." for section in sections)
    within = list(_known_settings(_model_at(place[:-1])))
    beside = [name for name in within if "." not in name] + sorted(
        {name.split(".")[0] for name in within if "." in name}
    )
    near = [prefix + name for name in difflib.get_close_matches(field, beside, n=1)]
    near = near or [name for name in known if name.rpartition(".")[2] == field]
    return f": did you mean {' or '.join(near)}?" if near else f": known here are {', '.join(beside)}"


def _known_settings(model: type[BaseModel] = PipelineConfig, prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings."""
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is None:
            yield prefix + name
        else:
            yield from _known_settings(section, f"{prefix}{name}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section in the type of a setting, also where the setting is a list of them; None where it is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section, get_args(annotation))), None)


def _model_at(place: tuple[int | str, ...]) -> type[BaseModel]:
    """The section at a place among the settings; numbers are places in a list."""
    model: type[BaseModel] = PipelineConfig
    for part in place:
        if isinstance(part, str) and part in model.model_fields:  # else the name of a column
            model = _section(model.model_fields[part].annotation) or model
    return model


def _description(place: tuple[int | str, ...]) -> str:
    field = _model_at(place[:-1]).model_fields[str(place[-1])]
    return f": {field.description}" if field.description else ""


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _kind(value: Any) -> str:
    return "an empty file" if value is None else "plain text" if isinstance(value, str) else f"a {type(value).__name__}"
