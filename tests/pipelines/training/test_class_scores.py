import numpy as np
import polars as pl
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss

from pipelines.data.classes import classes_of
from pipelines.data.samples import Labelled, Samples
from pipelines.data.scaling import Scaler
from pipelines.model.local_models import fit_local_models
from pipelines.settings.sections import JITLConfig
from pipelines.training.class_baselines import boosted_shares, logistic_shares, neighbor_shares
from pipelines.training.class_scores import calibrated, confusion, given_to, losses, said_to
from pipelines.training.local_scores import LocalResults, learn_targets
from somlib import SOM
from somlib.jitl.pool import calibration_error
from tests.pipelines.model.test_local_models import make_som, rows

PURE = JITLConfig(experts="pure")


def labelled(n: int = 240, first: int = 0) -> Labelled:
    """Rows with a class of three by `y`, missing in every eleventh, and with `y` itself."""
    part = rows(n, first)
    names = np.array(["high", "low", "mid"])
    codes = np.digitize(part.targets["y"], [-0.5, 0.5])
    codes = np.array([1.0, 2.0, 0.0])[codes]
    codes[::11] = np.nan
    targets = {"grade": codes, "y": part.targets["y"]}
    return Labelled(part.samples, targets, part.moments, part.numbers, {"grade": classes_of(names)})


@pytest.fixture(scope="module")
def som() -> SOM:
    return make_som()


@pytest.fixture(scope="module")
def local(som: SOM) -> LocalResults:
    samples = Samples(labelled(), labelled(120, first=240), Scaler.identity(("a", "b")))
    return learn_targets(som, samples, PURE, seed=1)


def test_a_number_and_a_class_are_scored_each_in_their_own_way(local: LocalResults) -> None:
    assert list(local.scores) == ["y"]
    assert list(local.class_scores) == ["grade"]
    assert {"jitl/y/rmse", "jitl/grade/log_loss", "jitl/grade/log_loss_boosting"} <= set(local.metrics)
    assert local.answers is not None
    assert local.answers["target"].unique().to_list() == ["y"]


def test_scores_are_those_of_scikit_learn(som: SOM, local: LocalResults) -> None:
    answers, asked = local.class_answers, labelled(120, first=240)
    assert answers is not None
    asked = asked.take(asked.known("grade"))
    truth = asked.values("grade")
    models = fit_local_models(som, labelled(), PURE, seed=1)
    assert models is not None
    details = models.class_details("grade", asked.samples)
    scores = local.class_scores["grade"]
    assert answers["measured"].to_list() == truth.tolist()
    assert answers["prediction"].to_list() == details.prediction.tolist()
    assert scores.jitl.log_loss == pytest.approx(log_loss(truth, details.probability))
    assert scores.jitl.accuracy == pytest.approx(np.mean(truth == details.prediction))
    assert scores.jitl.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, details.prediction))
    code = np.searchsorted(["high", "low", "mid"], truth)
    assert scores.calibration_error == pytest.approx(calibration_error(details.probability, code))
    learned = labelled()
    learned = learned.take(learned.known("grade"))
    for name, shares in (
        ("logistic", logistic_shares), ("neighbors", neighbor_shares), ("boosting", boosted_shares)
    ):  # fmt: skip
        said = shares(learned.samples, learned.values("grade"), asked.samples)
        assert scores.rivals[name].log_loss == pytest.approx(log_loss(truth, said))
    assert (scores.rows, scores.learned) == (len(truth), len(learned))


def test_local_models_do_better_than_guessing_and_know_the_held_out_rows_in_the_end(local: LocalResults) -> None:
    assert local.class_scores["grade"].jitl.log_loss < 0.6 < np.log(3)
    assert local.models is not None
    assert len(local.models.regressors["grade"].index_) == 218 + 109


def test_the_confusion_is_that_of_scikit_learn(local: LocalResults) -> None:
    answers = local.class_answers
    assert answers is not None
    names = ["high", "low", "mid"]
    expected = confusion_matrix(answers["measured"], answers["prediction"], labels=names)
    found = {(true, named): count for true, named, count in confusion(answers).iter_rows()}
    assert [[found.get((true, named), 0) for named in names] for true in names] == expected.tolist()


def test_a_class_that_a_model_does_not_know_was_given_nothing() -> None:
    given = given_to(np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]), np.array(["a", "c"]), np.array(["c", "b", "z"]))
    np.testing.assert_array_equal(given, [0.1, 0.0, 0.0])
    np.testing.assert_allclose(losses(given), [-np.log(0.1), -np.log(1e-15), -np.log(1e-15)])


def test_the_calibration_of_named_classes_needs_no_other_probabilities() -> None:
    rng = np.random.default_rng(0)
    probability = rng.dirichlet([1, 1, 1], 200)
    code = rng.integers(0, 3, 200)
    right = probability.argmax(axis=1) == code
    assert calibrated(probability.max(axis=1), right) == pytest.approx(calibration_error(probability, code))


def test_neighbors_are_counted_with_a_sample_more(som: SOM) -> None:
    samples = np.array([[0.0], [1.0], [10.0]])
    found = neighbor_shares(samples, np.array(["a", "a", "b"]), np.array([[0.0]]))
    np.testing.assert_allclose(found, [[(2 + 2 / 3) / 4, (1 + 1 / 3) / 4]])


def test_a_single_class_needs_no_model() -> None:
    for shares in (logistic_shares, boosted_shares):
        np.testing.assert_array_equal(shares(np.zeros((3, 1)), np.full(3, "only"), np.zeros((2, 1))), [[1.0], [1.0]])


def test_labels_that_came_later_are_answered_and_learned(som: SOM) -> None:
    models = fit_local_models(som, labelled(), PURE, seed=1)
    assert models is not None
    later = labelled(60, first=500)
    names = ("high", "low", "mid", "new")
    codes = np.where(np.arange(60) % 5 == 0, 3.0, later.targets["grade"])
    classes = {"grade": classes_of(np.array(names))}
    later = Labelled(later.samples, {**later.targets, "grade": codes}, later.moments, later.numbers, classes)
    asked = later.take(later.known("grade"))
    assert said_to(models, "grade", asked).filter(pl.col("measured") == "new")["given"].unique().to_list() == [0.0]
    models.learn(later, PURE)
    assert models.classes["grade"].names == names
    assert list(models.outputs)[:2] == ["prediction_grade", "probability_grade"]
    assert "probability_grade=new" in models.outputs
