from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from pipelines.data.samples import Samples
from pipelines.data.scaling import Scaler
from pipelines.data.window import choose_window
from pipelines.data.window_rows import WindowRows, read_window, window_samples
from pipelines.errors import ModelError
from pipelines.model.local_models import LocalModels, fit_local_models
from pipelines.model.map_model import MapModel
from pipelines.retraining.decision import Record
from pipelines.retraining.evaluation import (
    Candidate,
    _knows_none,
    better,
    champion_candidate,
    evaluate,
    require_comparable,
)
from pipelines.settings.config import PipelineConfig
from pipelines.settings.promotion import PromotionConfig
from pipelines.training.fitting import train_som
from pipelines.training.local_scores import learn_targets


class Round(NamedTuple):
    config: PipelineConfig
    rows: WindowRows
    samples: Samples
    challenger: Candidate
    champion: MapModel


@pytest.fixture
def round_(config: PipelineConfig) -> Round:
    """A challenger of the whole window, and a champion that knows its first 100 rows, 160 train."""
    rows = read_window(choose_window(config.data, config.window), "error")
    samples = window_samples(rows, config)
    som = train_som(samples.train.samples, config.som, samples.scaler.features).som
    local = learn_targets(som, samples, config.jitl, seed=0)
    early = samples.train.take(np.arange(100))
    other = train_som(early.samples, config.som, samples.scaler.features).som
    champion = MapModel(other, samples.scaler, torch.ones(12), fit_local_models(other, early, config.jitl, 0))
    return Round(config, rows, samples, Candidate(som, samples.scaler, local.answers), champion)


def ask(round_: Round, candidate: Candidate, reference: Candidate) -> Record:
    return evaluate(candidate, reference, round_.rows.dataset, round_.samples.heldout)


def test_distances_are_to_the_neurons_that_each_map_chooses_in_the_units_of_the_champion(round_: Round) -> None:
    som, scaler = round_.challenger.som, round_.challenger.scaler
    units = Scaler("standard", scaler.features, scaler.center - 1, scaler.scale * (2.0, 0.5, 3.0))
    reference = Candidate(som, units)
    values = round_.rows.dataset.features[160:].astype(np.float64)
    codebook = som.weights.double().numpy().reshape(12, 3) * scaler.scale + scaler.center
    chosen = (((values[:, None] - codebook) / scaler.scale) ** 2).sum(axis=2).argmin(axis=1)
    expected = np.sqrt((((values - codebook[chosen]) / units.scale) ** 2).sum(axis=1))
    np.testing.assert_allclose(ask(round_, round_.challenger, reference).at_rows["qe"], expected, rtol=1e-4)


def test_distances_are_measured_by_the_metric_of_the_reference(round_: Round) -> None:
    som, scaler = round_.challenger.som, round_.challenger.scaler
    by_sums = round_.config.som.model_copy(update={"distance_function": "manhattan"})
    other = train_som(round_.samples.train.samples, by_sums, scaler.features).som
    values = round_.rows.dataset.features[160:].astype(np.float64)
    scaled = (values - scaler.center) / scaler.scale
    codebook = som.weights.double().numpy().reshape(12, 3)
    chosen = ((scaled[:, None] - codebook) ** 2).sum(axis=2).argmin(axis=1)
    expected = np.abs(scaled - codebook[chosen]).sum(axis=1)
    found = ask(round_, round_.challenger, Candidate(other, scaler)).at_rows["qe"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_rows_come_in_the_order_of_time(round_: Round) -> None:
    heldout = round_.samples.heldout
    backwards = heldout.take(np.arange(len(heldout))[::-1].copy())
    before, after = (
        evaluate(round_.challenger, round_.challenger, round_.rows.dataset, rows) for rows in (heldout, backwards)
    )
    np.testing.assert_array_equal(before.at_rows["qe"], after.at_rows["qe"])
    np.testing.assert_array_equal(before.at_rows["jitl/y/rmse"], after.at_rows["jitl/y/rmse"])


def test_a_champion_of_which_one_model_learned_without_dates_may_know_the_rows(round_: Round) -> None:
    dated = round_.champion.local
    assert dated is not None
    early = round_.samples.train.take(np.arange(100))
    undated = fit_local_models(round_.champion.som, replace(early, moments=None), round_.config.jitl, 0)
    assert undated is not None
    assert undated.watermarks == {"y": None}
    mixed = LocalModels({"y": dated.regressors["y"], "z": undated.regressors["y"]})
    ask_champion = partial(
        champion_candidate, dataset=round_.rows.dataset, samples=round_.samples, config=round_.config
    )
    assert ask_champion(replace(round_.champion, local=dated)).remark == ""
    assert "may know held-out rows" in ask_champion(replace(round_.champion, local=mixed)).remark


def test_a_champion_knows_rows_as_far_as_its_newest_model_does_and_up_to_that_very_time(round_: Round) -> None:
    """Of two models one has learned more: rows that it knows do not judge, the last one that it knows among them."""
    dated = round_.champion.local
    assert dated is not None
    train, heldout = round_.samples.train, round_.samples.heldout
    newest = fit_local_models(round_.champion.som, train, round_.config.jitl, 0)
    assert newest is not None
    two = LocalModels({"y": dated.regressors["y"], "z": newest.regressors["y"]})
    assert _knows_none(two, heldout)  # which begins an hour after the last row of learning
    known = replace(heldout, moments=train.moments[-1:].append(heldout.moments[1:]))
    assert not _knows_none(two, known)
    assert _knows_none(LocalModels({"y": dated.regressors["y"]}), known)


def test_a_champion_without_a_model_of_every_target_has_models_fitted_anew(round_: Round) -> None:
    samples = replace(
        round_.samples,
        train=replace(round_.samples.train, targets={**round_.samples.targets, "z": round_.samples.targets["y"]}),
        heldout=replace(
            round_.samples.heldout,
            targets=dict.fromkeys(("y", "z"), round_.samples.heldout.targets["y"]),
        ),
    )
    dataset = replace(
        round_.rows.dataset, target_names=("y", "z"), target=np.repeat(round_.rows.dataset.target, 2, axis=1)
    )
    asked = champion_candidate(round_.champion, dataset, samples, round_.config)
    assert "fitted anew" in asked.remark
    assert asked.answers is not None
    assert asked.answers["target"].unique().sort().to_list() == ["y", "z"]


def test_the_order_of_features_changes_nothing(round_: Round) -> None:
    som, scaler = round_.challenger.som, round_.challenger.scaler
    order = [2, 0, 1]
    reordered = train_som(
        round_.samples.train.samples[:, order], round_.config.som, [scaler.features[i] for i in order]
    ).som
    reordered.weights = som.weights[..., order]
    other = Scaler("standard", tuple(reordered.feature_names or ()), scaler.center[order], scaler.scale[order])
    before, after = (ask(round_, each, round_.challenger) for each in (round_.challenger, Candidate(reordered, other)))
    np.testing.assert_allclose(before.at_rows["qe"], after.at_rows["qe"], rtol=1e-5)
    assert before.values["te"] == after.values["te"]


def test_errors_of_the_targets_and_coverage_follow_from_the_answers(round_: Round) -> None:
    answers = round_.challenger.answers
    assert answers is not None
    some = Candidate(round_.challenger.som, round_.challenger.scaler, answers[::2])
    record = ask(round_, some, some)
    errors = record.at_rows["jitl/y/rmse"]
    np.testing.assert_allclose(errors[::2], ((answers["prediction"] - answers["measured"]) ** 2)[::2])
    assert np.isnan(errors[1::2]).all()
    inside = [low <= y <= high for low, y, high in answers.select("lower", "measured", "upper").rows()[::2]]
    assert record.values["jitl/y/coverage"] == pytest.approx(np.mean(inside))


def test_a_champion_that_knows_none_of_the_rows_is_asked_as_it_serves(round_: Round) -> None:
    asked = champion_candidate(round_.champion, round_.rows.dataset, round_.samples, round_.config)
    assert asked.remark == ""
    assert asked.answers is not None
    assert round_.champion.local is not None
    said = round_.champion.local.details("y", round_.samples.heldout.samples).prediction
    np.testing.assert_allclose(asked.answers["prediction"], said)


def test_a_champion_that_may_know_the_rows_has_models_fitted_anew(round_: Round) -> None:
    assert round_.champion.local is not None
    ask_champion = partial(
        champion_candidate, dataset=round_.rows.dataset, samples=round_.samples, config=round_.config
    )
    round_.champion.local.learn(round_.samples.heldout.take(np.arange(1)), round_.config.jitl)
    anew = ask_champion(round_.champion)
    assert "may know held-out rows: local models fitted anew on its map" in anew.remark
    fitted = fit_local_models(round_.champion.som, round_.samples.train, round_.config.jitl, 42)
    assert fitted is not None
    assert anew.answers is not None
    np.testing.assert_allclose(
        anew.answers["prediction"], fitted.details("y", round_.samples.heldout.samples).prediction
    )
    without = ask_champion(replace(round_.champion, local=None))
    assert without.remark.startswith("the champion has none for every target")
    assert without.answers is not None
    assert without.answers.equals(anew.answers)


@pytest.mark.parametrize(
    ("features", "missing", "problem"),
    [
        (("a", "b"), "mask", "lacks c, which data.features has"),
        (("a", "b", "c", "d"), "mask", "has d as features, which data.features lacks"),
        (("a", "b", "c"), "error", "takes no missing values"),
    ],
)
def test_a_champion_that_cannot_be_compared_is_refused(
    round_: Round, features: Any, missing: str, problem: str
) -> None:
    dataset = round_.rows.dataset
    holed = replace(dataset, features=np.where(np.arange(200)[:, None] == 7, np.nan, dataset.features))
    scaler = Scaler.identity(features)
    rows = np.random.default_rng(0).random((20, len(features)), dtype=np.float32)
    config = round_.config.som.model_copy(update={"missing": missing})
    som = train_som(rows, config, features).som
    with pytest.raises(ModelError, match=problem):
        require_comparable(MapModel(som, scaler, torch.ones(12)), round_.config, holed)


def test_the_better_of_several_is_that_by_the_metric_asked_first() -> None:
    weak, strong = Record({"qe": 2.0, "te": 0.1}), Record({"qe": 1.0, "te": 0.2})
    assert better([weak, strong], PromotionConfig()) == 1
    assert better([strong, weak], PromotionConfig()) == 0
    assert better([weak, weak], PromotionConfig()) == 0
    by_order = PromotionConfig.model_validate({"rules": [{"metric": "te"}]})
    assert better([weak, strong], by_order) == 0
    one, other = (
        Record({"jitl/a/rmse": 1.0, "jitl/b/rmse": 1.0, "qe": 1}),
        Record({"jitl/a/rmse": 1.2, "jitl/b/rmse": 0.5, "qe": 9}),
    )
    assert better([one, other], PromotionConfig()) == 1
    mostly_worse = Record({"jitl/a/rmse": 2.0, "jitl/b/rmse": 0.9, "qe": 1})  # by 100 % and -10 %: by 45 % on average
    assert better([one, mostly_worse], PromotionConfig()) == 0
    undefined = Record({"qe": float("nan")})
    assert better([weak, undefined], PromotionConfig()) == 0
