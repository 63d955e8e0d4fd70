from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.errors import ConfigError
from pipelines.settings.config import PipelineConfig, load_config
from tests.pipelines.conftest import WEATHER

FIVE_LINES = """\
name: demo
data:
  path: readings
  features: [a, b]
  target: y
som: {x: 5, y: 4}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "demo.yaml"
    path.write_text(FIVE_LINES)
    return path


def problems(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(file, overrides)
    return [line.removeprefix(f"{file}: ") for line in caught.value.problems]


def test_a_config_of_path_features_target_size_and_name_is_complete(file: Path) -> None:
    config = load_config(file)
    assert (config.name, config.data.features, config.data.target) == ("demo", ("a", "b"), ("y",))
    assert (config.som.x, config.som.y, config.neurons) == (5, 4, 20)
    assert (config.experiment_name, config.model_name) == ("demo", "demo")


def test_the_shipped_config_is_valid() -> None:
    assert load_config(WEATHER).data.path == str(WEATHER.parent / "weather")


def test_the_path_of_the_data_starts_at_the_file_but_an_overriding_one_does_not(file: Path) -> None:
    assert load_config(file).data.path == str(file.parent / "readings")
    assert load_config(file, ["data.path=readings"]).data.path == "readings"
    file.write_text(FIVE_LINES.replace("readings", "/elsewhere/readings"))
    assert load_config(file).data.path == "/elsewhere/readings"


@pytest.mark.parametrize(
    ("override", "section", "field", "value"),
    [
        ("som.sigma=2.5", "som", "sigma", 2.5),
        ("som.sigma=null", "som", "sigma", None),
        ("som.pbc=true", "som", "pbc", True),
        ("data.features=[a]", "data", "features", ("a",)),
        ("data.where=a > 3 and b = 'x=y'", "data", "where", "a > 3 and b = 'x=y'"),
        ("runtime.threads=1", "runtime", "threads", 1),
        ("runtime.memory=2GB", "runtime", "memory", 2 * 10**9),
        ("runtime.memory=1.5 MB", "runtime", "memory", 1_500_000),
        ("runtime.memory=64", "runtime", "memory", 64),
        ("som.learning_rate=1e-2", "som", "learning_rate", 0.01),
    ],
)
def test_overrides_are_read_like_values_of_the_file(
    file: Path, override: str, section: str, field: str, value: Any
) -> None:
    assert getattr(getattr(load_config(file, [override]), section), field) == value


def test_a_later_override_wins(file: Path) -> None:
    assert load_config(file, ["som.epochs=3", "som.epochs=4"]).som.epochs == 4


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("som.sgima=1", "som.sgima is no known setting: did you mean som.sigma?"),
        ("sigma=1", "sigma is no known setting: did you mean som.sigma?"),
        ("scalng.method=none", "scalng is no known setting: did you mean scaling?"),
        ("runtime.zzz=1", "runtime.zzz is no known setting: known here are threads, memory, checkpoint_seconds, state"),
        ("runtime.memory=lots", "runtime.memory must be a number of bytes, or a size such as 500MB or 2GB, got 'lots'"),
        ("runtime.memory=true", "runtime.memory must be a number of bytes, or a size such as 500MB or 2GB, got True"),
        ("som.sigma=-1", "som.sigma must be greater than 0, got -1"),
        ("som.sigma=wide", "som.sigma must be a number, got 'wide'"),
        ("som.topology=round", "som.topology must be 'rectangular' or 'hexagonal', got 'round'"),
        ("data.holdout=1", "data.holdout must be less than or equal to 0.9, got 1"),
        ("name=a/b", "name must be letters, digits, blanks and _ . - only, letter or digit first, got 'a/b'"),
        ("som=3", "som must be a section of settings, got 3"),
        ("data.target=a", "data.target must not be among the features, got a in both"),
        ("data.features=[a, a]", "data.features must name each column once, got a twice"),
        ("data.time=y", "data.time must be neither feature nor target, got y"),
        ("data.start=2024-01-01", "data.start needs data.time, the column of dates or times"),
        (
            "window.mode=sliding",
            "window.length must be given with mode=sliding and only then, got left out with mode=sliding",
        ),
        ("window={length: 3}", "window.length must be given with mode=sliding and only then, got 3 with mode=full"),
        (
            "window.holdout=3 months",
            "window.holdout must be a number of partitions such as 3, or a time such as 36h, 90d or 8w, got '3 months'",
        ),
        (
            "window={mode: growing, until: 2013}",
            "window.until must be a time such as 2013-06-01T12:00:00Z or a partition such as month=06, got 2013",
        ),
        ("window.until=month=06", "window.until needs mode=growing or mode=sliding, got mode=full and month=06"),
        ("data.end=2013", "data.end must be a date or a time such as 2013-06-01 or 2013-06-01T12:00:00Z, got 2013"),
        (
            "analysis={clustering: hdbscan, n_clusters: 3}",
            "analysis.n_clusters must be left out with hdbscan, which finds its own, got 3",
        ),
        (
            "analysis={clustering: mixture, feature_space: combined}",
            "analysis.feature_space must be weights with clustering mixture, which compares rows, got combined",
        ),
        ("jitl.keep_days=30", "jitl.keep_days needs data.time, the column of dates or times"),
        ("jitl.coverage=1", "jitl.coverage must be less than 1, got 1"),
        ("jitl.experts=best", "jitl.experts must be 'blend' or 'pure', got 'best'"),
        ("jitl.max_rows=10", "jitl.max_rows must be greater than or equal to 1000, got 10"),
        ("promotion.approva=true", "promotion.approva is no known setting: did you mean promotion.approval?"),
        (
            "data.features=[]",
            "data.features must have at least 1 item, got []: name columns, or a pattern such as temp_*",
        ),
        ("data.features=null", "data.features must be a list, got nothing: give a value or leave the line out"),
        (
            "data.features=[1]",
            "data.features.0 must be text, got 1: columns go by their names; put '1' in quotes if it is one",
        ),
        (
            "data.path=[a, b]",
            "data.path must be text, got ['a', 'b']: a folder or a pattern such as data/*.parquet takes several files",
        ),
        ("data.path=''", "data.path must not be empty, got ''"),
        ("data.holdout=20%", "data.holdout must be a number, got '20%': write 0.2"),
        (
            "data.holdout=20",
            "data.holdout must be less than or equal to 0.9, got 20: it is a share, write 0.2 for 20 %",
        ),
        ("som.x=25 x 15", "som.x must be a whole number, got '25 x 15': write x: 25 and y: 15"),
        ("som.epochs=1.5", "som.epochs must be a whole number, got 1.5"),
        ("tracking.publish=maybe", "tracking.publish must be true or false, got 'maybe'"),
        (
            "data.start=01/06/2013",
            "data.start must be a date or a time such as 2013-06-01 or 2013-06-01T12:00:00Z, got '01/06/2013'",
        ),
        ("promotion.rules={metric: qe}", "promotion.rules must be a list, got {'metric': 'qe'}"),
        (
            "promotion.rules=[{metric: qe, required: better}]",
            "promotion.rules.0.required must be 'improve' or 'not_worse', got 'better'",
        ),
        (
            "promotion.rules=[{metric: qe, confidance: 1}]",
            "promotion.rules.0.confidance is no known setting: did you mean promotion.rules.0.confidence?",
        ),
        (
            "promotion.rules=[{required: improve}]",
            "promotion.rules.0.metric is required: A metric such as qe, or a pattern of several such as jitl/*/rmse",
        ),
        (
            "promotion.rules=[{metric: oddness}]",
            "promotion.rules.0.direction must be lower or higher, for it is not known for the metric 'oddness'",
        ),
        ("promotion.limits=[{metric: te}]", "promotion.limits.0.lowest or highest must be given"),
        (
            "promotion.limits=[{metric: te, lowest: 1, highest: 0}]",
            "promotion.limits.0.lowest must not be above highest, got 1.0 and 0.0",
        ),
        ("drift.mean=[0.8, 0.5]", "drift.mean must be the limit of a warning, then that of drift, got [0.8, 0.5]"),
        (
            "tracking.uri=http://me:secret@host",
            "tracking.uri must not hold a password or a token, for it would end up in logs and in the run: set "
            "MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, in the environment",
        ),
    ],
)
def test_a_problem_is_one_line_with_field_rule_and_value(file: Path, override: str, expected: str) -> None:
    assert problems(file, override) == [expected]


@pytest.mark.parametrize(
    ("override", "start"), [("som.epochs=true", "som.epochs must"), ("som.x=null", "som.x and y must")]
)
def test_problems_that_the_map_finds_in_its_section_carry_the_name_of_the_section(
    file: Path, override: str, start: str
) -> None:
    (line,) = problems(file, override)
    assert line.startswith(start)


def test_local_models_that_are_asked_for_need_a_target(file: Path) -> None:
    assert problems(file, "jitl.enabled=true", "data.target=[]") == [
        "jitl.enabled needs data.target, the columns to predict"
    ]


def test_all_problems_are_told_at_once(file: Path) -> None:
    found = problems(file, "som.sigma=-1", "data.holdout=2", "foo=1", "runtime.threads=none")
    assert [line.split()[0] for line in found] == ["data.holdout", "som.sigma", "runtime.threads", "foo"]


def test_required_settings_are_named_with_what_they_are(file: Path) -> None:
    file.write_text("data: {path: x}\n")
    assert problems(file) == [
        "name is required: What the experiment and the registered model are called",
        "data.features is required: Columns the map is trained on; temp_* is all that match, but for target and time",
    ]


def test_start_must_come_before_end_also_where_only_one_names_its_zone(file: Path) -> None:
    late, early = "data.start=2024-01-01T12:00:00", "data.end=2024-01-01T12:00:00+02:00"
    assert problems(file, "data.time=t", late, early)[0].startswith("data.start must be before end")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must be a mapping of settings such as name: weather, got an empty file"),
        ("- a\n", "must be a mapping of settings such as name: weather, got a list"),
        ("name: a\nname: b\n", ", line 2, column 1: not valid YAML: name is given twice"),
        ("a,b\n1,2\n", "must be a mapping of settings such as name: weather, got plain text"),
        ("name: a: b\n", ", line 1, column 8: not valid YAML: mapping values are not allowed here"),
    ],
)
def test_a_file_that_is_no_mapping_is_told_apart(file: Path, text: str, expected: str) -> None:
    file.write_text(text)
    assert problems(file) in ([expected], [f"{file}{expected}"])


def test_a_missing_file_is_named_with_the_nearest_one(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"dmeo\.yaml: no such file: did you mean .*demo\.yaml\?"):
        load_config(file.with_name("dmeo.yaml"))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("som", "--set must look like som.sigma=2.5, got 'som'"),
        ("som.x=", "--set som.x= must have a value: write som.x=null to leave it open"),
        ("name.x=1", "--set name.x=1: name is not a section, it is set to 'demo'"),
    ],
)
def test_an_override_that_is_none_is_refused(file: Path, override: str, expected: str) -> None:
    assert problems(file, override) == [expected]


def test_yaml_text_of_a_config_gives_the_same_config(file: Path) -> None:
    config = load_config(
        file,
        [
            "som.sigma=1.5",
            "data.time=t",
            "data.start=2024-01-01",
            "window={mode: sliding, length: 90d, holdout: 2, until: 2024-06-01}",
        ],
    )
    assert PipelineConfig.model_validate(yaml.safe_load(config.to_yaml())) == config
    assert config.data.start == datetime(2024, 1, 1)
    assert config.window.until == datetime(2024, 6, 1)


def test_the_digest_follows_what_decides_the_map_and_nothing_else(file: Path) -> None:
    digest = load_config(file).digest
    places = ["name=other", "data.path=elsewhere", "tracking.uri=http://h", "runtime.threads=1", "som.device=cpu"]
    heldout = ["promotion.approval=true", "drift.false_alarms=0.1", "retrain.from_scratch=true"]
    assert load_config(file, [*places, *heldout]).digest == digest
    for decisive in (
        "som.sigma=2",
        "data.features=[a]",
        "scaling.method=none",
        "analysis.n_clusters=3",
        "data.where=a>1",
        "jitl.experts=pure",
    ):
        assert load_config(file, [decisive]).digest != digest
    whole = load_config(file).retrain_digest
    assert load_config(file, places).retrain_digest == whole
    assert all(load_config(file, [each]).retrain_digest != whole for each in (*heldout, "som.sigma=2"))


@pytest.mark.parametrize(
    ("overrides", "predicts"),
    [([], False), (["data.target=y"], True), (["data.target=y", "jitl.enabled=false"], False)],
)
def test_targets_are_predicted_unless_that_is_switched_off(file: Path, overrides: list[str], predicts: bool) -> None:
    assert load_config(file, ["data.target=[]", *overrides]).predicts is predicts


def test_settled_settings_leave_out_what_the_data_will_decide(file: Path) -> None:
    settled = load_config(file).resolved()
    assert settled["som.x"] == 5
    assert settled["tracking.experiment"] == "demo"
    assert settled["data.time"] is None
    assert "som.sigma" not in settled
