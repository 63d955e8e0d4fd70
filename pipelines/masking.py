"""Secrets in addresses, and how they are kept out of whatever is shown, logged or stored.

An address is read the careful way round: what may be a secret counts as one. The host stays readable, and so does the
name of a user where the scheme has users at all; everything before the last `@`, and every value of a query that is
not known to be harmless, becomes `***`.
"""

import os
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, unquote_plus

HIDDEN = "***"
VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")  # addresses that may hold a secret
SECRET_VARIABLES = (
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AWS_SIGV4"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING"),
    *("PGPASSWORD", "MYSQL_PWD"),
)
WITHOUT_HOST = {"sqlite", "file", "models", "runs", "dbfs", "databricks", "mlflow-artifacts"}
DATABASES = {"postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle"}
WITH_USERS = DATABASES | {"ftp", "sftp", "ssh", "hdfs", "viewfs"}  # whose users are no secrets
CONTAINERS = {"abfs", "abfss", "wasb", "wasbs"}  # container@account
HARMLESS = {
    *("host", "hostaddr", "port", "user", "dbname", "database", "sslmode", "charset", "application_name", "driver"),
    *("connect_timeout", "timeout", "mode", "cache", "uri", "region", "options", "target_session_attrs"),
}
ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]+):(?P<slashes>/*)(?P<rest>.*)", re.DOTALL)
# In a text: what has a scheme and slashes, and what only looks like user:password@host.
# In a text: what has a scheme and slashes, and what only looks like user:password@host. Bounded, for texts may be long.
IN_TEXT = re.compile(
    r"(?<![A-Za-z0-9+.\-])[A-Za-z][A-Za-z0-9+.\-]{1,30}:/+[^\s'\"<>]*"
    r"|(?<![^\s'\"<>:/])[^\s'\"<>:/]{1,80}:[^\s'\"<>]{1,500}@[^\s'\"<>]{1,500}"
)
SETTING = re.compile(r"([?&;#])([^=?&;#/]+)=([^&;#]*)")  # of a query
ASSIGNED = re.compile(
    r"(?i)((?:passw|pwd|secret|token|signature|credential|access_?key|api_?key)[\w.\-]{0,30}=)([^\s&;,'\"<>]+)"
)
LEAST_ANYWHERE = 6  # characters of a secret that is also hidden inside of a word


def masked_uri(uri: str) -> str:
    """The address with `***` in place of whatever may be a secret in it.

    Example:
        >>> masked_uri("postgresql://me:secret@host:5432/runs?sslmode=require&sslpassword=x")
        'postgresql://me:***@host:5432/runs?sslmode=require&sslpassword=***'
        >>> masked_uri("http://token@host")
        'http://***@host'
    """
    found = ADDRESS.fullmatch(uri)
    if found is None:
        return uri
    scheme, rest = found["scheme"].partition("+")[0].lower(), found["rest"]
    shown = ""
    if scheme not in WITHOUT_HOST:
        user, rest = _split(scheme, rest)
        shown, rest = _user(scheme, user), _with_port(rest)
    return f"{found['scheme']}:{found['slashes']}{shown}{_with_query(scheme, rest)}"


def holds_secret(uri: str) -> bool:
    """Whether an address has something that `masked_uri` hides."""
    return masked_uri(uri) != uri


def masked(text: str, *addresses: str | None) -> str:
    """A text, such as a message of somebody else's, with `***` in place of the secrets in it.

    Args:
        text: What is to be shown.
        addresses: Whose secrets it may quote in parts; those of MLflow's environment variables count anyway.
    """
    known = [each for each in (*addresses, *map(os.environ.get, VARIABLES)) if each]
    for address in known:
        text = text.replace(address, masked_uri(address))
    text = IN_TEXT.sub(lambda found: masked_uri(found[0]), text)
    text = ASSIGNED.sub(rf"\1{HIDDEN}", text)
    for secret in sorted({*_secrets(known), *_set_secrets()}, key=len, reverse=True):
        whole = re.escape(secret)
        text = re.sub(whole if len(secret) >= LEAST_ANYWHERE else rf"(?<!\w){whole}(?!\w)", HIDDEN, text)
    return text


def _split(scheme: str, rest: str) -> tuple[str | None, str]:
    """Who logs in, if anybody, and what comes after: all up to the last `@`, for a password may hold any character."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    logs_in = "@" in authority or ":" in authority.partition("]")[2] + authority.partition("[")[0]
    if "@" not in rest or not (logs_in or scheme in DATABASES or scheme.startswith("http")):
        return None, rest
    user, _, after = rest.rpartition("@")
    return user, after


def _user(scheme: str, user: str | None) -> str:
    if user is None:
        return ""
    name, colon, _ = user.partition(":")
    kept = scheme in WITH_USERS or (scheme in CONTAINERS and not colon)
    if not kept or not re.fullmatch(r"[\w.%\-]*", name):
        return f"{HIDDEN}@"
    return f"{name}:{HIDDEN}@" if colon else f"{name}@"


def _with_port(rest: str) -> str:
    """Host and port; what is no number in the place of a port may be a password without a host."""
    return re.sub(r"^(\[[^\]/?#]*\]|[^:/?#\[]*):(?!\d*(?:[/?#]|$))[^/?#]*", rf"\1:{HIDDEN}", rest)


def _with_query(scheme: str, rest: str) -> str:
    """Path and query, with the values of the query hidden but for those of harmless settings."""
    path, query = _path_and_query(scheme, rest)
    return path + SETTING.sub(_setting, query)


def _path_and_query(scheme: str, rest: str) -> tuple[str, str]:
    """The query with the mark that opens it; a file may have any other mark in its name."""
    start = re.search(r"\?" if scheme in WITHOUT_HOST else r"[?#]", rest)
    return (rest, "") if start is None else (rest[: start.start()], rest[start.start() :])


def _setting(found: re.Match[str]) -> str:
    mark, name, value = found.groups()
    harmless = unquote_plus(name).strip().lower() in HARMLESS and not re.search("[@:=]", unquote(value))
    return found[0] if harmless or not value else f"{mark}{name}={HIDDEN}"


def _secrets(addresses: Iterable[str]) -> Iterator[str]:
    """What is hidden in addresses: whole, as it is meant, and in the parts that somebody who misreads it quotes."""
    for address in addresses:
        for secret in _hidden(address):
            for form in (secret, unquote(secret)):
                yield from (each for each in (form, *re.split(r"[/?#@:&]", form)) if len(each) > 1)


def _hidden(address: str) -> Iterator[str]:
    found = ADDRESS.fullmatch(address)
    if found is None or masked_uri(address) == address:
        return
    scheme, rest = found["scheme"].partition("+")[0].lower(), found["rest"]
    if scheme not in WITHOUT_HOST:
        user, rest = _split(scheme, rest)
        if user is not None and _user(scheme, user) != f"{user}@":
            name, _, password = user.partition(":")
            yield from (password, *(() if _user(scheme, user).startswith(name + ":") else (name,)))
    for setting in SETTING.finditer(_path_and_query(scheme, rest)[1]):
        if _setting(setting) != setting[0]:
            yield setting[3]


def _set_secrets() -> Iterator[str]:
    yield from (value for name in SECRET_VARIABLES if len(value := os.environ.get(name, "")) > 1)
