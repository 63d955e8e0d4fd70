import re
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from pipelines.masking import holds_secret, masked, masked_uri

HOST = "tracking.example"
DATABASES = ("postgresql", "postgresql+psycopg", "mysql+pymysql", "mssql+pyodbc", "oracle")
OTHERS = ("http", "https", "s3", "gs", "redis", "unheard-of")
SECRET_SETTINGS = (
    *("password", "PASSWORD", "pass", "token", "access_token", "sslpassword", "sslkey", "sig", "Signature", "api_key"),
    *("AWSAccessKeyId", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "odbc_connect", "p%61ssword"),
)
# A secret is recognized in the output by its marks: none of them is part of anything else here.
MARK = "Zq9"
ODD = st.text(string.ascii_letters + string.digits + "/#?:%&=;+,!$*()[]~^|{}`\\", max_size=12)
SECRETS = st.builds("{}{}{}".format, ODD, st.just(MARK), ODD)
USERS = st.sampled_from(["me", "a.user", "svc-1"])
PORTS = st.sampled_from(["", ":5432", ":54x"])


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:secret@host:5/db", "postgresql://me:***@host:5/db"),
        ("postgresql://h/x?user=u&password=PW", "postgresql://h/x?user=u&password=***"),
        ("http://TOKEN@h", "http://***@h"),
        ("http://TOKEN:@h:80/x", "http://***@h:80/x"),
        ("https://me:secret@h/x", "https://***@h/x"),
        ("postgresql:/u:PW@h", "postgresql:/u:***@h"),
        ("postgresql:u:PW@h", "postgresql:u:***@h"),
        ("postgresql://u:P#W@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:P/W@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:P@W@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:PW@h:54x/d", "postgresql://u:***@h:***/d"),
        ("postgresql://u:PW", "postgresql://u:***"),
        ("s3://KEY:SEC/RET@bucket/x", "s3://***@bucket/x"),
        ("https://h/c?sv=2024&sig=ab%2Bc", "https://h/c?sv=***&sig=***"),
        ("https://h/c#access_token=abc", "https://h/c#access_token=***"),
    ],
)
def test_secrets_are_hidden_and_the_rest_stays(uri: str, shown: str) -> None:
    assert masked_uri(uri) == shown
    assert holds_secret(uri)


@pytest.mark.parametrize(
    "uri",
    [
        *("http://host:5000", "http://[::1]:5000/x", "https://host/a/b/", "http://host/#/experiments/1/runs/2"),
        *("postgresql://host/db", "postgresql://me@host:5432/db?sslmode=require", "postgresql:///db?host=/var/run"),
        *("sqlite:///mlflow.db", "sqlite:////my plant/a@b:c&d=e#f=g/mlflow.db", "sqlite:///C:/a/mlflow.db"),
        *("mlflow.db", "C:\\data@home\\x", "/data/a@b:c/x?y=z", "models:/demo@champion", "file:///a/x@y"),
        *("s3://bucket/a@b/month=06/x.parquet", "abfss://container@account.dfs.core.windows.net/x", "databricks://me"),
    ],
)
def test_what_has_no_secret_stays_as_it_is(uri: str) -> None:
    assert masked_uri(uri) == uri
    assert not holds_secret(uri)


@given(st.sampled_from(DATABASES), st.sampled_from(["://", ":/", ":"]), USERS, SECRETS, PORTS)
def test_the_password_of_a_database_is_never_shown(
    scheme: str, slashes: str, user: str, secret: str, port: str
) -> None:
    for written in (secret, quote(secret, safe=""), quote(secret)):
        uri = f"{scheme}{slashes}{user}:{written}@{HOST}{port}/runs?sslmode=require"
        for shown in (masked_uri(uri), masked(f"cannot use '{uri}'", uri), masked(f"not a port: '{secret}'", uri)):
            assert MARK not in shown
        assert HOST in masked_uri(uri)
        assert user in masked_uri(uri)


@given(st.sampled_from(OTHERS), st.sampled_from(["{}@", "{}:@", "me:{}@", "{}:x-oauth-basic@"]), SECRETS, PORTS)
def test_a_token_before_the_host_is_never_shown(scheme: str, form: str, secret: str, port: str) -> None:
    for written in (quote(secret, safe=""), secret.replace("/", "").replace("?", "").replace("#", "")):
        uri = f"{scheme}://{form.format(written)}{HOST}{port}/x"
        for shown in (masked_uri(uri), masked(f"GET {uri} failed"), masked(f"who is {written}?", uri)):
            assert MARK not in shown
        assert HOST in masked_uri(uri)


@given(st.sampled_from(DATABASES + OTHERS), st.sampled_from(SECRET_SETTINGS), SECRETS, st.sampled_from("?#"))
def test_secret_settings_of_a_query_are_never_shown(scheme: str, name: str, secret: str, mark: str) -> None:
    value = quote(secret, safe="")
    uri = f"{scheme}://{HOST}:5000/runs{mark}user=me&{name}={value}&timeout=5"
    for shown in (masked_uri(uri), masked(f"{uri} is wrong"), masked(f"{value} or {secret}", uri)):
        assert MARK not in shown
    assert HOST in masked_uri(uri)
    assert "user=me" in masked_uri(uri)


@given(ODD, ODD)
def test_masking_twice_is_masking_once(user: str, rest: str) -> None:
    uri = f"postgresql://{user}:x@{HOST}/{rest}"
    assert masked_uri(masked_uri(uri)) == masked_uri(uri)


@pytest.mark.parametrize("uri", ["postgresql:/u:Zq9x@h", "nosuch://u:Zq9x@h/d", "postgresql://u:Zq9x@h:54x/d"])
def test_what_sqlalchemy_says_of_an_address_it_refuses_has_no_secret(uri: str) -> None:
    with pytest.raises((ArgumentError, NoSuchModuleError, ValueError)) as caught:
        create_engine(uri)
    assert MARK not in masked(str(caught.value), uri)


def test_secrets_of_the_environment_are_hidden_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:open-sesame@host")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "swordfish")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "abc.def")
    said = masked("401 for open-sesame, xswordfishx or abc.def; password=other&x=1 at host")
    assert said == "401 for ***, x***x or ***; password=***&x=1 at host"


def test_ordinary_text_stays() -> None:
    text = "jitl: rmse 2.21 at 12:30, see http://127.0.0.1:5000/#/experiments/1/runs/2 or models:/demo@champion"
    assert masked(text) == text
    assert re.fullmatch("x{7000}…", masked("x" * 7000 + "…"))
