import asyncio
import json
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from pipelines.serving.admission import LARGE_AT_ONCE, SMALL_BYTES, Limits
from pipelines.serving.application import application
from pipelines.serving.service import Service
from tests.pipelines.serving.served import Gate, Sent, posted, scope, service_of, within

ROW = {"inputs": [[1.0, 2.0]]}
JSON = {"content-type": "application/json"}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    return service_of(monkeypatch)


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)


def post(client: httpx.AsyncClient, content: Any = ROW) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(client.post("/invocations", json=content))


async def reached(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.reached.wait, 30)


def test_more_requests_than_the_queue_holds_are_asked_to_come_back_and_probes_are_answered(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    gate.stand(monkeypatch)

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        inside = [post(client), post(client)]
        await reached(gate)
        refused = await post(client)
        probes = [await client.get(path) for path in ("/ping", "/health", "/version", "/metrics", "/ready")]
        gate.opened.set()
        return [refused, *probes, *await asyncio.gather(*inside), await post(client), await client.get("/ready")]

    answers = within(application(service, limits=Limits(queue=2)), ask)
    assert [answer.status_code for answer in answers] == [503, 200, 200, 200, 200, 503, 200, 200, 200, 200]
    assert answers[0].json()["message"] == "2 requests wait already: try again later"
    assert (answers[0].headers["retry-after"], answers[0].headers["x-model-version"]) == ("1", "1")


def test_a_small_request_waits_for_a_part_of_a_large_one_and_not_for_all_of_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, one_worker: None
) -> None:
    monkeypatch.setattr("pipelines.serving.application.ROWS_AT_ONCE", 3)
    gate = Gate()
    gate.stand(monkeypatch)

    async def ask(client: httpx.AsyncClient) -> None:
        large = post(client, {"inputs": np.ones((12, 2)).tolist()})
        await reached(gate)
        small = post(client)
        for _ in range(20):  # it is in the queue by then
            await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(large, small)

    within(application(service), ask)
    assert sorted(gate.seen) == [1, 3, 3, 3, 3]
    assert gate.seen.index(1) <= 2


def test_the_work_for_a_client_that_has_left_stops(
    service: Service, monkeypatch: pytest.MonkeyPatch, one_worker: None
) -> None:
    monkeypatch.setattr("pipelines.serving.application.ROWS_AT_ONCE", 1)
    gate = Gate()
    gate.stand(monkeypatch)
    body = json.dumps({"inputs": np.ones((50, 2)).tolist()}).encode()

    async def leave() -> dict[str, str]:
        await reached(gate)
        asyncio.get_running_loop().call_later(0.05, gate.opened.set)
        return {"type": "http.disconnect"}

    app = application(service)
    sent = Sent([{"type": "http.request", "body": body, "more_body": False}, leave()])
    asyncio.run(app(scope(JSON), sent.receive, sent.send))
    assert sent.status == 499
    assert gate.seen == [1]
    assert posted(app, ROW).status_code == 200


def test_a_client_that_leaves_before_it_has_sent_all_is_no_error(service: Service, caplog: Any) -> None:
    sent = Sent([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    asyncio.run(application(service)(scope(JSON), sent.receive, sent.send))
    assert sent.status == 499
    assert caplog.messages == []


def test_a_request_that_takes_too_long_is_given_up_between_two_parts(
    service: Service, monkeypatch: pytest.MonkeyPatch, one_worker: None
) -> None:
    monkeypatch.setattr("pipelines.serving.application.ROWS_AT_ONCE", 1)
    gate = Gate()
    gate.stand(monkeypatch)

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        answer = post(client, {"inputs": np.ones((50, 2)).tolist()})
        await reached(gate)
        await asyncio.sleep(0.3)  # beyond its time
        gate.opened.set()
        return await answer

    answer = within(application(service, limits=Limits(seconds=0.2)), ask)
    assert answer.status_code == 503
    assert answer.json()["message"] == "no answer within 0.2 s: send fewer rows, or try again later"
    assert gate.seen == [1]


def test_a_body_that_does_not_come_in_time_is_408_and_takes_no_place_in_the_queue(service: Service) -> None:
    app = application(service, limits=Limits(seconds=0.2, queue=1))

    async def both() -> tuple[Sent, httpx.Response]:
        sent = Sent([{"type": "http.request", "body": b"{", "more_body": True}])
        slow = asyncio.create_task(app(scope(JSON), sent.receive, sent.send))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://som") as client:
            answer = await client.post("/invocations", json=ROW)
        await slow
        return sent, answer

    sent, answer = asyncio.run(both())
    assert answer.status_code == 200
    assert sent.status == 408
    assert (b"connection", b"close") in sent.got[0]["headers"]


@pytest.mark.parametrize("stated", [True, False])
def test_a_body_is_read_no_further_than_it_may_be_long(stated: bool, service: Service) -> None:
    length = {"content-length": "3000"} if stated else {}
    parts = [{"type": "http.request", "body": b" " * 600, "more_body": True} for _ in range(5)]
    sent = Sent(list(parts))
    app = application(service, limits=Limits(megabytes=1000 / 2**20))
    asyncio.run(app(scope(JSON | length), sent.receive, sent.send))
    assert sent.status == 413
    assert b"must not be longer than 1,000 bytes: send the rows in parts" in sent.got[1]["body"]
    assert len(sent.messages) == (5 if stated else 3)


@pytest.mark.parametrize("length", ["", "abc", "-1", "\u00b2"])
def test_an_odd_length_is_none(length: str, service: Service) -> None:
    sent = Sent([{"type": "http.request", "body": json.dumps(ROW).encode(), "more_body": False}])
    asyncio.run(application(service)(scope(JSON | {"content-length": length}), sent.receive, sent.send))
    assert sent.status == 200


def test_only_so_many_long_requests_are_read_at_once_and_small_ones_pass_them(service: Service) -> None:
    app = application(service, limits=Limits(seconds=30))
    head, rest = b" " * (SMALL_BYTES + 1), b'{"inputs": [[1.0, 2.0]]}'

    async def all_of_them() -> tuple[list[Sent], httpx.Response]:
        going_on = asyncio.Event()

        async def last() -> dict[str, Any]:
            await going_on.wait()
            return {"type": "http.request", "body": rest, "more_body": False}

        first = {"type": "http.request", "body": head, "more_body": True}
        long = [Sent([first, last()]) for _ in range(LARGE_AT_ONCE + 2)]
        tasks = [asyncio.create_task(app(scope(JSON), sent.receive, sent.send)) for sent in long]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://som") as client:
            small = await client.post("/invocations", json=ROW)
        assert sum(len(sent.messages) == 0 for sent in long) == LARGE_AT_ONCE  # the others are read no further
        going_on.set()
        await asyncio.gather(*tasks)
        return long, small

    long, small = asyncio.run(all_of_them())
    assert small.status_code == 200
    assert [sent.status for sent in long] == [200] * (LARGE_AT_ONCE + 2)


def test_a_long_request_that_finds_no_place_in_time_is_asked_to_come_back(service: Service) -> None:
    app = application(service, limits=Limits(seconds=0.3, queue=1))
    first = {"type": "http.request", "body": b" " * (SMALL_BYTES + 1), "more_body": True}

    async def all_of_them(app: FastAPI) -> list[Sent]:
        long = [Sent([dict(first)]) for _ in range(LARGE_AT_ONCE + 2)]
        await asyncio.gather(*(app(scope(JSON), sent.receive, sent.send) for sent in long))
        return long

    long = asyncio.run(all_of_them(app))
    assert [sent.status for sent in long] in ([408] * 2 + [503] * 2, [408] * 3 + [503])
    assert posted(app, ROW).status_code == 200
