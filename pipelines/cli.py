"""The command `som`: a thin shell over flows and plain functions.

Heavy imports happen inside of the commands, so that `som --help` and a mistyped option answer at once.
"""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Annotated

import typer

from pipelines.environment import QUIET, SERVING, set_defaults
from pipelines.errors import PipelineError
from pipelines.interruption import interruption

app = typer.Typer(
    name="som",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file of the experiment.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Override a setting of the file; may be repeated."),
]
TrackingUri = Annotated[
    str | None, typer.Option("--uri", help="MLflow tracking URI; else MLflow's own settings, or mlflow.db here.")
]
ConfigSetting = Annotated[
    str, typer.Argument(metavar="CONFIG", envvar="SOM_CONFIG", help="YAML file of the experiment.")
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Registered model in MLflow.")]
DEFAULT_POOL = "som"
# Importing PyTorch, MLflow and Prefect makes a million objects that stay. By Python's own thresholds the collector
# looks through all of them again and again: an eighth of the time that a command takes to start.
FEW_COLLECTIONS = (100_000, 20, 100)
Pool = Annotated[str, typer.Option("--pool", help="Prefect work pool that runs the flows; made if need be.")]
Force = Annotated[bool, typer.Option("--force", help="Do also what a finished run did before.")]


def main() -> None:
    """Do what the command line says, and end the process."""
    set_defaults(QUIET)
    gc.set_threshold(*FEW_COLLECTIONS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever characters a name has, and the terminal has not
    try:
        app()
    finally:
        gc.freeze()  # else the interpreter looks for garbage in all of torch and MLflow before it ends: 2 s


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"som {version('som-pipelines')}")
        raise typer.Exit


@app.callback()
def _som(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Self-organizing maps of Parquet data: train, track, publish."""


@app.command()
def train(config: ConfigFile, overrides: Overrides = None, force: Force = False) -> None:
    """Train a map, analyze, measure and draw it, log it to MLflow, register the model."""
    with problems_as_lines():
        from pipelines.commands.experiments import train as run

        run(config, overrides or [], force)


@app.command()
def retrain(config: ConfigFile, overrides: Overrides = None, force: Force = False) -> None:
    """Train a challenger on the newest window; let it serve if it is better than the champion on newer rows."""
    with problems_as_lines():
        from pipelines.commands.experiments import retrain as run

        run(config, overrides or [], force)


@app.command()
def refresh(config: ConfigFile, overrides: Overrides = None) -> None:
    """Let the local models of the champion learn new labelled rows, unless they were predicted badly."""
    with problems_as_lines():
        from pipelines.commands.experiments import refresh as run

        run(config, overrides or [])


@app.command()
def report(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="Run in MLflow.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; report-RUN_ID.html here.")
    ] = None,
    uri: TrackingUri = None,
) -> None:
    """Make the report of a finished run again from its artifacts, and log it there."""
    with problems_as_lines():
        from pipelines.commands.experiments import report as run

        run(run_id, output, uri)


@app.command()
def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Say what would run, on what data, without running it; list every problem."""
    with problems_as_lines():
        from pipelines.commands.experiments import check as run

        run(config, overrides or [])


@app.command()
def init(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Parquet file, folder or pattern.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; NAME.yaml here.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="COLUMN", help="Column to predict; may be repeated.")
    ] = None,
    time: Annotated[str | None, typer.Option("--time", metavar="COLUMN", help="Column that orders the rows.")] = None,
) -> None:
    """Look at a dataset and write a commented configuration for it."""
    with problems_as_lines():
        from pipelines.commands.starting import init as run

        run(data, output, target or [], time)


@app.command()
def config(
    section: Annotated[
        str | None, typer.Argument(metavar="SECTION", help="Such as som, data.columns or som.sigma; else all.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of the file, for editors.")] = False,
) -> None:
    """Say what a configuration file can say: every setting with type, default, bounds and meaning."""
    with problems_as_lines():
        from pipelines.commands.settings import config as run

        run(section, schema)


@app.command()
def up(
    prefect_port: Annotated[int, typer.Option("--prefect-port", min=1, max=65535)] = 4200,
    mlflow_port: Annotated[int, typer.Option("--mlflow-port", min=1, max=65535)] = 5000,
    pool: Pool = DEFAULT_POOL,
) -> None:
    """Run a Prefect server, an MLflow server and a worker on this machine, until Ctrl-C."""
    with problems_as_lines():
        from pipelines.commands.operations import up as run

        run(prefect_port, mlflow_port, pool)


@app.command()
def deploy(
    config: ConfigSetting,
    pool: Pool = DEFAULT_POOL,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="What runs when, in the format of Prefect; else ours.")
    ] = None,
    notify_url: Annotated[
        str | None,
        typer.Option(
            "--notify-url",
            metavar="URL",
            envvar="SOM_NOTIFY_URL",
            help="Webhook that is notified of runs that fail; better given in the environment, as it is a secret.",
        ),
    ] = None,
) -> None:
    """Register in Prefect what runs when; again after a change."""
    with problems_as_lines():
        from pipelines.commands.operations import deploy as run

        run(config, pool, file, notify_url)


@app.command()
def status(config: ConfigSetting, overrides: Overrides = None) -> None:
    """Say what serves, what ran last and what it found, what runs next, what was left open."""
    with problems_as_lines():
        from pipelines.commands.operations import status as run

        run(config, overrides or [])


@app.command()
def doctor(uri: TrackingUri = None) -> None:
    """Look for what keeps this machine from training and serving, and say what to mend; 1 where there is anything."""
    with problems_as_lines():
        from pipelines.commands.operations import doctor as run

        if not run(uri):
            raise typer.Exit(1)


@app.command()
def close_stale(
    hours: Annotated[
        float, typer.Option("--hours", min=0.1, help="Silence after which a run that nothing else is known of is dead.")
    ] = 24,
    uri: TrackingUri = None,
) -> None:
    """Close runs in MLflow that a dead process left open."""
    with problems_as_lines():
        from pipelines.commands.operations import close_stale as run

        run(hours, uri)


@app.command()
def models(name: ModelName, uri: TrackingUri = None) -> None:
    """List the versions of a registered model: aliases, run, errors, verdict."""
    with problems_as_lines():
        from pipelines.commands.models import models as run

        run(name, uri)


@app.command()
def promote(
    name: ModelName,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Number of the version that shall serve.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "by hand",
    uri: TrackingUri = None,
) -> None:
    """Let a version serve: the alias champion moves to it once it has passed a smoke test."""
    with problems_as_lines():
        from pipelines.commands.models import promote as run

        run(name, version, reason, uri)


@app.command()
def rollback(
    name: ModelName,
    leaving: Annotated[
        str | None, typer.Option("--from", metavar="VERSION", help="Only if this version serves now.")
    ] = None,
    uri: TrackingUri = None,
) -> None:
    """Let the version serve again that served before the champion was promoted."""
    with problems_as_lines():
        from pipelines.commands.models import rollback as run

        run(name, leaving, uri)


@app.command()
def prune(
    name: ModelName,
    newest: Annotated[int, typer.Option("--keep", min=1, help="How many of the newest versions stay.")] = 10,
    days: Annotated[float, typer.Option("--days", min=0, help="Age in days up to which versions stay.")] = 30,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; else they are only listed.")] = False,
    uri: TrackingUri = None,
) -> None:
    """List or delete old versions with their files and runs; never one with an alias, or that rollback leads to."""
    with problems_as_lines():
        from pipelines.commands.models import prune as run
        from pipelines.store.retention import Retention

        run(name, Retention(newest, days), delete, uri)


@app.command()
def serve(  # each is an option of the command
    name: ModelName,
    alias: Annotated[str, typer.Option("--alias", help="Whose version answers, also after it moves.")] = "champion",
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 5001,
    poll: Annotated[float, typer.Option("--poll", min=0.1, help="Seconds between two looks at the alias.")] = 10,
    megabytes: Annotated[float, typer.Option("--max-mb", min=0.01, help="Length of a request, in MiB.")] = 32,
    rows: Annotated[int, typer.Option("--max-rows", min=1, help="Rows of a request.")] = 100_000,
    queue: Annotated[
        int, typer.Option("--queue", min=1, help="Requests at once, waiting or in work; more are answered with 503.")
    ] = 64,
    seconds: Annotated[
        float,
        typer.Option(
            "--timeout", min=0.1, help="Seconds to send a request, then to answer it, then to take the answer."
        ),
    ] = 60,
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file", metavar="FILE", help="Token that clients must show; else $SOM_SERVE_TOKEN, or none."
        ),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate for TLS, in PEM.")
    ] = None,
    tls_key: Annotated[str | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, in PEM.")] = None,
    uri: TrackingUri = None,
) -> None:
    """Answer HTTP requests in the form of `mlflow models serve`, by whichever version the alias points at.

    Memory is bounded by --max-mb and --max-rows (two long requests at once, the others up to 64 KiB) and --queue.
    """
    with problems_as_lines():
        set_defaults(SERVING)
        from pipelines.commands.models import serve as run
        from pipelines.serving.access import token_from
        from pipelines.serving.admission import Limits
        from pipelines.serving.server import Settings, certificate_from

        limits = Limits(megabytes, rows, queue, seconds)
        certificate = certificate_from(tls_cert, tls_key)
        run(name, alias, Settings(host, port, poll, limits, token_from(token_file), certificate), uri)


@contextmanager
def problems_as_lines() -> Iterator[None]:
    """Ends the process with a line for each problem, where it is the user's to solve; a bug keeps its traceback."""
    try:
        yield
    except Exception as error:  # broad: an interruption may have become any error on its way up
        if interruption() is not None:
            raise
        if isinstance(error, PipelineError):
            _exit(error.problems, error.exit_code)
        from somlib.errors import SomlibError

        if not isinstance(error, SomlibError):
            raise
        _exit([str(error)], PipelineError.exit_code)


def _exit(problems: Sequence[str], code: int) -> None:
    for problem in problems:
        typer.secho("error: ", fg="red", nl=False, err=True)
        typer.echo(problem, err=True)
    sys.exit(code)
