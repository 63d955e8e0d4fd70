"""Commands about one experiment: train its map, refresh what serves, check its configuration, make a report again."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from pipelines.config import PipelineConfig, checked, load_config, read_settings
from pipelines.data import Source, Survey, find_source, survey
from pipelines.errors import ConfigError, DatasetError
from pipelines.jitl.models import leaves_out, require_dates, size_remark
from pipelines.masking import masked_uri
from pipelines.progress import Stages, listening
from pipelines.sections import DataConfig
from pipelines.terminal import TerminalListener, facts_table, records_table
from pipelines.validation import remarks, require_map, require_usable
from pipelines.wording import some

NAMES_SHOWN = 30
COMPARED = ("metric", "champion", "challenger", "change", "interval", "holds")  # of a verdict: what a line has room for


def train(file: str, overrides: Sequence[str], force: bool = False) -> None:
    """Run the training flow and print what it came to; `force` trains also what a finished run did before.

    Raises:
        PipelineError: It cannot do its work.
    """
    config = load_config(file, overrides)
    source = find_source(config.data)  # what can be seen without reading a row is refused before anything is started
    require_map(config.som, len(source.features))
    with _ready("train_flow", config) as train_flow:
        result = train_flow(config, force)
    facts = [*result.lines(), ("report", result.report), ("look at it", result.how_to_open)]
    Console().print(facts_table(f"som train: {config.name}", facts))


def retrain(file: str, overrides: Sequence[str], force: bool = False) -> None:
    """Run the retraining flow and print its verdict; `force` trains also where it was done, or nothing has drifted.

    Raises:
        PipelineError: It cannot do its work.
    """
    config = load_config(file, overrides)
    source = find_source(config.data)
    require_map(config.som, len(source.features))
    with _ready("retrain_flow", config) as retrain_flow:
        result = retrain_flow(config, force)
    Console().print(facts_table(f"som retrain: {config.name}", [*result.lines(), ("look at it", result.how_to_open)]))
    if result.judgment is not None:
        Console().print(records_table(result.judgment.verdict.table(), COMPARED))


def refresh(file: str, overrides: Sequence[str]) -> None:
    """Run the refreshing flow and print what it came to: a line where there was nothing to do, else a table.

    Raises:
        PipelineError: It cannot do its work.
    """
    config = load_config(file, overrides)
    find_source(config.data)
    with _ready("refresh_flow", config) as refresh_flow:
        result = refresh_flow(config)
    if result.run is None:
        Console().print(f"som refresh: {result.reasons[0]}", soft_wrap=True, highlight=False, markup=False)
    else:
        facts = [*result.lines(), ("look at it", result.run.how_to_open)]
        Console().print(facts_table(f"som refresh: {config.name}", facts))


@contextmanager
def _ready(name: str, config: PipelineConfig) -> Iterator[Callable[..., Any]]:
    """The flow of that name, with Prefect and the tracking store ready, and what it does shown on the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Prefect warns of a home that it cannot write; `start_engine` says what to do
        from pipelines.operations.engine import quick_flows, start_engine
    with TerminalListener(Console(stderr=True)) as terminal, listening(terminal):
        with Stages()("start"):
            wait_for_engine = start_engine()
            flow: Callable[..., Any] = getattr(import_module("pipelines.flows"), name)
            from pipelines.store.connection import connect

            connect(config.tracking.uri)
            wait_for_engine()
        with quick_flows():
            yield flow


def report(run_id: str, output: str | None, uri: str | None) -> None:
    """Make the report of a finished run again, and print where it is.

    Raises:
        PipelineError: It cannot do its work.
    """
    file = Path(output or f"report-{run_id[:8]}.html")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with TerminalListener(Console(stderr=True)) as terminal, listening(terminal):
        stages = Stages()
        with stages("start"):
            from pipelines.report import remake_report
        with stages("report"):
            logged = remake_report(run_id, file, uri)
    Console().print(facts_table(f"som report: {run_id}", [("written", str(file)), ("logged", logged)]))


def check(file: str, overrides: Sequence[str]) -> None:
    """Print what would run on what data; nothing is run, and nothing is written.

    Raises:
        PipelineError: With a line for each problem, those of the settings and those of the data alike.
    """
    settings = read_settings(file, overrides)
    try:
        config = checked(settings, file)
    except ConfigError as error:
        raise ConfigError(*error.problems, *_data_problems(settings)) from None
    source, found = _inspected(config.data, config.som.missing)
    require_map(config.som, len(source.features))
    require_dates(config.jitl, source.time_type)
    console = Console()
    console.print(facts_table(f"som check: {config.name}", _plan(config, source, found)))
    for text in (*remarks(source, found), *_size_remarks(config, found, len(source.features))):
        console.print(f"note: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _size_remarks(config: PipelineConfig, found: Survey, features: int) -> Iterator[str]:
    """What will be said of the size of the map once it trains."""
    rows = _training_rows(config, found)
    if config.neurons is not None and rows < config.neurons:
        yield f"{rows} training rows for {config.neurons} neurons: most neurons will stay empty, use a smaller map"
    if _without_local_models(config, features):
        yield size_remark(config.neurons or 0, features)


def _inspected(data: DataConfig, missing: str) -> tuple[Source, Survey]:
    """What the data holds.

    Raises:
        DatasetError: It cannot be used; with a line for each problem.
    """
    source = find_source(data)
    found = survey(source, data.drop_incomplete)
    require_usable(source, found, data, missing)
    return source, found


def _data_problems(settings: Mapping[str, Any]) -> Sequence[str]:
    """Problems of the data, where the settings have problems elsewhere."""
    data = _data_section(settings)
    som = settings.get("som")
    missing = str(som.get("missing", "error")) if isinstance(som, Mapping) else "error"
    try:
        if data is not None:
            _inspected(data, missing)
    except DatasetError as error:
        return error.problems
    return ()


def _data_section(settings: Mapping[str, Any]) -> DataConfig | None:
    """The data section of settings that have problems elsewhere, so that the data can be checked all the same."""
    try:
        return DataConfig.model_validate(settings.get("data"))
    except ValidationError:
        return None


def _training_rows(config: PipelineConfig, found: Survey) -> int:
    return found.used - int(found.used * config.data.holdout)


def _plan(config: PipelineConfig, source: Source, found: Survey) -> Iterator[tuple[str, str]]:
    """Name and value of each line of what would run."""
    trained = _training_rows(config, found)
    yield "data", f"{source.path}: {len(source.files)} files, {found.found:,} rows, {found.left_out:,} left out"
    if source.time is not None:
        yield "time", f"{source.time} from {found.first} to {found.last}"
    yield "features", f"{len(source.features)}: {some(source.features, NAMES_SHOWN)}"
    yield "target", some(source.target, NAMES_SHOWN) or "none"
    order = f"the newest by {source.time}" if source.time else "drawn at random"
    yield "split", f"{trained:,} rows train, {found.used - trained:,} are held out, {order}"
    yield "scaling", config.scaling.method
    size = f"{config.som.x} x {config.som.y}" if config.neurons else "size from the data,"
    yield "map", f"{size} {config.som.topology}{', torus' if config.som.pbc else ''}, missing: {config.som.missing}"
    yield "training", f"{config.som.algorithm}, {config.som.epochs} epochs, seed {config.som.random_seed}"
    yield "clusters", f"{config.analysis.clustering}, {config.analysis.n_clusters or 'number by score'}"
    yield "local models", _local_models(config, len(source.features))
    yield "MLflow", f"experiment {config.experiment_name} in {config.tracking.uri or _tracking_default()}"
    yield "model", config.model_name if config.tracking.publish else "not registered"


def _local_models(config: PipelineConfig, features: int) -> str:
    """What will predict the targets."""
    if not config.predicts or _without_local_models(config, features):
        return "none"
    most = f"up to {config.jitl.max_rows:,} rows each"
    return f"{config.jitl.experts} for {some(config.data.target)}, {config.jitl.coverage:.0%} intervals, {most}"


def _without_local_models(config: PipelineConfig, features: int) -> bool:
    """Whether there are no local models only because the map is known to be too large for them."""
    return config.predicts and config.neurons is not None and leaves_out(config.jitl, config.neurons, features)


def _tracking_default() -> str:
    return masked_uri(os.environ.get("MLFLOW_TRACKING_URI", "")) or "mlflow.db in the working folder"
