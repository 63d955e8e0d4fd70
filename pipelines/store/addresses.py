"""Where the store of a folder is: the address of its database and of its artifacts, whatever the folder is called.

MLflow quotes the working folder into the address of its default store and never unquotes it: in `my plant` the database
lies in a new folder `my%20plant` (mlflow issue 4785). It unquotes paths of artifacts that it never quoted: in `a%20b`
they lie in `a b`.
"""

import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipelines.errors import TrackingError
from pipelines.masking import masked_uri

SQLITE = "sqlite:///"
DATABASE, ARTIFACTS = "mlflow.db", "mlruns"


def sqlite_uri(path: Path) -> str:
    """The address of a database file.

    SQLAlchemy takes a path as it is, but for a question mark, which opens a query: there it must be reached from the
    working folder.

    Raises:
        TrackingError: It cannot be written as an address.
    """
    path = path.absolute()
    if "?" not in str(path):
        return f"{SQLITE}{path}"
    if path.is_relative_to(Path.cwd()) and "?" not in (near := str(path.relative_to(Path.cwd()))):
        return f"{SQLITE}{near}"
    raise TrackingError(f"{path} has a question mark, which no address of a database can have: work in its folder")


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite store; None where the address is of another kind, or of no plain file."""
    path = uri.removeprefix(SQLITE).partition("?")[0]
    return None if path == uri or not path or path.startswith((":memory:", "file:")) else Path(path)


def artifact_root(folder: Path) -> str:
    """Where MLflow shall keep the artifacts of a store in a folder: as a path where that comes through whole."""
    path = (folder / ARTIFACTS).absolute()
    return str(path) if unquote(str(path)) == str(path) else path.as_uri()


def local_artifacts(uri: str) -> Path | None:
    """The folder of artifacts on this machine, None where they are elsewhere."""
    parts = urlsplit(uri)
    path = Path(unquote(parts.path) if parts.scheme == "file" else uri)
    return path if path.is_dir() else None


def is_server(uri: str) -> bool:
    """Whether a store is an MLflow server."""
    return urlsplit(uri).scheme in ("http", "https")


def short_uri(uri: str) -> str:
    """The address without secrets, and that of a file as short as it works from the working folder."""
    path = sqlite_path(uri)
    if path is not None and path.is_relative_to(Path.cwd()):
        return f"{SQLITE}{path.relative_to(Path.cwd())}"
    return masked_uri(uri)


def ui_command(uri: str) -> str:
    """What shows a store in a browser, to be pasted into a shell."""
    return f"mlflow ui --backend-store-uri {shlex.quote(short_uri(uri))}"


def upgrade_command(uri: str) -> str:
    """What brings a store to the schema of the MLflow that is installed, to be pasted into a shell."""
    return f"mlflow db upgrade {shlex.quote(short_uri(uri))}"
