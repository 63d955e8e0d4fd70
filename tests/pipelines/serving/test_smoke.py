from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import SmokeTestError
from pipelines.serving.smoke import smoke_test
from pipelines.store.registry import champion
from pipelines.store.servable import Servable
from tests.pipelines.registered import RAW, damage, map_model, register_model

pytestmark = pytest.mark.usefixtures("store")
predict = Servable.predict


@pytest.mark.parametrize("missing", ["error", "mask"])
def test_a_version_that_answers_as_it_should_passes_and_may_serve(missing: str) -> None:
    version = register_model("demo", map_model(missing=missing), check=smoke_test)
    assert champion("demo") == version


def another_number(answer: pd.DataFrame) -> pd.DataFrame:
    return answer.assign(quantization_error=answer["quantization_error"] * 1.001)


def nothing(answer: pd.DataFrame) -> pd.DataFrame:
    return answer.assign(quantization_error=np.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (another_number, "row 0 of its example must get quantization_error"),
        (nothing, r"row 0 of its example must get quantization_error \S+, got None"),
        (lambda answer: answer.drop(columns="cluster"), "must answer with the columns of its signature, row, col, "),
        (lambda answer: answer.iloc[1:], "must give an answer for each of 3 rows, got 2"),
        (lambda answer: 1 / 0, "must answer its example with 200, got 500: .*ZeroDivisionError"),
    ],
)
def test_a_server_that_answers_something_else_fails_the_version(
    change: Callable[[pd.DataFrame], Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register_model("demo", map_model())
    warm = [True]  # the first answer is the one that warms it up

    def changed(self: Servable, frame: pd.DataFrame) -> Any:
        answer = predict(self, frame)
        return answer if warm and warm.pop() else change(answer)

    monkeypatch.setattr(Servable, "predict", changed)
    with pytest.raises(SmokeTestError, match=f"demo version 1 failed its smoke test: {message}"):
        smoke_test(version)


def test_a_server_that_answers_a_null_fails_a_model_that_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    version = register_model("demo", map_model())
    monkeypatch.setattr(Servable, "predict", lambda self, frame: predict(self, frame.fillna(0.0)))
    with pytest.raises(SmokeTestError, match="must refuse a null with 400, got 200"):
        smoke_test(version)


def test_a_version_that_cannot_be_loaded_gets_no_alias() -> None:
    def damaged(version: Any) -> None:
        damage(version.uri)
        smoke_test(version)

    with pytest.raises(SmokeTestError, match=r"demo version 1 cannot be served: .* is damaged"):
        register_model("demo", map_model(), check=damaged)
    assert champion("demo") is None


def test_a_model_of_rows_that_all_have_gaps_is_asked_what_its_neurons_stand_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gaps = RAW.copy()
    gaps[::2, 0], gaps[1::2, 1] = np.nan, np.nan
    monkeypatch.setattr("tests.pipelines.registered.RAW", gaps)
    model = map_model(missing="mask")
    version = register_model("demo", model, check=smoke_test)
    assert version.aliases == ("challenger", "champion")
