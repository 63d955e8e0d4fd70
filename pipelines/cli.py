"""The command `som`: a thin shell over flows and plain functions.

Heavy imports happen inside of the commands, so that `som --help` and a mistyped option answer at once.
"""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from pipelines.environment import QUIET, set_defaults
from pipelines.errors import PipelineError

app = typer.Typer(
    name="som",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
INTERRUPTED, TERMINATED = 130, 143  # what shells report for a command ended by Ctrl-C, and by SIGTERM

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file of the experiment.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Override a setting of the file; may be repeated."),
]


def main() -> None:
    """Entry point of the installed command."""
    set_defaults(QUIET)
    # An orderly exit, which takes Prefect's temporary server along; by default it would stay behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    app()


@app.callback()
def _som() -> None:
    """Self-organizing maps of Parquet data: train, track, publish."""


@app.command()
def train(config: ConfigFile, overrides: Overrides = None) -> None:
    """Train a map, analyze, measure and draw it, log it to MLflow, register the model."""
    with problems_as_lines():
        from pipelines.commands import train as run

        run(config, overrides or [])


@app.command()
def report(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="Run in MLflow.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; report-RUN_ID.html here.")
    ] = None,
    uri: Annotated[
        str | None, typer.Option("--uri", help="MLflow tracking URI; else MLflow's own settings, or mlflow.db here.")
    ] = None,
) -> None:
    """Make the report of a finished run again from its artifacts, and log it there."""
    with problems_as_lines():
        from pipelines.commands import report as run

        run(run_id, output, uri)


@app.command()
def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Say what would run, on what data, without running it; list every problem."""
    with problems_as_lines():
        from pipelines.commands import check as run

        run(config, overrides or [])


@contextmanager
def problems_as_lines() -> Iterator[None]:
    """Ends the process with a line for each problem, where it is the user's to solve; a bug keeps its traceback."""
    try:
        yield
    except PipelineError as error:
        _exit(error.problems, error.exit_code)
    except KeyboardInterrupt:
        _exit(["interrupted"], INTERRUPTED)
    except (ValueError, TypeError, RuntimeError) as error:
        from somlib.errors import SomlibError

        if not isinstance(error, SomlibError):
            raise
        _exit([str(error)], PipelineError.exit_code)


def _exit(problems: Sequence[str], code: int) -> None:
    for problem in problems:
        typer.secho("error: ", fg="red", nl=False, err=True)
        typer.echo(problem, err=True)
    sys.exit(code)
