import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from pipelines.cli import app
from tests.pipelines.conftest import WEATHER, WriteDataset, table


def som(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def set_options(overrides: list[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


@pytest.fixture
def file(write: WriteDataset, tmp_path: Path) -> str:
    write(table().with_columns(flat=pl.lit(1.0), text=pl.lit("x"), gap=pl.when(pl.col("a") > 0).then(pl.col("a"))))
    path = tmp_path / "demo.yaml"
    path.write_text("name: demo\ndata: {path: data, features: [a, b], target: y, time: time}\nsom: {x: 4, y: 3}\n")
    return str(path)


def test_check_says_what_would_run_and_runs_nothing(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = som("check", file, "--set", "data.holdout=0.25")
    assert result.exit_code == 0, result.output
    for text in (
        "1 file, 200 rows, 0 left out",
        "time from 2024-01-01 00:00:00 to 2024-01-09 07:00:00",
        "2: a, b",
        "150 rows train, 50 are held out, the newest by time",
        "4 x 3 rectangular, missing: error",
        "minibatch, 10 epochs, seed 42",
        "blend for y, 90% intervals, up to 100,000 rows",
    ):
        assert text in result.output
    assert sorted(tmp_path.rglob("*")) == before


def test_check_approves_of_the_shipped_config() -> None:
    result = som("check", str(WEATHER))
    assert result.exit_code == 0, result.output
    assert "note: 1,739 of 8,714 rows lack a feature; the map trains on what they have" in result.output


@pytest.mark.parametrize("override", ["jitl.enabled=false", "data.target=[]"])
def test_check_says_where_there_will_be_no_local_models(override: str) -> None:
    result = som("check", str(WEATHER), "--set", override)
    assert "│ local models │ none" in result.output


def test_check_says_that_a_map_is_too_large_for_local_models() -> None:
    large = som("check", str(WEATHER), *set_options(["som.x=400", "som.y=400"]))
    assert "note: no local models: 17 features on 160,000 neurons would take up to 1,386 MB" in large.output
    wanted = som("check", str(WEATHER), *set_options(["som.x=400", "som.y=400", "jitl.enabled=true"]))
    assert "no local models" not in wanted.output


@pytest.mark.parametrize(
    ("overrides", "code", "lines"),
    [
        (["data.path=/nowhere"], 3, ["data.path: no such file or folder: /nowhere"]),
        (["data.features=[aa]"], 3, ["data.features: no column 'aa' in "]),
        (["data.features=[a, text]"], 3, ["data.features: column 'text' must be numeric, got text"]),
        (["data.features=[a, flat]"], 3, ["data.features: column 'flat' is constant, 1 in all rows"]),
        (["data.features=[a, gap]"], 3, ["data.features: 50 of 200 rows have missing values (null or NaN), gap in 50"]),
        (["data.where=a > 99"], 3, ["data.path: the dataset is empty: no rows in "]),
        (["som.sgima=3"], 2, [": som.sgima is no known setting: did you mean som.sigma?"]),
        (["som.epochs=many"], 2, [": som.epochs must be a whole number, got 'many'"]),
        (["som.feature_weights=[1]"], 2, ["som.feature_weights must have 2 values"]),
        (
            ["som.sgima=3", "scaling.method=log", "data.features=[aa, text]"],
            2,
            [
                ": scaling.method must be 'standard', 'minmax', 'robust' or 'none', got 'log'",
                ": som.sgima is no known setting",
                "data.features: no column 'aa' in ",
                "data.features: column 'text' must be numeric",
            ],
        ),
    ],
)
def test_check_lists_every_problem_in_a_line_and_ends_with_its_code(
    file: str, overrides: list[str], code: int, lines: list[str]
) -> None:
    result = som("check", file, *set_options(overrides))
    assert result.exit_code == code
    assert len(result.stderr.splitlines()) == len(lines)
    for problem, line in zip(result.stderr.splitlines(), lines, strict=True):
        assert problem.startswith("error: ")
        assert line in problem


@pytest.mark.parametrize(
    ("override", "code", "line"),
    [
        ("data.path=/nowhere", 3, "error: data.path: no such file or folder: /nowhere"),
        ("data.features=[aa]", 3, "error: data.features: no column 'aa' in "),
        ("som.sgima=3", 2, "som.sgima is no known setting: did you mean som.sigma?"),
        ("som.feature_weights=[1]", 2, "error: som.feature_weights must have 2 values"),
    ],
)
def test_train_refuses_what_needs_no_row_to_be_read_before_anything_starts(
    override: str, code: int, line: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = som("train", file, "--set", override)
    assert (result.exit_code, result.stdout) == (code, "")
    assert len(result.stderr.splitlines()) == 1
    assert line in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data", "demo.yaml"}


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("data.features=[a, flat]", "error: data.features: column 'flat' is constant, 1 in all rows"),
        ("data.features=[a, gap]", "error: data.features: 50 of 200 rows have missing values"),
        ("data.where=a > 99", "error: data.path: the dataset is empty: no rows in "),
    ],
)
def test_training_commands_refuse_rows_before_anything_starts(
    override: str, line: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("train", "retrain"):
        result = som(command, file, "--set", override)
        assert (result.exit_code, result.stdout) == (3, "")
        (problem,) = result.stderr.splitlines()
        assert problem.startswith(line if command == "train" else "error: ")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "demo.yaml"}


@pytest.mark.parametrize(
    ("overrides", "code", "line"),
    [
        (
            ["data.time=null"],
            2,
            "error: data.time must name the column of dates or times by which som refresh recognizes",
        ),
        (
            ["data.time=a", "data.features=[b]"],
            3,
            "error: data.time: som refresh recognizes new rows by dates or times",
        ),
        (["data.features=[aa]"], 3, "error: data.features: no column 'aa' in "),
    ],
)
def test_refresh_refuses_data_before_anything_starts(overrides: list[str], code: int, line: str, file: str) -> None:
    result = som("refresh", file, *set_options(overrides))
    assert (result.exit_code, result.stdout) == (code, "")
    (problem,) = result.stderr.splitlines()
    assert problem.startswith(line)


def test_train_ends_with_one_line_where_rows_turn_bad_after_the_first_look(
    file: str, store: str, prefect_api: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.commands.experiments.require_trainable", lambda config: None)
    result = som("train", file, "--set", "data.features=[a, flat]")
    assert (result.exit_code, result.stdout) == (3, "")
    (problem,) = (shown for shown in result.stderr.splitlines() if shown.startswith("error: "))
    assert problem.startswith("error: data.features: column 'flat' is constant, 1 in all rows")
    assert "✗ load" in result.stderr


def test_train_ends_with_a_table_of_what_came_out_and_where_to_look(file: str, store: str, prefect_api: None) -> None:
    result = som("train", file, *set_options(["som.epochs=2", "som.algorithm=batch"]))
    assert result.exit_code == 0, result.output
    for text in (
        "som train: demo",
        "160 trained, 40 held out; 2 features",
        "4 x 3 rectangular",
        "quantization error",
        "topographic error",
        "clusters",
        "demo version 1, now challenger and champion",
        "mlflow ui --backend-store-uri sqlite:///mlflow.db",
    ):
        assert text in result.stdout
    assert "✓ train" in result.stderr
    again = som("train", file, *set_options(["som.epochs=2", "som.algorithm=batch"]))
    assert again.exit_code == 0, again.output
    assert re.search(r"note: already done: run \S+ \(\w{32}\), use --force to train again", again.stderr)
    assert "demo version 1, now challenger and champion" in again.stdout
    assert "✓ train" not in again.stderr


def test_force_trains_also_what_is_done(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("pipelines.commands.experiments.train", lambda *arguments: asked.append(arguments))
    for options in ([], ["--force"]):
        assert som("train", file, *options).exit_code == 0
    assert asked == [(file, [], False), (file, [], True)]


def test_a_missing_config_is_one_line() -> None:
    result = som("check", "nowhere.yaml")
    assert (result.exit_code, result.stderr) == (2, "error: nowhere.yaml: no such file\n")


def test_help_and_option_errors_import_nothing_heavy() -> None:
    code = "import sys, pipelines.cli; print([m for m in ('torch', 'mlflow', 'prefect', 'polars') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_check_imports_what_reads_and_counts_and_nothing_that_trains() -> None:
    code = f"""
import sys
from pipelines.commands.experiments import check
check({str(WEATHER)!r}, ["data.holdout=0.1"])
print("loaded", *{{name.partition(".")[0] for name in sys.modules}}, sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.partition("loaded\n")[2].split()
    assert "polars" in loaded
    assert {"torch", "sklearn", "scipy", "pandas", "matplotlib", "mlflow", "prefect"}.isdisjoint(loaded)


def test_a_server_that_is_down_is_one_line(file: str, monkeypatch: pytest.MonkeyPatch, prefect_api: None) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = som("train", file, "--set", "tracking.uri=http://127.0.0.1:9")
    assert result.exit_code == 4
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert line.startswith("error: MLflow at http://127.0.0.1:9: ")


def test_a_prefect_api_that_is_down_is_one_line(file: str, store: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        result = som("train", file)
    assert result.exit_code == 6
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert line.startswith("error: Prefect API at http://127.0.0.1:9/api: ")
    assert line.endswith("; start it, correct PREFECT_API_URL, or unset it to run without a server")


def test_config_prints_settings_or_the_schema_and_version_the_version() -> None:
    shown = som("config", "som.sigma")
    assert (shown.exit_code, shown.stdout.partition(" = ")[0]) == (0, "som.sigma: number > 0 or null")
    schema = json.loads(som("config", "--schema").stdout)
    assert "som" in schema["properties"]
    assert som("config", "soma").exit_code == 2
    assert som("--version").stdout == f"som {version('som-pipelines')}\n"


def test_a_shell_can_complete_commands() -> None:
    asked = {"_SOM_COMPLETE": "complete_bash", "COMP_WORDS": "som re", "COMP_CWORD": "1"}
    completed = CliRunner().invoke(app, [], env=asked, prog_name="som")
    assert set(completed.stdout.split()) == {"refresh", "report", "retrain"}
