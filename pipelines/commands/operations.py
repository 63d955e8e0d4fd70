"""The sub-commands that keep it running unattended: `up`, `deploy`, `status`, `close-stale`."""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.commands.terminal import TerminalListener, show_facts
from pipelines.interruption import unhurried
from pipelines.operations.servers import running, watch
from pipelines.progress import Stages, listening


def up(prefect_port: int, mlflow_port: int, pool: str) -> None:
    """Run both servers and a worker until somebody ends it, and say where they are.

    Raises:
        ServerError: One cannot be started, or has ended; all are ended then.
    """
    with unhurried(), ExitStack() as stack:
        with TerminalListener(Console(stderr=True)) as terminal, listening(terminal), Stages()("start"):
            addresses, children = stack.enter_context(running(Path.cwd(), prefect_port, mlflow_port, pool))
        facts = [("Prefect", addresses.prefect), ("MLflow", addresses.mlflow), ("logs", str(addresses.logs))]
        facts += [("in other terminals", f"export {name}={value}") for name, value in addresses.settings.items()]
        show_facts("som up: running, Ctrl-C ends it", facts)
        watch(children)


def deploy(file: str, pool: str, prefect_file: str | None, notify_url: str | None) -> None:
    """Register the deployments of an experiment, and print what runs when.

    Raises:
        PipelineError: It cannot do its work.
    """
    from pipelines.settings.config import load_config

    config = load_config(file)
    with TerminalListener(Console(stderr=True)) as terminal, listening(terminal), Stages()("deploy"):
        from pipelines.operations import deploying
        from pipelines.operations.status import moment

        what = deploying.PREFECT_FILE if prefect_file is None else Path(prefect_file)
        done = deploying.deploy(config, Path(file), pool, what, notify_url)
    table = Table(title=f"som deploy: {config.name}", title_justify="left", title_style="bold")
    for column in ("deployment", "schedule", "next run"):
        table.add_column(column, overflow="fold")
    for each in done.deployments:
        table.add_row(each.name, each.schedule or "on demand", moment(each.next_run) if each.next_run else "none")
    console = Console()
    console.print(table)
    show_facts("", _around(done.file, done.pool, done.automations), console)


def status(file: str, overrides: Sequence[str]) -> None:
    """Print how an experiment stands.

    Raises:
        PipelineError: It cannot do its work.
    """
    from pipelines.operations.status import status as stands
    from pipelines.settings.config import load_config

    config = load_config(file, overrides)
    show_facts(f"som status: {config.name}", stands(config).lines())


def doctor(uri: str | None) -> bool:
    """Print what was found on this machine and what to mend; whether there is nothing to mend."""
    from pipelines.operations.doctor import examine

    findings = examine(uri)
    console = Console()
    for each in findings:
        mark = "[green]well[/green]" if each.mend is None else "[red]mend[/red]"
        console.print(f"{mark}  {escape(each.place)}: {escape(each.found)}", soft_wrap=True, highlight=False)
        if each.mend is not None:
            console.print(f"      {escape(each.mend)}", soft_wrap=True, highlight=False)
    return all(each.mend is None for each in findings)


def close_stale(hours: float, uri: str | None) -> None:
    """Close the runs that nobody runs any more, and print which and why.

    Raises:
        PipelineError: It cannot do its work.
    """
    from pipelines.operations.stale import close_stale_runs, lines

    closed = close_stale_runs(uri, timedelta(hours=hours))
    console = Console()
    if closed:
        show_facts("som close-stale: FAILED now", lines(closed), console)
    else:
        console.print("som close-stale: no run was left open")


def _around(file: Path, pool: str, automations: Sequence[str]) -> list[tuple[str, str]]:
    worker = f"prefect worker start --pool {pool}, unless som up runs"
    facts = [("as said in", str(file)), ("work pool", pool), ("worker", worker)]
    return [*facts, *(("automation", name) for name in automations)]
