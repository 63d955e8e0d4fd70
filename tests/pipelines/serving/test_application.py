import json

import httpx
import pandas as pd
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.serving.admission import Limits
from pipelines.serving.application import application
from pipelines.serving.service import Service
from tests.pipelines.registered import FEATURES, RAW, map_model
from tests.pipelines.serving.served import posted, service_of, within

ROWS = RAW[:5].tolist()
CSV = pd.DataFrame(RAW[:5], columns=list(FEATURES)).to_csv(index=False).encode()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    return service_of(monkeypatch)


@pytest.mark.parametrize("content", [{"inputs": ROWS}, CSV])
def test_rows_that_are_answered_in_parts_are_answered_like_the_whole(
    content: object, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.serving.application.ROWS_AT_ONCE", 2)
    answer = posted(application(service), content)
    assert int(answer.headers["content-length"]) == len(answer.content)
    expected = map_model().predict(pd.DataFrame(ROWS, columns=list(FEATURES)))
    pd.testing.assert_frame_equal(pd.DataFrame(answer.json()["predictions"]), expected)


def test_a_request_without_rows_gets_none(service: Service) -> None:
    assert posted(application(service), {"inputs": []}).json() == {"predictions": []}


def test_what_is_wrong_in_a_later_part_is_said_with_its_rows(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.serving.application.ROWS_AT_ONCE", 2)
    answer = posted(application(service), {"inputs": [*ROWS[:3], [1.0, None]]})
    assert answer.status_code == 400
    assert answer.json()["message"] == (
        "rows 2 to 3: input must not be null, NaN or infinite, got such values in 1 rows: b in 1"
    )


@pytest.mark.parametrize(
    "content", [{"inputs": ROWS}, {"inputs": {"a": [1] * 5, "b": [1] * 5}}, CSV, {"dataframe_records": [{}] * 5}]
)
def test_more_rows_than_the_limit_are_413_in_every_format(content: object, service: Service) -> None:
    answer = posted(application(service, limits=Limits(rows=4)), content)
    assert (answer.status_code, answer.headers["x-model-version"]) == (413, "1")
    assert answer.json()["message"] == "request must not have more than 4 rows: send them in parts"
    assert posted(application(service, limits=Limits(rows=5)), {"inputs": ROWS}).status_code == 200


def test_more_lists_than_rows_need_are_refused_before_they_are_made(service: Service) -> None:
    answer = posted(application(service, limits=Limits(rows=4)), {"inputs": [[]] * 108})
    assert answer.status_code == 413
    assert "must not have more than 4 rows, or 108 lists and objects" in answer.json()["message"]


def test_another_method_is_told_which_one_there_is(service: Service) -> None:
    answer = within(application(service), lambda client: client.get("/invocations"))
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["message"] == "Method Not Allowed"


def test_what_the_description_says_of_a_request_holds_for_those_that_are_answered(service: Service) -> None:
    import jsonschema

    app = application(service)
    described = within(app, lambda client: client.get("/openapi.json")).json()["paths"]["/invocations"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    records = [{"a": 1.0, "b": None}]
    for content in (
        {"dataframe_split": {"columns": ["a", "b"], "data": ROWS}},
        {"dataframe_records": records},
        {"instances": ROWS},
        {"inputs": {"a": [1.0], "b": [2.0]}},
    ):
        jsonschema.validate(content, schema)
    for content in ({"inputs": ROWS, "instances": ROWS}, {"rows": ROWS}, [ROWS]):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, schema)
        assert posted(app, content).status_code == 400


# ---------------------------------------------------------------- whatever is sent

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(),
        st.sampled_from(["", "x", "1", "\ud800", "é", 10**400, 1e308, -1e308]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "columns", "data", "\ud800"]), inner)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "params", "\ud800"])
JSON = st.dictionaries(NAMES, VALUES, max_size=2).map(lambda content: json.dumps(content).encode())
TABLES = st.lists(
    st.lists(st.sampled_from(["1", "", "x", '"', '"1"', "nan", "1e999", "a", "b", "\0"])), max_size=4
).map(lambda lines: "\n".join(["a,b", *map(",".join, lines)]).encode())
CHANGED = st.tuples(st.one_of(JSON, TABLES), st.integers(0, 200), st.binary(max_size=3)).map(
    lambda three: three[0][: three[1]] + three[2] + three[0][three[1] :]
)
KINDS = st.sampled_from(
    ["application/json", "text/csv", "text/csv; charset=", "application/json;;", "a/b/c", "é", "; charset*=x''y"]
)


@pytest.fixture(scope="module")
def served() -> FastAPI:
    with pytest.MonkeyPatch.context() as patch:
        return application(service_of(patch))


@settings(max_examples=150, deadline=None)
@given(content=st.one_of(JSON, TABLES, CHANGED, st.binary(max_size=40)), kind=KINDS)
def test_whatever_is_sent_is_answered_or_refused_in_one_line(content: bytes, kind: str, served: FastAPI) -> None:
    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/invocations", content=content, headers={"content-type": kind.encode()})

    answer = within(served, ask)
    assert answer.status_code in (200, 400, 413, 415)
    assert answer.headers["x-model-version"] == "1"
    assert b"\n" not in answer.content
    assert set(answer.json()) == ({"predictions"} if answer.status_code == 200 else {"error_code", "message"})
