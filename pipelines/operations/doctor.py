"""What keeps this machine from training and serving, if anything does, and what to do about it: `som doctor`.

Nothing is made or changed, but for a file in each folder that has to be writable, which goes again.
"""

import os
import platform
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import httpx
import prefect
from packaging.requirements import Requirement

from pipelines.errors import PipelineError
from pipelines.masking import masked_uri
from pipelines.store.addresses import sqlite_path
from pipelines.store.connection import connect, store_address, tracking_store
from pipelines.store.origin import DISTRIBUTION
from pipelines.store.runs import newest_start

LEAST_DISK = 2e9  # bytes: of some dozen versions, or one training from disk
ASTRAY = timedelta(minutes=2)  # of a clock
LOCK_SECONDS = 5.0
API_SECONDS = 5.0
MIGRATIONS = Path(prefect.__file__).parent / "server" / "database" / "_migrations" / "versions" / "sqlite"


@dataclass(frozen=True)
class Finding:
    """What was found in one place.

    Attributes:
        place: Where.
        found: What.
        mend: What to do about it; None where nothing has to be done.
    """

    place: str
    found: str
    mend: str | None = None


def examine(uri: str | None) -> list[Finding]:
    """What was found in every place.

    Args:
        uri: Tracking store; None as `tracking_store` has it.
    """
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("packages", packages),
        ("GPU", gpu),
        ("tracking store", lambda: store(uri)),
        ("clock", lambda: clock(uri)),
        ("working folder", lambda: folder("working folder", Path.cwd())),
        ("temporary folder", lambda: folder("temporary folder", Path(tempfile.gettempdir()))),
        ("Prefect", prefect_api),
    ]
    return [_found(place, check) for place, check in checks]


def _found(place: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except PipelineError as error:
        return Finding(place, "cannot be used", str(error))
    except Exception as error:  # noqa: BLE001 - one place that is broken in an odd way hides no other
        return Finding(place, "cannot be examined", f"{type(error).__name__}: {error}")


def packages(names: Iterable[str] | None = None) -> Finding:
    """Whether what is installed is what the package needs.

    Args:
        names: Requirements; by default those of the package.
    """
    wrong = []
    for text in requires(DISTRIBUTION) or [] if names is None else names:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(needed.name)
        except PackageNotFoundError:
            wrong.append(f"'{needed.name}{needed.specifier}' (not installed)")
            continue
        if not needed.specifier.contains(installed, prereleases=True):
            wrong.append(f"'{needed.name}{needed.specifier}' (installed: {installed})")
    found = f"{DISTRIBUTION} {version(DISTRIBUTION)}, Python {platform.python_version()}, Prefect {prefect.__version__}"
    return Finding("packages", found, f"pip install {' '.join(wrong)}" if wrong else None)


def gpu() -> Finding:
    """Whether torch finds one, and if not, whether it was built to."""
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", torch.cuda.get_device_name(0))
    if torch.version.cuda is not None and Path("/dev/nvidia0").exists():
        return Finding("GPU", "there, and torch cannot use it", f"a driver for CUDA {torch.version.cuda} (nvidia-smi)")
    return Finding("GPU", "none: maps are trained on the CPU")


def store(uri: str | None) -> Finding:
    """Whether the tracking store answers, and can be written to."""
    address = store_address(uri)
    shown, path = masked_uri(address), sqlite_path(address)
    if path is not None and not path.exists():
        return Finding("tracking store", f"{shown}: none yet, som train makes it")
    connect(uri)
    if path is not None:
        try:
            with closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
        except sqlite3.Error as error:
            return Finding("tracking store", f"{shown} cannot be written to: {error}", f"free or unlock {path}")
    return Finding("tracking store", f"{shown} answers")


def clock(uri: str | None) -> Finding:
    """Whether the newest run began in the past."""
    now, path = datetime.now(UTC), sqlite_path(store_address(uri))
    found = f"{now:%Y-%m-%d %H:%M} UTC"
    if path is not None and not path.exists():
        return Finding("clock", found)
    with tracking_store(uri):
        newest = newest_start()
    if newest is not None and newest - now > ASTRAY:
        return Finding("clock", f"{found}, and the newest run began {newest:%Y-%m-%d %H:%M}", "set the clock, see NTP")
    return Finding("clock", found)


def folder(place: str, path: Path, least: float = LEAST_DISK) -> Finding:
    """Whether a folder can be written to, and has room."""
    free = shutil.disk_usage(path).free
    found = f"{path}, {free / 1e9:.1f} GB free"
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        return Finding(place, found, f"let it be written to: {error.strerror}")
    return Finding(place, found, f"free some: {least / 1e9:g} GB are little enough" if free < least else None)


def prefect_api() -> Finding:
    """Whether the Prefect server answers that is set, and whether the database of Prefect's home is of this version."""
    settings = prefect.settings.get_current_settings()
    home = Path(settings.home)
    if settings.api.url:
        address = masked_uri(str(settings.api.url))
        try:
            httpx.get(f"{settings.api.url}/health", timeout=API_SECONDS).raise_for_status()
        except httpx.HTTPError as error:
            mend = f"start it (som up), or unset PREFECT_API_URL: {type(error).__name__}"
            return Finding("Prefect", f"{address} does not answer", mend)
        return Finding("Prefect", f"{address} answers")
    foreign = foreign_revision(home / "prefect.db")
    if foreign is not None:
        return Finding(
            "Prefect",
            f"{home}/prefect.db is of another version of Prefect: revision {foreign}",
            f"update Prefect ({prefect.__version__}), or set PREFECT_HOME to a new folder, before som up",
        )
    existing = home if home.exists() else home.parent
    if not os.access(existing, os.W_OK):
        return Finding("Prefect", f"{home} cannot be written to", "set PREFECT_HOME to a folder of yours")
    return Finding("Prefect", f"home {home}; no server is set, each run has its own")


def foreign_revision(database: Path) -> str | None:
    """The revision of a database of Prefect, where the installed version does not know it."""
    if not database.is_file():
        return None
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    known = found is None or any(found[0] in path.name for path in MIGRATIONS.glob("*.py"))
    return None if known else str(found[0])
