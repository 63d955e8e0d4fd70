import math
from dataclasses import replace

import httpx
import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.model.profile import Profile
from pipelines.serving.application import application
from pipelines.serving.metrics import Inputs
from pipelines.store.servable import Servable
from pipelines.store.versions import Version
from tests.pipelines.registered import FEATURES, RAW, map_model
from tests.pipelines.serving.served import CREATED, service_of, within

PROFILE = Profile(
    regions=(0, 0, 0, 1, 1, 1),
    hits=(30, 10),
    features={},
    predictions={},
    mean_distance=1.0,
    far=0.5,
    usual={},
)


def samples(text: str) -> dict[tuple[str, str], float]:
    """By name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            found[each.name, ",".join(f"{key}={value}" for key, value in sorted(each.labels.items()))] = each.value
    return found


def test_requests_rows_and_the_version_are_what_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.serving.application.ROWS_AT_ONCE", 2)
    service = service_of(monkeypatch)

    async def ask(client: httpx.AsyncClient) -> str:
        for rows in (3, 2):
            await client.post("/invocations", json={"inputs": RAW[:rows].tolist()})
        await client.post("/invocations", json={"inputs": 3})
        await client.get("/ping")
        service.problem = "the alias is astray"
        return (await client.get("/metrics")).text

    found = samples(within(application(service), ask))
    assert found["som_requests_total", "status=200"] == 2
    assert found["som_requests_total", "status=400"] == 1
    assert found["som_rows_total", ""] == 5
    assert found["som_request_seconds_count", ""] == 2
    assert found["som_queue_requests", ""] == 0
    assert found["som_queue_limit", ""] == 64
    assert found["som_model_info", "alias=champion,model=plain,version=1"] == 1
    assert found["som_model_created_seconds", ""] == CREATED.timestamp()
    assert found["som_model_stale", ""] == 1
    assert found["process_resident_memory_bytes", ""] > 0


def test_drift_of_the_last_rows_is_the_stability_index_of_where_they_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    model = replace(map_model(missing="mask"), profile=PROFILE)
    service = service_of(monkeypatch, model)
    rows = [*RAW.tolist(), [None, None]]

    async def ask(client: httpx.AsyncClient) -> str:
        await client.post("/invocations", json={"inputs": rows})
        return (await client.get("/metrics")).text

    found = samples(within(application(service), ask))
    answer = model.predict(pd.DataFrame(RAW, columns=list(FEATURES)))
    here = [int(((answer["row"] * 2 + answer["col"]) // 3 == region).sum()) for region in (0, 1)]
    expected = 0.0
    for count, before in zip(here, (30, 10), strict=True):
        p, q = (before + 0.5) / 41, (count + 0.5) / 41
        expected += (q - p) * math.log(q / p)
    assert found["som_input_drift", "measure=hits"] == pytest.approx(expected)
    assert found["som_input_drift", "measure=new_region"] == (answer["quantization_error"] > 0.5).mean()
    assert found["som_input_drift_rows", ""] == 40


def test_drift_begins_anew_with_another_version_and_is_none_without_a_profile() -> None:
    example = pd.DataFrame(RAW[:5], columns=list(FEATURES))
    first, second = (
        Servable(Version("plain", number), replace(map_model(), profile=PROFILE), example) for number in ("1", "2")
    )
    plain = Servable(Version("plain", "3"), map_model(), example)
    inputs = Inputs()
    inputs.saw(first, first.predict(example))
    inputs.saw(first, first.predict(example))
    assert len(inputs) == 10
    inputs.saw(second, second.predict(example[:2]))
    assert len(inputs) == 2
    inputs.saw(plain, plain.predict(example))
    assert (len(inputs), inputs.measures()) == (0, {})


def test_what_is_usual_is_the_bound_of_as_many_training_rows() -> None:
    from pipelines.model.profile import Usual

    usual = Usual(two_sided=False, sizes=(1, 10), windows=(100, 100), means=(0.4, 0.2), variances=(0.01, 0.01))
    model = replace(map_model(), profile=PROFILE.model_copy(update={"usual": {"hits": usual}}))
    servable = Servable(Version("plain", "1"), model, pd.DataFrame(RAW[:5], columns=list(FEATURES)))
    inputs = Inputs()
    inputs.saw(servable, servable.predict(servable.example))
    measures = inputs.measures()
    assert measures["hits"][1] == usual.bound(5, 0.999)
    assert np.isnan(measures["new_region"][1])
