"""`som check` and `som train` on the same experiments: what one refuses or announces, the other refuses or does."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.data import read_dataset
from pipelines.data.samples import prepare_samples
from pipelines.errors import ConfigError, DatasetError, PipelineError
from pipelines.monitoring.assignment import profile_training
from pipelines.report.facts import flow_facts
from pipelines.settings.config import PipelineConfig
from pipelines.training.analysis import analyze, measure
from pipelines.training.fitting import train_som
from pipelines.training.local_scores import learn_targets
from pipelines.training.plan import Prepared, inspect, plan_training, prepare, require_retrainable, require_trainable
from somlib.utils.grid import Grid
from tests.pipelines.conftest import WEATHER, WriteDataset, table

SETTINGS: dict[str, Any] = {
    "data": {"features": ["a", "b"], "target": ["y"], "time": "time"},
    "som": {"x": 3, "y": 2, "epochs": 1, "algorithm": "batch"},
    "jitl": {"experts": "pure"},
    "analysis": {"clustering": "ward"},
}
UNTIMED = {"data.time": None}
MASK = {"som.missing": "mask"}
Frame = Callable[[], pl.DataFrame]


def rows(count: int = 80, **columns: Any) -> Frame:
    return lambda: table(count).with_columns(**columns)


def at(*numbers: int) -> pl.Expr:
    """Rows of these numbers."""
    return pl.int_range(pl.len()).is_in(numbers)


def every(step: int) -> pl.Expr:
    return pl.int_range(pl.len()) % step == 0


def only(name: str, where: pl.Expr) -> pl.Expr:
    """A column with values only where a condition holds."""
    return pl.when(where).then(pl.col(name))


FIRST, LAST = pl.int_range(pl.len()) < 60, pl.int_range(pl.len()) >= 64
HOURS = (pl.int_range(pl.len()) // 30).cast(pl.Int64)
WIDE = {f"f{i}": pl.col("a") * (i + 1) + pl.int_range(pl.len()) % (i + 2) for i in range(30)}

# Name: rows, settings that differ from those above, and how the line of a refusal begins where there is one.
CASES: dict[str, tuple[Frame, dict[str, Any], str]] = {
    "plain": (rows(), {}, ""),
    "untimed": (rows(), UNTIMED, ""),
    "no target": (rows(), {"data.target": []}, ""),
    "two targets": (rows(), {"data.target": ["y", "c"]}, ""),
    "1 row": (rows(1), {}, "data.features: column 'a' is constant"),
    "2 rows": (rows(2), {"data.holdout": 0}, ""),
    "3 rows": (rows(3), {}, ""),
    "3 rows, half held out": (rows(3), {"data.holdout": 0.5}, ""),
    "3 rows, most held out": (rows(3), {"data.holdout": 0.9}, "scaling.method=standard: the values of a, b are equal"),
    "3 rows, untimed": (rows(3), UNTIMED | {"data.holdout": 0.9}, "scaling.method=standard"),
    "3 rows, unscaled": (rows(3), {"data.holdout": 0.9, "scaling.method": "none"}, ""),
    "no rows": (rows(80), {"data.where": "a > 99"}, "data.path: the dataset is empty"),
    "one row of many": (rows(a=pl.int_range(pl.len())), {"data.where": "a = 5"}, "data.features: column 'a' is const"),
    "holdout 0": (rows(), {"data.holdout": 0}, ""),
    "holdout 0.9": (rows(), {"data.holdout": 0.9}, ""),
    "holdout of less than a row": (rows(8), {"data.holdout": 0.1}, ""),
    "constant target": (rows(y=pl.lit(3.0)), {}, ""),
    "constant target where it trains": (rows(y=pl.when(LAST).then(5.0).otherwise(3.0)), {}, ""),
    "constant feature": (rows(a=pl.lit(3.0)), {}, "data.features: column 'a' is constant, 3 in all rows"),
    "constant where it trains": (rows(a=pl.when(LAST).then(5.0).otherwise(3.0)), {}, "scaling.method=standard"),
    "constant where it trains, minmax": (
        rows(a=pl.when(LAST).then(5.0).otherwise(3.0)), {"scaling.method": "minmax"}, "scaling.method=minmax"
    ),
    "constant where it trains, unscaled": (
        rows(a=pl.when(LAST).then(5.0).otherwise(3.0)), {"scaling.method": "none"}, ""
    ),
    "mostly zero": (rows(a=pl.when(every(9)).then("a").otherwise(0.0)), {}, ""),
    "mostly zero, robust": (
        rows(a=pl.when(every(9)).then("a").otherwise(0.0)), {"scaling.method": "robust"},
        "scaling.method=robust: the quartiles of a are equal in all 64 training rows"
    ),
    "robust": (rows(), {"scaling.method": "robust"}, ""),
    "minmax": (rows(), {"scaling.method": "minmax"}, ""),
    "unscaled": (rows(), {"scaling.method": "none"}, ""),
    "ties of time": (rows(time=HOURS), {}, ""),
    "ties of time, few held out": (rows(time=HOURS), {"data.holdout": 0.05}, ""),
    "one time": (rows(time=pl.lit(7)), {}, "data.holdout: all 80 rows are of one time"),
    "one time, none held out": (rows(time=pl.lit(7)), {"data.holdout": 0}, ""),
    "one time, less than a row held out": (rows(time=pl.lit(7)), {"data.holdout": 0.01}, ""),
    "days": (rows(time=pl.col("time").dt.date()), {}, ""),
    "numbers as times": (rows(time=pl.int_range(pl.len()) * 0.5), {}, ""),
    "time backwards": (lambda: table(80).reverse(), {}, ""),
    "time absent in a row": (rows(time=only("time", ~at(4))), {}, "data.time: column 'time' is missing in 1 of 80"),
    "time column absent": (rows(), {"data.time": "clock"}, "data.time: no column 'clock'"),
    "time of text": (rows(time=pl.lit("noon")), {}, "data.time: column 'time' must hold dates"),
    "gaps": (rows(a=only("a", every(3))), {}, "data.features: 53 of 80 rows have missing values"),
    "one gap": (rows(a=only("a", ~at(4))), {}, "data.features: 1 of 80 rows has missing values"),
    "gaps left out": (rows(a=only("a", every(3))), {"data.drop_incomplete": True}, ""),
    "gaps left out until nothing is left": (
        rows(a=only("a", every(2)), b=only("b", ~every(2))), {"data.drop_incomplete": True},
        "data.drop_incomplete: all 80 rows lack a feature"
    ),
    "gaps left out until one row is left": (rows(a=only("a", at(5))), {"data.drop_incomplete": True}, "data.features"),
    "gaps masked": (rows(a=only("a", every(3))), MASK, ""),
    "gaps masked, rows with nothing": (rows(a=only("a", ~at(4)), b=only("b", ~at(4))), MASK, ""),
    "gaps masked, no value where it trains": (
        rows(a=only("a", LAST)), MASK, "data.features: a has no value in any of 64 training rows"
    ),
    "gaps masked, no value where it trains, unscaled": (
        rows(a=only("a", LAST)), MASK | {"scaling.method": "none"}, "data.features: a has no value in any of 64"
    ),
    "gaps masked, no value where it is held out": (rows(a=only("a", FIRST)), MASK, ""),
    "gaps masked, one value where it trains": (rows(a=only("a", LAST | at(3))), MASK, "scaling.method=standard"),
    "feature without a value": (
        rows(a=pl.lit(None, pl.Float64)), MASK, "data.features: column 'a' has no value in any of 80 rows"
    ),
    "NaN": (rows(a=pl.when(at(1)).then(float("nan")).otherwise("a")), {}, "data.features: 1 of 80 rows has missing"),
    "infinite": (rows(a=pl.when(at(1)).then(float("inf")).otherwise("a")), {}, "data.features: column 'a' is infinite"),
    "infinite target": (rows(y=pl.when(at(1)).then(float("inf")).otherwise("y")), {}, "data.target: column 'y' is inf"),
    "target with 40 values": (rows(y=only("y", at(*range(40)))), {}, ""),
    "target with 50 values": (rows(y=only("y", at(*range(50)))), {}, ""),
    "target with values only where it is held out": (rows(y=only("y", LAST)), {}, ""),
    "target with values only where it trains": (rows(y=only("y", FIRST)), {}, ""),
    "target without a value": (rows(y=pl.lit(None, pl.Float64)), {}, "data.target: column 'y' has no value"),
    "one of two targets rare": (rows(c=only("c", every(9))), {"data.target": ["y", "c"]}, ""),
    "text target": (rows(y=pl.when(every(3)).then(pl.lit("good")).otherwise(pl.lit("bad"))), {}, ""),
    "text target of one text": (rows(y=pl.lit("good")), {}, ""),
    "text target as a number": (rows(y=pl.lit("good")), {"data.target_kind": {"y": "number"}}, "data.target_kind: "),
    "declared class": (rows(y=pl.int_range(pl.len()) % 3 + 1), {"data.target_kind": {"y": "class"}}, ""),
    "class as target": (rows(y=pl.int_range(pl.len()) % 3 + 1), {}, ""),
    "boolean target": (rows(y=every(2)), {}, ""),
    "local models switched off": (rows(), {"jitl.enabled": False}, ""),
    "local models asked for": (rows(40), {"jitl.enabled": True}, ""),
    "days kept": (rows(), {"jitl.keep_days": 2}, ""),
    "days kept, enough": (rows(200), {"jitl.keep_days": 4}, ""),
    "days kept of numbers": (rows(time=HOURS), {"jitl.keep_days": 2}, "jitl.keep_days needs dates or times"),
    "blend": (rows(), {"jitl.experts": "blend"}, ""),
    "size from the data": (rows(), {"som.x": None, "som.y": None}, ""),
    "size from the data, hexagonal": (rows(), {"som.x": None, "som.y": None, "som.topology": "hexagonal"}, ""),
    "size from 3 rows": (rows(3), {"som.x": None, "som.y": None}, ""),
    "size from the data with gaps": (rows(a=only("a", every(3))), MASK | {"som.x": None, "som.y": None}, ""),
    "size from the data, torus": (
        rows(), {"som.x": None, "som.y": None, "som.topology": "hexagonal", "som.pbc": True}, ""
    ),
    "too many clusters": (rows(), {"analysis.n_clusters": 7}, "analysis.n_clusters must be at most 6"),
    "too many clusters for the size from the data": (
        rows(8), {"analysis.n_clusters": 60, "som.x": None, "som.y": None}, "analysis.n_clusters must be at most 5"
    ),
    "as many clusters as neurons": (rows(), {"analysis.n_clusters": 6}, ""),
    "large map": (rows(), {"som.x": 20, "som.y": 20}, ""),
    "one neuron": (rows(), {"som.x": 1, "som.y": 1}, ""),
    "weights of features": (rows(), {"som.feature_weights": [1.0]}, "som.feature_weights must have 2 values"),
    "cosine": (rows(), {"som.distance_function": "cosine"}, ""),
    "hdbscan": (rows(), {"analysis.clustering": "hdbscan"}, ""),
    "gmm of few neurons": (rows(), {"analysis.clustering": "gmm"}, ""),
    "pattern": (rows(), {"data.features": ["?"], "data.target": "y"}, ""),
    "pattern without a match": (rows(), {"data.features": ["flow_*"]}, "data.features: no column matches flow_*"),
    "many features": (rows(**WIDE), {"data.features": ["f*"]}, ""),
    "tiny values": (rows(a=pl.col("a") * 1e-30, b=pl.col("b") * 1e-30), {}, ""),
    "large values": (rows(a=pl.col("a") * 1e30), {}, ""),
    "small spread around a large value": (rows(a=pl.col("a") * 1e-3 + 1e6), {}, ""),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What is known of an experiment."""

    refused: str = ""
    train: int = 0
    heldout: int = 0
    left_out: int = 0
    size: tuple[int, int] = (0, 0)
    local: tuple[str, ...] = ()


def settings(data: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    sections: dict[str, Any] = {name: dict(values) for name, values in SETTINGS.items()}
    sections["data"]["path"] = str(data)
    for name, value in changes.items():
        section, _, field = name.partition(".")
        sections.setdefault(section, {})[field] = value
    return {"name": "demo", **sections}


def checked(folder: Path, content: Mapping[str, Any]) -> Outcome:
    """What `som check` prints."""
    file = folder / "demo.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    result = CliRunner().invoke(app, ["check", str(file)], env={"COLUMNS": "400"})
    if result.exit_code:
        assert result.stderr.startswith("error: "), result.output
        return Outcome(result.stderr.splitlines()[0].removeprefix("error: "))
    told = dict(re.findall(r"^│ ([\w ]+?) +│ (.+?) +│$", result.stdout, re.MULTILINE))
    told |= dict(re.findall(r"^(\w+)  +(.+)$", result.stdout, re.MULTILINE))  # below the table, to be copied
    counts = re.match(r"([\d,]+) rows? trains?, ([\d,]+) (?:is|are) held out", told["split"])
    left_out, size = re.search(r"([\d,]+) left out", told["data"]), re.match(r"(\d+) x (\d+)", told["map"])
    local = re.match(r"\w+ for (.+), \d+% intervals", told["local models"])
    assert counts
    assert left_out
    assert size
    number = [int(text.replace(",", "")) for text in (*counts.groups(), left_out[1])]
    return Outcome(
        "", *number, size=(int(size[1]), int(size[2])), local=tuple(local[1].split(", ")) if local else ()
    )  # fmt: skip


def trained(content: Mapping[str, Any]) -> Outcome:
    """What the steps of the training flow come to, without Prefect, MLflow and figures."""
    config = PipelineConfig.model_validate(content)
    try:
        source, found = inspect(config)
        dataset = read_dataset(source, found, config.data.drop_incomplete)
        samples = prepare_samples(dataset, config)
        plan = plan_training(config, source, dataset, samples)
    except PipelineError as error:
        return Outcome(error.problems[0])
    result = train_som(samples.train.samples, plan.som, dataset.feature_names)
    analysis = analyze(result.som, samples.train.samples, samples.targets, samples.scaler, config.analysis)
    measure(result, samples.heldout.samples, analysis.clusters)
    local = learn_targets(result.som, samples, config.jitl, seed=1) if plan.local.rows else None
    profile_training(result.som, dataset, samples, local, analysis)
    flow_facts(result.som, config, Prepared(source, dataset, samples, plan))
    return Outcome(
        train=len(samples.train),
        heldout=len(samples.heldout),
        left_out=found.found - len(dataset.features),
        size=(result.som.grid.x, result.som.grid.y),
        local=() if local is None or local.models is None else tuple(local.models.regressors),
    )


@pytest.mark.filterwarnings("ignore::somlib.errors.SomlibWarning")
@pytest.mark.parametrize("name", CASES)
def test_check_and_train_agree(name: str, write: WriteDataset, tmp_path: Path) -> None:
    frame, changes, refusal = CASES[name]
    content = settings(write(frame()), changes)
    before, after = checked(tmp_path, content), trained(content)
    assert before == after
    assert before.refused.startswith(refusal) if refusal else not before.refused


THROUGH_THE_FLOW = (
    "ties of time",
    "3 rows",
    "size from the data with gaps",
    "mostly zero, robust",
    "one of two targets rare",
    "target with values only where it is held out",
    "target with values only where it trains",
    "class as target",
)


@pytest.mark.filterwarnings("ignore::somlib.errors.SomlibWarning")
@pytest.mark.usefixtures("prefect_api", "store")
@pytest.mark.parametrize("name", THROUGH_THE_FLOW)
def test_check_and_the_flow_itself_agree(name: str, write: WriteDataset, tmp_path: Path) -> None:
    from pipelines import train_flow

    frame, changes, _ = CASES[name]
    content = settings(write(frame()), changes)
    before = checked(tmp_path, content)
    config = PipelineConfig.model_validate(content)
    if before.refused:
        with pytest.raises(PipelineError) as refused:
            train_flow(config)
        assert before.refused == refused.value.problems[0]
        return
    result = train_flow(config)
    rows, params = result.rows, mlflow.get_run(result.run_id).data.params
    local = tuple(target for target in content["data"]["target"] if f"jitl/{target}/sigma" in params)
    after = Outcome("", rows["train"], rows["heldout"], rows["left_out"], result.map_size, local)
    assert before == after


# ---------------------------------------------------------------- before Prefect starts


@pytest.mark.parametrize("name", [name for name, (_, _, refusal) in CASES.items() if refusal])
def test_small_data_is_refused_before_a_training_starts(name: str, write: WriteDataset) -> None:
    frame, changes, refusal = CASES[name]
    with pytest.raises((ConfigError, DatasetError)) as refused:
        require_trainable(PipelineConfig.model_validate(settings(write(frame()), changes)))
    assert refused.value.problems[0].startswith(refusal)


def test_large_data_is_refused_on_what_one_pass_shows(write: WriteDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.training.plan.MOST_VALUES", 159)  # of 160
    for name in ("gaps", "constant feature", "infinite"):
        frame, changes, refusal = CASES[name]
        with pytest.raises(DatasetError) as refused:
            require_trainable(PipelineConfig.model_validate(settings(write(frame()), changes)))
        assert refused.value.problems[0].startswith(refusal)
    frame, changes, _ = CASES["mostly zero, robust"]
    require_trainable(PipelineConfig.model_validate(settings(write(frame()), changes)))  # its rows are not read


def test_a_retraining_is_refused_before_it_starts(write: WriteDataset) -> None:
    def refusal(frame: pl.DataFrame, **changes: Any) -> str:
        content = settings(write(frame), {name.replace("__", "."): value for name, value in changes.items()})
        with pytest.raises(PipelineError) as refused:
            require_retrainable(PipelineConfig.model_validate(content))
        return refused.value.problems[0]

    whole = table(80)
    window = {"mode": "growing", "holdout": "1d"}
    late = whole.with_columns(a=only("a", ~at(75)))
    assert refusal(late, window__mode="growing").startswith("data.features: 1 of 16 rows has missing values")
    spread = whole.with_columns(a=pl.when(LAST).then("a").otherwise(1.0))
    assert refusal(spread, window__mode="full").startswith("data.features: column 'a' is constant, 1 in all rows")
    zeros = whole.with_columns(a=pl.when(every(9)).then("a").otherwise(0.0))
    assert refusal(zeros, scaling__method="robust").startswith("scaling.method=robust: the quartiles of a are equal")
    assert refusal(whole, analysis__n_clusters=7).startswith("analysis.n_clusters must be at most 6")
    assert refusal(whole, data__time=None, jitl__keep_days=None).startswith("window.holdout must be given")
    require_retrainable(PipelineConfig.model_validate(settings(write(whole), {}) | {"window": window}))


# ---------------------------------------------------------------- what it says


def notes(write: WriteDataset, name: str) -> tuple[str, ...]:
    frame, changes, _ = CASES[name]
    return prepare(PipelineConfig.model_validate(settings(write(frame()), changes))).plan.notes


def test_notes_say_what_is_odd_about_the_data(write: WriteDataset) -> None:
    assert notes(write, "plain") == ()
    assert notes(write, "3 rows") == (
        "3 training rows for 6 neurons: most neurons will stay empty, use a smaller map",
        "no local model of y: 3 training rows have a value, it takes at least 50",
    )
    assert notes(write, "constant target") == (
        "target y is constant, 3 wherever it is known: there is nothing to predict",
    )
    (ties,) = notes(write, "ties of time")
    assert ties.startswith("data.time: 80 of 80 rows share their time with another row")
    assert "series" not in ties
    (classes,) = notes(write, "class as target")
    assert classes.startswith("target y has 3 values 1, 2, 3: is it a class?")
    assert "data.target_kind={y: class} takes it for one" in classes
    assert notes(write, "boolean target") == notes(write, "declared class") == notes(write, "text target") == ()
    assert notes(write, "text target of one text") == (
        "target y is constant, good wherever it is known: there is nothing to predict",
    )
    (gaps,) = notes(write, "gaps masked, rows with nothing")
    assert gaps == "1 of 80 rows lacks a feature; the map trains on what it has"


def test_a_map_that_starts_from_another_has_its_size(write: WriteDataset) -> None:
    frame, changes, _ = CASES["size from the data"]
    config = PipelineConfig.model_validate(settings(write(frame()), changes))
    found = prepare(config)
    plan = plan_training(config, found.source, found.dataset, found.samples, Grid(7, 5))
    assert plan.size == (7, 5)
    assert found.plan.size != (7, 5)


def test_scaling_the_shipped_weather_by_quartiles_is_refused_by_the_check(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(WEATHER), "--set", "scaling.method=robust"])
    assert result.exit_code == 3
    expected = "scaling.method=robust: the quartiles of precip_EWR, visib_EWR, precip_LGA, visib_LGA are equal"
    assert expected in result.stderr


def test_times_that_are_alike_lie_on_one_side(write: WriteDataset) -> None:
    """267 / 66 by the share alone, 216 / 117 where a fifth of the rows begins within a time of 117 rows."""
    hours = np.repeat([0, 1], [216, 117])
    content = settings(write(table(333).with_columns(time=pl.Series(hours))), {})
    plan = prepare(PipelineConfig.model_validate(content)).plan
    assert (plan.rows["train"], plan.rows["heldout"]) == (216, 117)
