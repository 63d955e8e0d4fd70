"""Commands about registered models: look at their versions, choose which one serves, serve it."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.commands.terminal import show_facts
from pipelines.interruption import unhurried, until_asked
from pipelines.serving.server import Settings, run
from pipelines.serving.service import Service
from pipelines.serving.smoke import smoke_test
from pipelines.store import registry
from pipelines.store.connection import tracking_store
from pipelines.store.names import CHAMPION, LOCAL_ERRORS, PREVIOUS_TAG, VERDICT_TAG
from pipelines.store.registry import champion, holding, versions
from pipelines.store.retention import Expired, Retention, expired
from pipelines.store.retention import delete as delete_version
from pipelines.store.versions import Version
from pipelines.wording import counted

VERSIONS_SHOWN = 30
WRAPPED = ("local RMSE", "verdict")  # where a line has no room for all
LOOPBACK = ("127.0.0.1", "::1", "localhost")
RUN_CHARACTERS = 8  # of 32: enough to find it, and a line has room for the rest


def models(name: str, uri: str | None) -> None:
    """Print the versions of a model, the newest first.

    Raises:
        PipelineError: There is no such model, or MLflow cannot be reached.
    """
    with tracking_store(uri):
        found = versions(name, most=VERSIONS_SHOWN)
        number = registry.champion_number(name)
        serving = champion(name) if number is not None and registry.exists(name, number) else None
    left_out = serving is not None and serving.version not in {each.version for each in found}
    Console().print(versions_table(name, [*found, serving] if serving and left_out else found))
    if number is not None and serving is None:
        Console().print(
            f"note: the champion, version {number}, was deleted: som promote {name} VERSION", style="yellow"
        )
    if len(found) == VERSIONS_SHOWN:
        Console().print(f"note: the newest {VERSIONS_SHOWN}, and the champion", style="yellow")


def promote(name: str, version: str, reason: str, uri: str | None) -> None:
    """Let a version serve, if it passes its smoke test.

    Raises:
        PipelineError: It does not pass, or there is no such model or version.
    """
    with tracking_store(uri):
        before = registry.champion_number(name)
        now = registry.promote(name, version, expected=before, check=smoke_test, reason=reason)
    _print_change("promote", now, before)


def rollback(name: str, expected: str | None, uri: str | None) -> None:
    """Let the version serve again that served before, if it passes its smoke test.

    Raises:
        PipelineError: It does not pass, or there is none.
    """
    with tracking_store(uri):
        before = registry.champion_number(name)
        now = registry.rollback(name, check=smoke_test, expected=expected)
    _print_change("rollback", now, before)


def prune(name: str, retention: Retention, delete: bool, uri: str | None) -> None:
    """Print which versions may go, and delete them where that is asked for.

    Raises:
        PipelineError: There is no such model, or MLflow cannot be reached.
    """
    now = datetime.now(UTC)
    with tracking_store(uri):
        found = expired(name, retention, now)
        console = Console()
        if not found:
            console.print(f"som prune: {name}: no version may go")
            return
        if delete:
            found = [each for each in found if delete_version(name, each, retention, now)]
    console.print(expired_table(name, found, delete))
    if not delete:
        console.print("note: nothing was deleted: --delete does it", style="yellow")


def expired_table(name: str, found: Sequence[Expired], deleted: bool) -> Table:
    """A row for each version that goes."""
    total = f"{counted(len(found), 'version')}, {sum(each.megabytes for each in found):.1f} MB"
    title = f"som prune: {name}: {total} {'deleted' if deleted else 'may go'}"
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in ("version", "created", "MB", "run"):
        table.add_column(column, no_wrap=True)
    for each in found:
        created = f"{each.version.created:%Y-%m-%d %H:%M} UTC" if each.version.created else ""
        run = (each.version.run_id or "")[:RUN_CHARACTERS] if each.run else "kept"
        table.add_row(each.version.version, created, f"{each.megabytes:.1f}", run)
    return table


def serve(name: str, alias: str, settings: Settings, uri: str | None) -> None:
    """Answer HTTP requests with the version that an alias points at, until SIGTERM or Ctrl-C.

    Raises:
        PipelineError: There is no such version, it cannot be loaded, or the port is taken.
    """
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("pipelines").setLevel(logging.INFO)
    with tracking_store(uri):
        service = Service(holding(name, alias), alias)
        version = service.current.servable.version.version

        def ready(address: str) -> None:
            Console().print(f"som serve: {name} version {version} ({alias}) at {address}", highlight=False)
            if settings.token is None and settings.host not in LOOPBACK:
                open_to = "whoever reaches this port may ask: set a token, see som serve --help"
                Console(stderr=True).print(f"note: {open_to}", style="yellow", highlight=False)

        with unhurried(), until_asked():
            run(service, settings, ready)


def versions_table(name: str, found: Iterable[Version]) -> Table:
    """A row for each version, without columns that are empty in all; errors on held-out rows where there were any."""
    rows = [_row(each) for each in found]
    table = Table(title=f"som models: {name}", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    shown = [column for column in rows[0] if any(row[column] for row in rows)] if rows else []
    for column in shown:
        table.add_column(column, no_wrap=column not in WRAPPED, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[column]) for column in shown))
    return table


def _row(version: Version) -> dict[str, str]:
    return {
        "version": version.version,
        "aliases": "\n".join(version.aliases),
        "created": f"{version.created:%Y-%m-%d\n%H:%M} UTC" if version.created else "",
        "run": (version.run_id or "")[:RUN_CHARACTERS],
        "QE": _error(version.metrics, "qe", "{:.4g}"),
        "TE": _error(version.metrics, "te", "{:.1%}"),
        "local RMSE": "\n".join(_local_errors(version.metrics)),
        "verdict": version.tags.get(VERDICT_TAG, ""),
    }


def _error(metrics: Mapping[str, float], name: str, form: str) -> str:
    value = metrics.get(f"heldout_{name}", metrics.get(f"train_{name}"))
    return "" if value is None else form.format(value)


def _local_errors(metrics: Mapping[str, float]) -> Iterable[str]:
    """`temp 2.21` for each target."""
    for metric in sorted(metrics):
        if fnmatchcase(metric, LOCAL_ERRORS):
            yield f"{metric.split('/')[1]} {metrics[metric]:.4g}"


def _print_change(command: str, now: Version, before: str | None) -> None:
    left = "none" if before is None else f"version {before}"
    way_back = now.tags.get(PREVIOUS_TAG)
    facts = [
        ("serves now", f"version {now.version}, {CHAMPION}"),
        ("served before", left),
        ("smoke test", "passed"),
        (
            "rollback leads to",
            f"version {way_back}" if way_back else "nothing: no version is on record before this one",
        ),
    ]
    show_facts(f"som {command}: {now.name}", facts)
