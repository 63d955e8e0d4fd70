from pathlib import Path

import httpx
import pytest

from pipelines.errors import ServerError
from pipelines.serving.access import TOKEN_VARIABLE, token_from
from pipelines.serving.application import application
from tests.pipelines.serving.served import posted, service_of, within

ROW = {"inputs": [[1.0, 2.0]]}


def test_only_those_who_show_the_token_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    app = application(service_of(monkeypatch), token="s3cret")
    assert posted(app, ROW, authorization="Bearer s3cret").status_code == 200
    assert posted(app, ROW, authorization="bearer s3cret").status_code == 200
    for shown in ("", "s3cret", "Basic s3cret", "Bearer", "Bearer s3cre", "Bearer s3crets"):
        refused = posted(app, ROW, authorization=shown)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.headers["x-model-version"] == "1"
        assert "s3cret" not in refused.text


def test_probes_need_no_token_and_everything_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    app = application(service_of(monkeypatch), token="s3cret")

    async def ask(client: httpx.AsyncClient) -> list[int]:
        paths = ("/ping", "/ready", "/health", "/version", "/metrics", "/openapi.json", "/nothing", "//ping", "/ping/")
        return [(await client.get(path)).status_code for path in paths]

    assert within(app, ask) == [200, 200, 401, 401, 401, 401, 401, 401, 401]


def test_a_token_is_of_a_file_or_else_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert token_from(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, "of-the-environment")
    assert token_from(None) == "of-the-environment"
    (tmp_path / "token").write_text("of-the-file\n")
    assert token_from(str(tmp_path / "token")) == "of-the-file"


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", "p\u00e4ss".encode(), b"\xff", b"a\nb"])
def test_what_is_no_token_is_refused_without_showing_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ServerError, match=f"the token in {tmp_path}/token ") as caught:
        token_from(str(tmp_path / "token"))
    assert "two words" not in str(caught.value)


def test_an_empty_variable_is_refused_and_not_taken_for_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "")
    with pytest.raises(ServerError, match=f"the token in the variable {TOKEN_VARIABLE} must be printable ASCII"):
        token_from(None)
    with pytest.raises(ServerError, match="No such file"):
        token_from(str(tmp_path / "absent"))
