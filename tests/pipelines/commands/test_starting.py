import json
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest
import yaml
from sklearn.datasets import load_diabetes, load_wine
from typer.testing import CliRunner, Result

from pipelines.cli import app
from pipelines.commands.starting import experiment_name
from pipelines.settings.config import load_config
from pipelines.training.plan import prepare
from tests.pipelines.conftest import REPOSITORY, WriteDataset


def som(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shop(rows: int = 300) -> pl.DataFrame:
    random = np.random.default_rng(3)
    return pl.DataFrame(
        {
            "customer id": np.arange(rows),
            "city": random.choice(["Rome", "Oslo: north", "#3"], rows),
            "member": random.choice(["yes", "no"], rows),
            "spent": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows)),
            "visits": random.integers(0, 9, rows),
            "churn": random.integers(0, 2, rows),
        }
    )


def test_a_config_is_written_that_a_person_can_read_and_that_trains_as_it_is(write: WriteDataset) -> None:
    write(shop(), "sets/shop.parquet")
    done = som("init", "sets/shop.parquet", "--target", "churn", "-o", "sets/first.yaml")
    assert done.exit_code == 0, done.output
    assert "left out: customer id: as many values as rows: it names the row" in done.stdout
    text = Path("sets/first.yaml").read_text()
    assert "  # customer id: as many values as rows: it names the row\n" in text
    config = load_config("sets/first.yaml")
    assert (config.name, config.data.target, config.som.missing) == ("shop", ("churn",), "mask")
    assert config.data.features == ("city", "member", "spent", "visits")
    assert {name: column.kind for name, column in config.data.columns.items()} == {
        "city": "category",
        "member": "boolean",
    }
    found = prepare(config)
    assert found.samples.scaler.features[:2] == ("city=#3", "city=Oslo: north")
    assert som("init", "sets/shop.parquet", "-o", "sets/first.yaml").exit_code == 2


def test_editors_find_the_schema_that_the_config_names(write: WriteDataset) -> None:
    write(shop(), "sets/shop.parquet")
    for name in ("first", "second"):  # the second over the schema of the first
        done = som("init", "sets/shop.parquet", "-o", f"{name}.yaml")
        assert "beside it: som.schema.json" in done.output
        first = Path(f"{name}.yaml").read_text().splitlines()[0]
        schema = json.loads(Path(first.removeprefix("# yaml-language-server: $schema=")).read_text())
        jsonschema.validate(yaml.safe_load(Path(f"{name}.yaml").read_text()), schema)
    Path("som.schema.json").write_text("[1]")  # somebody's own
    assert som("init", "sets/shop.parquet", "-o", "third.yaml").exit_code == 0
    assert Path("som.schema.json").read_text() == "[1]"
    assert "yaml-language-server" not in Path("third.yaml").read_text()


def test_check_shows_the_path_of_data_elsewhere_without_detours(write: WriteDataset) -> None:
    path = write(shop(), "sets/shop.parquet")
    assert som("init", "sets/shop.parquet", "-o", "sets/a.yaml").exit_code == 0
    Path("configs").mkdir()
    Path("configs/b.yaml").write_text(Path("sets/a.yaml").read_text().replace("path: shop", "path: ../sets/shop"))
    assert f"{path.resolve()}: 1 file" in som("check", "configs/b.yaml").output.replace("\n", "")


def test_whole_numbers_that_may_be_classes_are_pointed_out(write: WriteDataset) -> None:
    write(shop().with_columns(gone=pl.col("churn") == 1, visits=pl.col("visits") % 3), "shop.parquet")
    targets = [part for name in ("city", "gone", "churn", "visits") for part in ("--target", name)]
    done = som("init", "shop.parquet", *targets)
    assert done.exit_code == 0, done.output
    text = Path("shop.yaml").read_text()
    assert "  target_kind: {churn: class}  # two whole numbers; number takes them as amounts\n" in text
    line = "  # target_kind: {visits: class}  # 3 whole numbers, 0, 1, 2: amounts, unless it says so\n"
    assert line in text
    assert set(prepare(load_config("shop.yaml")).samples.train.classes) == {"city", "gone", "churn"}


@pytest.mark.parametrize("load", [load_wine, load_diabetes])
def test_sets_that_others_made_give_a_config_whose_data_can_be_prepared(write: WriteDataset, load: Any) -> None:
    frame = load(as_frame=True).frame
    path = write(pl.from_pandas(frame), "set.parquet")
    assert som("init", str(path), "--target", "target").exit_code == 0
    config = load_config("set.yaml")
    assert set(config.data.features) == set(frame.columns) - {"target"}
    assert len(prepare(config).samples.train) > 0


def test_the_shipped_weather_is_recognized() -> None:
    assert som("init", str(REPOSITORY / "data" / "weather"), "--target", "humid_JFK").exit_code == 0
    config = load_config("weather.yaml")
    assert config.data.time == "time"
    assert config.data.columns["hour"].period == 24
    assert config.som.missing == "mask"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.parquet"], "nowhere.parquet"),
        (
            ["shop.parquet", "--target", "chrun"],
            "--target chrun: no such column in shop.parquet: columns are customer id",
        ),
        (["shop.parquet", "-o", "nowhere/a.yaml"], "nowhere/a.yaml cannot be written: No such file or directory"),
        (
            ["dated.parquet", "--target", "day"],
            "--target day must hold numbers, text or true and false, got Date",
        ),
        (
            ["only.parquet"],
            "no column of only.parquet looks like a feature: id (as many values as rows: it names the row)",
        ),
    ],
)
def test_what_cannot_become_a_config_is_one_line_and_leaves_no_file(
    write: WriteDataset, arguments: list[str], expected: str
) -> None:
    write(shop(), "shop.parquet")
    write(pl.DataFrame({"id": np.arange(50)}), "only.parquet")
    write(shop().with_columns(day=pl.lit(date(2024, 1, 1))), "dated.parquet")
    done = som("init", *arguments)
    assert done.exit_code in (2, 3)
    assert expected in done.stderr
    assert not list(Path().glob("*.yaml"))


def test_check_asks_about_columns_that_look_like_something_else(write: WriteDataset) -> None:
    write(shop(), "shop.parquet")
    data: dict[str, Any] = {"path": "shop.parquet", "features": ["customer id", "visits"]}
    Path("shop.yaml").write_text(yaml.safe_dump({"name": "shop", "data": data}))
    shown = som("check", "shop.yaml").output
    assert "note: feature customer id: as many values as rows: it names the row: leave it out?" in shown
    assert "note: column city is no feature: 3 values: #3, Oslo: north, Rome: category? See data.columns" in shown
    Path("shop.yaml").write_text(yaml.safe_dump({"name": "shop", "data": data | {"features": ["visits", "city"]}}))
    refused = som("check", "shop.yaml").stderr
    assert "data.features: column 'city' must be numeric, got text: say in data.columns what it is" in refused
    assert "data.columns: city: 3 values: #3, Oslo: north, Rome: category?" in refused


@pytest.mark.parametrize(
    ("data", "name"),
    [("a/My data (1).parquet", "My-data-1"), ("a/weather/*.parquet", "weather"), ("a/année/", "année")],
)
def test_an_experiment_is_called_like_its_data(data: str, name: str) -> None:
    assert experiment_name(data) == name
