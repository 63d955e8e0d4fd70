"""Commands about one experiment: train its map, refresh what serves, check its configuration, make a report again."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError
from rich.console import Console

from pipelines.commands.terminal import TerminalListener, records_table, show_facts
from pipelines.data import Source, Survey, find_source, survey
from pipelines.data.looking import in_words, look_at, questions
from pipelines.data.validation import require_publishing, require_usable
from pipelines.errors import ConfigError, DatasetError
from pipelines.masking import masked_uri
from pipelines.progress import Stages, listening, steps
from pipelines.second_process import prepared
from pipelines.settings.config import PipelineConfig, checked, load_config, read_settings
from pipelines.settings.sections import DataConfig
from pipelines.training.plan import Plan, prepare, require_retrainable, require_trainable
from pipelines.wording import agreeing, counted, some
from somlib.utils.cores import cores

NAMES_SHOWN = 30
DRAWING = ("pipelines.training.figures", "somlib.visualization", "pipelines.report.page")  # what draws a training
COMPARED = ("metric", "champion", "challenger", "change", "interval", "holds")  # of a verdict: what a line has room for


def train(file: str, overrides: Sequence[str], force: bool = False) -> None:
    """Run the training flow and print its result; `force` trains also what a finished run did before.

    Raises:
        PipelineError: It cannot do its work.
    """
    config = load_config(file, overrides)
    require_trainable(config)  # before Prefect is started, which may take a minute
    beside = DRAWING if config.runtime.threads != 1 and cores() > 1 else ()
    with prepared(beside), _ready("train_flow", config) as train_flow:
        result = train_flow(config, force)
    facts = [*result.lines(), ("report", result.report), ("look at it", result.how_to_open)]
    show_facts(f"som train: {config.name}", facts)


def retrain(file: str, overrides: Sequence[str], force: bool = False) -> None:
    """Run the retraining flow and print its verdict; `force` trains also where it was done, or nothing has drifted.

    Raises:
        PipelineError: It cannot do its work.
    """
    config = load_config(file, overrides)
    require_publishing(config)
    require_retrainable(config)
    with _ready("retrain_flow", config) as retrain_flow:
        result = retrain_flow(config, force)
    show_facts(f"som retrain: {config.name}", [*result.lines(), ("look at it", result.how_to_open)])
    if result.evaluation is not None:
        Console().print(records_table(result.evaluation.verdict.table(), COMPARED))


def refresh(file: str, overrides: Sequence[str]) -> None:
    """Run the refreshing flow and print its result: a line where there was nothing to do, else a table.

    Raises:
        PipelineError: It cannot do its work.
    """
    from pipelines.refreshing.new_rows import require_dated_rows

    config = load_config(file, overrides)
    require_dated_rows(config)
    with _ready("refresh_flow", config) as refresh_flow:
        result = refresh_flow(config)
    if result.run is None:
        Console().print(f"som refresh: {result.reasons[0]}", soft_wrap=True, highlight=False, markup=False)
    else:
        facts = [*result.lines(), ("look at it", result.run.how_to_open)]
        show_facts(f"som refresh: {config.name}", facts)


@contextmanager
def _ready(name: str, config: PipelineConfig) -> Iterator[Callable[..., Any]]:
    """The flow of that name, with Prefect and the tracking store ready, and what it does shown on the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Prefect warns of a home that it cannot write, which no run of ours needs
        from pipelines.operations.engine import flow_engine, run_flow
    with TerminalListener(Console(stderr=True)) as terminal, listening(terminal), ExitStack() as stack:
        with Stages()("start"):
            step = steps(4)
            wait_for_engine = stack.enter_context(flow_engine())
            step("Prefect loaded")
            from pipelines.store.connection import connect

            step("MLflow loaded")
            flow = getattr(import_module("pipelines.flows"), name)
            step("flow loaded")
            connect(config.tracking.uri)
            wait_for_engine()
            step("store and Prefect answer")
        yield partial(run_flow, flow)


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
            from pipelines.report.steps import remake_report
        with stages("report"):
            logged = remake_report(run_id, file, uri)
    show_facts(f"som report: {run_id}", [("written", str(file)), ("logged", logged)])


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
    try:
        found = prepare(config)
    except DatasetError as error:
        raise DatasetError(*error.problems, *_suggestions(config)) from None
    console = Console()
    lines = _lines(config, found.source, found.dataset.survey, found.plan)
    show_facts(f"som check: {config.name}", lines, console)
    for text in (*found.plan.notes, *_questions(config, found.source)):
        console.print(f"note: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _questions(config: PipelineConfig, source: Source) -> Iterator[str]:
    """What to ask about columns that are not used as they seem to be."""
    looked = look_at(config.data.path, config.data.target, config.data.time)
    columns = [each.name for each in source.columns]
    declared = [name for name in columns if any(fnmatchcase(name, key) for key in config.data.columns)]
    yield from questions(looked, columns, declared, (*config.data.target, config.data.time or ""))


def _suggestions(config: PipelineConfig) -> Sequence[str]:
    """What features may be that are no numbers, where the data were refused."""
    try:
        looked = look_at(config.data.path, config.data.target, config.data.time)
    except DatasetError:
        return ()
    named = [name for name in config.data.features if name not in config.data.columns]
    return [
        f"data.columns: {each.name}: {each.why}: {in_words(each.kind)}?"
        for each in looked.columns
        if each.kind not in (None, "boolean") and each.name in named and looked.sample.schema[each.name] == pl.String
    ]


def _data_problems(settings: Mapping[str, Any]) -> Sequence[str]:
    """Problems of the data, where the settings have problems elsewhere."""
    data = _data_section(settings)
    som = settings.get("som")
    missing = str(som.get("missing", "error")) if isinstance(som, Mapping) else "error"
    try:
        if data is not None:
            source = find_source(data)
            require_usable(source, survey(source, data.drop_incomplete), data, missing)
    except DatasetError as error:
        return error.problems
    return ()


def _data_section(settings: Mapping[str, Any]) -> DataConfig | None:
    """The data section of settings that have problems elsewhere, so that the data can be checked all the same."""
    try:
        return DataConfig.model_validate(settings.get("data"))
    except ValidationError:
        return None


def _lines(config: PipelineConfig, source: Source, found: Survey, plan: Plan) -> Iterator[tuple[str, str]]:
    """Name and value of each line of what would run."""
    rows = plan.rows
    yield (
        "data",
        f"{source.path}: {counted(len(source.files), 'file')}, {counted(rows['found'], 'row')}, "
        f"{rows['left_out']:,} left out",
    )
    if source.time is not None:
        yield "time", f"{source.time} from {found.first} to {found.last}"
    yield "features", f"{len(source.features)}: {some(source.features, NAMES_SHOWN)}"
    yield "target", some(source.target, NAMES_SHOWN) or "none"
    order = f", the newest by {source.time}" if source.time else ", drawn at random"
    held_out = f"{rows['heldout']:,} {agreeing(rows['heldout'], 'is', 'are')} held out"
    yield (
        "split",
        f"{counted(rows['train'], 'row')} {agreeing(rows['train'], 'trains', 'train')}, {held_out}"
        f"{order if rows['heldout'] else ''}",
    )
    yield "scaling", config.scaling.method
    size = f"{plan.size[0]} x {plan.size[1]}{'' if config.neurons else ' (from the data)'}"
    yield "map", f"{size} {config.som.topology}{', torus' if config.som.pbc else ''}, missing: {config.som.missing}"
    yield (
        "training",
        f"{config.som.algorithm}, {counted(config.som.epochs, 'epoch')}, seed {config.som.random_seed}",
    )
    yield "clusters", f"{config.analysis.clustering}, {config.analysis.n_clusters or 'number found by the method'}"
    yield "local models", _local_models(config, plan)
    yield "MLflow", f"experiment {config.experiment_name} in {config.tracking.uri or _tracking_default()}"
    yield "model", config.model_name if config.tracking.publish else "not registered"


def _local_models(config: PipelineConfig, plan: Plan) -> str:
    """What will predict the targets."""
    if not plan.local.rows:
        return "none"
    most = f"up to {config.jitl.max_rows:,} rows each"
    return f"{config.jitl.experts} for {some(list(plan.local.rows))}, {config.jitl.coverage:.0%} intervals, {most}"


def _tracking_default() -> str:
    return masked_uri(os.environ.get("MLFLOW_TRACKING_URI", "")) or "mlflow.db in the working folder"
