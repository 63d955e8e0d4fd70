import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from pipelines.data.samples import Labelled, Samples
from pipelines.data.scaling import Scaler
from pipelines.model.local_models import fit_local_models
from pipelines.progress import LogListener, listening
from pipelines.settings.sections import JITLConfig
from pipelines.training import local_scores as scores
from pipelines.training.baselines import neighbor_answers, ridge_answers
from pipelines.training.local_scores import LocalResults, learn_targets, target_scores
from somlib import SOM
from tests.pipelines.model.test_local_models import make_som, rows, with_gaps

PURE = JITLConfig(experts="pure")


def samples(train: Labelled, heldout: Labelled) -> Samples:
    return Samples(train, heldout, Scaler.identity(("a", "b")))


def renamed(part: Labelled, **names: str) -> Labelled:
    targets = {names.get(name, name): values for name, values in part.targets.items()}
    return Labelled(part.samples, targets, part.moments, part.numbers)


@pytest.fixture(scope="module")
def som() -> SOM:
    return make_som()


@pytest.fixture(scope="module")
def local(som: SOM) -> LocalResults:
    return learn_targets(som, samples(rows(), rows(60, first=240)), PURE, seed=1)


def test_scores_are_those_of_scikit_learn(local: LocalResults) -> None:
    assert local.answers is not None
    scores, answers = local.scores["y"], local.answers
    for errors, column in ((scores.jitl, "prediction"), (scores.ridge, "ridge"), (scores.neighbors, "neighbors")):
        truth, said = answers["measured"].to_numpy(), answers[column].to_numpy()
        expected = (root_mean_squared_error(truth, said), mean_absolute_error(truth, said), r2_score(truth, said))
        np.testing.assert_allclose(errors, expected, rtol=1e-9)
    assert (scores.rows, scores.learned) == (60, 240)


def test_held_out_rows_are_answered_by_models_that_have_not_seen_them(som: SOM, local: LocalResults) -> None:
    before, asked = rows(), rows(60, first=240)
    models = fit_local_models(som, before, PURE, seed=1)
    assert models is not None
    assert local.answers is not None
    expected = models.answer(asked.samples)
    for column in ("prediction", "lower", "upper", "fallback"):
        np.testing.assert_array_equal(local.answers[column], expected[column])
    for column, answers in (("ridge", ridge_answers), ("neighbors", neighbor_answers)):
        np.testing.assert_allclose(
            local.answers[column], answers(before.samples, before.targets["y"], asked.samples), rtol=1e-9
        )
    np.testing.assert_array_equal(local.answers["measured"], asked.targets["y"])
    assert asked.moments is not None
    assert local.answers["time"].to_list() == asked.moments.to_list()


def test_what_is_published_has_learned_the_held_out_rows_too(local: LocalResults) -> None:
    assert local.models is not None
    assert local.models.regressors["y"].index_.number.tolist() == list(range(300))
    assert local.models.watermark == "2024-01-13T11:00:00.000000+00:00"


def test_coverage_width_and_fallback_by_hand() -> None:
    table = pl.DataFrame(
        {
            "measured": [1.0, 2.0, 3.0, 4.0],
            "prediction": [1.0, 2.0, 3.0, 6.0],
            "lower": [0.0, 2.0, 3.5, 5.0],
            "upper": [2.0, 3.0, 4.5, 7.0],
            "fallback": [False, False, True, False],
            "ridge": [1.0, 1.0, 1.0, 1.0],
            "neighbors": [1.0, 2.0, 3.0, 4.0],
        }
    )
    scores = target_scores(table, learned=9)
    assert (scores.coverage, scores.width, scores.fallback) == (0.5, 1.5, 0.25)
    assert scores.jitl == (1.0, 0.5, pytest.approx(1 - 4 / 5))
    assert scores.neighbors == (0.0, 0.0, 1.0)


def test_r2_is_not_made_up_where_the_target_does_not_vary() -> None:
    constant = pl.DataFrame(
        {name: [1.0] for name in ("measured", "prediction", "lower", "upper", "ridge", "neighbors")}
    )
    scores = target_scores(constant.with_columns(fallback=False), learned=9)
    assert np.isnan(scores.jitl.r2)
    assert scores.jitl.rmse == 0


def test_rows_without_a_value_take_no_part(som: SOM) -> None:
    part = rows(60, first=240)
    gaps = rows(60, first=240, y=with_gaps(part.targets["y"], every=4))
    found = learn_targets(som, samples(rows(), gaps), PURE, seed=1)
    assert found.scores["y"].rows == 45
    assert found.answers is not None
    assert found.answers["sample"].to_list() == [i for i in range(240, 300) if i % 4]


def test_of_many_held_out_rows_some_are_judged(som: SOM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.training.local_scores.MOST_SCORED", 7)
    found = learn_targets(som, samples(rows(), rows(61, first=240)), PURE, seed=1)
    assert found.answers is not None
    assert found.answers["sample"].to_list() == [240, 250, 260, 270, 280, 290, 300]
    assert found.models is not None
    assert len(found.models.regressors["y"].index_) == 301


def test_without_held_out_rows_there_are_models_but_no_scores(som: SOM) -> None:
    found = learn_targets(som, samples(rows(), rows(0, first=240)), PURE, seed=1)
    assert found.models is not None
    assert (found.scores, found.metrics, found.answers) == ({}, {}, None)


def test_a_target_without_a_model_is_told_and_has_no_scores(som: SOM) -> None:
    rare = np.full(240, np.nan)
    found = learn_targets(som, samples(rows(rare=rare), rows(60, first=240, rare=rare[:60])), PURE, seed=1)
    assert list(found.scores) == ["y"]
    assert found.remarks == ("no local model of rare: 0 training rows have a value, it takes at least 50",)
    alone = learn_targets(som, samples(rows(49), rows(60, first=240)), PURE, seed=1)
    assert (alone.models, alone.answers) == (None, None)


def test_names_of_metrics_and_params_are_those_of_files(som: SOM) -> None:
    name = "temp [°C]/top"
    parts = samples(renamed(rows(), y=name), renamed(rows(60, first=240), y=name))
    found = learn_targets(som, parts, PURE, seed=1)
    assert found.metrics["jitl/temp___C__top/rmse"] == found.scores[name].jitl.rmse
    assert found.metrics["jitl/temp___C__top/coverage"] == found.scores[name].coverage
    assert found.params["jitl/temp___C__top/weight_ridge"] == 1.0
    assert found.params["jitl/temp___C__top/neighborhood"] in ("gaussian", "bmu_neighborhood_knn")


def test_too_large_a_map_is_left_out_and_told() -> None:
    wide = Labelled(np.zeros((60, 300), np.float32), {"y": np.arange(60.0)}, None, np.arange(60))
    found = learn_targets(SOM(25, 15, 300), samples(wide, wide), JITLConfig(), seed=1)
    assert found.models is None
    assert found.remarks[0].startswith("no local models: 300 features on 375 neurons")


@pytest.mark.parametrize(("asked", "jobs"), [(None, -1), (2, 2)])
def test_local_models_are_learned_side_by_side_on_one_thread_each(
    som: SOM, asked: int | None, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(*arguments: object) -> None:
        seen.append((torch.get_num_threads(), arguments[4]))

    monkeypatch.setattr(scores, "fit_local_models", look)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    learn_targets(som, samples(rows(300), rows(50)), PURE, 0, asked)
    assert seen == [(1, jobs)]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_learning_says_how_far_it_is_for_all_targets_together(som: SOM) -> None:
    rare = np.arange(240.0) % 2
    heard: list[tuple[int, int, str]] = []

    class Ear(LogListener):
        def advanced(self, done: int, of: int, doing: str, result: str = "") -> None:
            heard.append((done, of, doing))

    with listening(Ear()):
        learn_targets(som, samples(rows(rare=rare), rows(60, first=240, rare=rare[:60])), PURE, seed=1)
    assert [(done, of) for done, of, _ in heard] == [(1, 2), (2, 2)]
    assert {doing for *_, doing in heard} == {"local ridges of y", "local ridges of rare"}
