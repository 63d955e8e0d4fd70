"""The policy of promotion, read as a document: when a challenger takes the champion's place, and when it does not."""

import math
import re
from typing import Any

import numpy as np
import pytest

from pipelines.retraining.decision import Record, decide, matching
from pipelines.retraining.verdict import Comparison, Verdict
from pipelines.settings.promotion import PromotionConfig

N = 600
NAN = float("nan")
DISTANCES = np.random.default_rng(0).gamma(9, 0.2, N)  # of the champion, at each row
ERRORS = np.random.default_rng(1).normal(0, 2, N)
DEFAULT = PromotionConfig()


def noise(seed: int, size: float = 0.2) -> Any:
    return np.random.default_rng(seed).normal(0, size, N)


def a_map(distances: Any, te: float = 0.1, **metrics: float) -> Record:
    return Record({"te": te, **metrics}, rows={"qe": distances})


def a_soft_sensor(errors: Any, distances: Any = DISTANCES, coverage: float = 0.9, other: Any = ERRORS) -> Record:
    return Record(
        {"te": 0.1, "jitl/temp/coverage": coverage},
        rows={"qe": distances, "jitl/temp/rmse": errors**2, "jitl/humid/rmse": other**2},
        units={"jitl/temp/rmse": "°C"},
    )


def policy(**settings: Any) -> PromotionConfig:
    return PromotionConfig.model_validate(settings)


def verdict(champion: Record | None, challenger: Record, config: PromotionConfig = DEFAULT) -> Verdict:
    found = decide(champion, challenger, config)
    assert found.reasons
    return found


def refusal(champion: Record | None, challenger: Record, config: PromotionConfig = DEFAULT) -> str:
    """The only reason of a refusal."""
    found = verdict(champion, challenger, config)
    assert not found.promote
    (reason,) = found.reasons
    return reason


# ---------------------------------------------------------------- maps without targets


def test_a_map_that_is_surely_finer_is_promoted() -> None:
    found = verdict(a_map(DISTANCES), a_map(0.95 * DISTANCES + noise(2)))
    assert found.promote
    qe, te = found.reasons
    assert re.fullmatch(
        r"qe 1\.6\d* is 5\.\d % lower than the champion's 1\.7\d* \(95 % interval 4\.\d to 6\.\d %\): "
        r"better by at least the 1 % asked",
        qe,
    )
    assert te == "te must be at most 0.2, which it is at 0.1"


def test_noise_alone_does_not_promote() -> None:
    promoted = [verdict(a_map(DISTANCES + noise(s)), a_map(DISTANCES + noise(s + 100))).promote for s in range(25)]
    assert sum(promoted) == 0  # the margin of 1 % comes on top of the 2.5 % of chance


def test_noise_that_lasts_for_hours_does_not_promote_either() -> None:
    slow = [np.convolve(noise(s, 1.0), np.ones(24) / 24, "same") for s in range(25)]
    promoted = [verdict(a_map(DISTANCES), a_map(DISTANCES + gain)).promote for gain in slow]
    seeming = [DISTANCES.mean() > 1.01 * (DISTANCES + gain).mean() for gain in slow]
    assert sum(promoted) <= 2 < sum(seeming)


def test_a_small_gain_that_is_sure_is_not_enough() -> None:
    reason = refusal(a_map(DISTANCES), a_map(0.995 * DISTANCES))
    assert "is 0.5 % lower than the champion's" in reason
    assert reason.endswith("not better by the 1 % asked")


def test_a_gain_that_may_be_chance_is_not_enough() -> None:
    reason = refusal(a_map(DISTANCES), a_map(0.97 * DISTANCES + noise(4, 1.0)))
    assert reason.endswith("not surely better by the 1 % asked")


def test_a_map_that_is_worse_is_told_so_in_numbers() -> None:
    reason = refusal(a_map(DISTANCES), a_map(1.1 * DISTANCES))
    mean = DISTANCES.mean()
    assert reason == (
        f"qe {1.1 * mean:.4g} is 10 % higher than the champion's {mean:.4g} (95 % interval 10 to 10 %): "
        "not better by the 1 % asked"
    )


def test_a_folded_map_is_refused_however_fine_it_is() -> None:
    assert refusal(a_map(DISTANCES), a_map(0.5 * DISTANCES, te=0.3)) == "te must be at most 0.2, which it is not at 0.3"


# ---------------------------------------------------------------- maps with targets


def test_with_targets_one_must_be_predicted_better_and_the_map_may_stay_as_it_is() -> None:
    found = verdict(a_soft_sensor(ERRORS), a_soft_sensor(0.9 * ERRORS))
    assert found.promote
    assert "jitl/temp/rmse" in found.reasons[0]
    assert "°C is 10 % lower than the champion's" in found.reasons[0]


def test_a_finer_map_that_predicts_no_better_is_refused() -> None:
    found = verdict(a_soft_sensor(ERRORS), a_soft_sensor(ERRORS, 0.8 * DISTANCES))
    assert not found.promote
    assert all("not better by the 1 % asked" in reason for reason in found.reasons)


def test_a_gain_in_one_target_does_not_pay_for_a_loss_in_another() -> None:
    reason = refusal(a_soft_sensor(ERRORS), a_soft_sensor(0.8 * ERRORS, other=1.2 * ERRORS))
    assert reason.startswith("jitl/humid/rmse")
    assert reason.endswith("worse by more than the 5 % allowed")


def test_a_gain_in_prediction_does_not_pay_for_a_map_that_is_a_tenth_coarser() -> None:
    reason = refusal(a_soft_sensor(ERRORS), a_soft_sensor(0.8 * ERRORS, 1.2 * DISTANCES))
    assert reason.startswith("qe ")
    assert reason.endswith("worse by more than the 10 % allowed")


@pytest.mark.parametrize("coverage", [0.7, 0.99])
def test_intervals_that_hold_too_few_or_too_many_targets_are_refused(coverage: float) -> None:
    reason = refusal(a_soft_sensor(ERRORS), a_soft_sensor(0.8 * ERRORS, coverage=coverage))
    assert reason == f"jitl/temp/coverage must be from 0.8 to 0.97, which it is not at {coverage}"


def test_among_many_targets_each_must_be_surer() -> None:
    rules = {"rules": [{"metric": "jitl/*/rmse", "min_margin": 0}], "limits": []}
    champion, challenger = a_soft_sensor(ERRORS), a_soft_sensor(0.9 * ERRORS)
    assert "(97.5 % interval" in verdict(champion, challenger, policy(**rules)).reasons[0]
    rules["rules"][0]["metric"] = "jitl/temp/rmse"  # type: ignore[index]  # a list of mappings
    assert "(95 % interval" in verdict(champion, challenger, policy(**rules)).reasons[0]


# ---------------------------------------------------------------- the first version


def test_the_first_version_needs_no_more_than_its_limits() -> None:
    assert verdict(None, a_map(DISTANCES)).reasons[0] == "there is no champion yet"
    assert verdict(None, a_map(DISTANCES)).promote
    assert refusal(None, a_map(DISTANCES, te=0.5)) == "te must be at most 0.2, which it is not at 0.5"


def test_the_first_version_can_be_left_to_a_person() -> None:
    reason = refusal(None, a_map(DISTANCES), policy(first=False))
    assert reason == "there is no champion to compare with, and promotion.first is false"


# ---------------------------------------------------------------- what cannot be compared


@pytest.mark.parametrize(
    ("champion", "challenger", "reason"),
    [
        (Record({"te": 0.1}), a_map(DISTANCES), "qe was not measured of the champion"),
        (a_map(DISTANCES), Record({"te": 0.1}), "qe was not measured of the challenger"),
        (a_map(DISTANCES), Record({"te": 0.1, "qe": NAN}), "qe of the challenger must be finite, got nan"),
        (a_map(DISTANCES), Record({"te": 0.1, "qe": math.inf}), "qe of the challenger must be finite, got inf"),
        (a_map(DISTANCES), a_map(0.5 * DISTANCES, te=NAN), "te of the challenger must be finite, got nan"),
        (a_map(DISTANCES), Record(rows={"qe": 0.5 * DISTANCES}), "te was not measured of the challenger"),
        (Record({"te": 0.1}), Record({"te": 0.1}), "qe was measured of neither version, so it cannot be compared"),
        (
            a_map(DISTANCES),
            a_map(np.where(np.arange(N) < 3, NAN, 0.5 * DISTANCES)),
            "qe of the challenger is missing at 3 of 600 rows at which the other version has it",
        ),
        (
            a_map(DISTANCES[:24]),
            a_map(0.5 * DISTANCES[:24]),
            "qe was measured on 24 rows, too few to rule out chance: at least 50 are needed",
        ),
        (
            a_map(DISTANCES),
            Record({"te": 0.1, "qe": 1.0}),
            "qe has no values by row to rule out chance by: record them, or set confidence: null",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_and_named(champion: Record, challenger: Record, reason: str) -> None:
    assert refusal(champion, challenger) == reason


def test_rows_that_neither_version_has_do_not_count() -> None:
    gap = np.where(np.arange(N) % 7 == 0, NAN, DISTANCES)
    assert verdict(a_map(gap), a_map(0.9 * gap)).promote


def test_a_target_that_the_challenger_lost_is_refused_even_if_another_is_better() -> None:
    challenger = Record({"te": 0.1}, rows={"qe": DISTANCES, "jitl/temp/rmse": (0.5 * ERRORS) ** 2})
    found = verdict(a_soft_sensor(ERRORS), challenger)
    assert not found.promote
    assert set(found.reasons) == {
        "jitl/humid/rmse was not measured of the challenger",
        "jitl/temp/coverage was not measured of the challenger",
    }


def test_versions_measured_on_different_rows_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"rows\['qe'\] must be of the same rows for both versions, got 600 of the"):
        decide(a_map(DISTANCES), a_map(DISTANCES[1:]), DEFAULT)


# ---------------------------------------------------------------- rules of one's own


def test_an_empty_policy_promotes_whatever_comes() -> None:
    found = verdict(a_map(DISTANCES), a_map(9 * DISTANCES), policy(rules=[], limits=[]))
    assert found.promote
    assert found.reasons == ("nothing is asked of it",)


def test_without_confidence_the_values_alone_decide() -> None:
    rules = policy(rules=[{"metric": "te", "confidence": None, "min_margin": 0.1}], limits=[])
    assert verdict(Record({"te": 0.1}), Record({"te": 0.08}), rules).reasons == (
        "te 0.08 is 20 % lower than the champion's 0.1: better by at least the 10 % asked",
    )
    assert not verdict(Record({"te": 0.1}), Record({"te": 0.095}), rules).promote


def test_equal_is_no_improvement_even_without_a_margin() -> None:
    rules = policy(rules=[{"metric": "te", "confidence": None, "min_margin": 0}], limits=[])
    assert not verdict(Record({"te": 0.1}), Record({"te": 0.1}), rules).promote


def test_higher_is_better_where_the_metric_says_so() -> None:
    rules = policy(rules=[{"metric": "jitl/temp/r2", "confidence": None, "min_margin": 0.05}], limits=[])
    assert verdict(Record({"jitl/temp/r2": 0.8}), Record({"jitl/temp/r2": 0.9}), rules).promote
    assert not verdict(Record({"jitl/temp/r2": 0.9}), Record({"jitl/temp/r2": 0.8}), rules).promote


def test_a_champion_without_any_error_can_be_equaled_but_not_beaten() -> None:
    improve = policy(rules=[{"metric": "te"}], limits=[])
    not_worse = policy(rules=[{"metric": "te", "required": "not_worse"}], limits=[])
    perfect, spoilt = np.zeros(N), (np.arange(N) % 5 == 0).astype(float)
    assert not verdict(Record(rows={"te": perfect}), Record(rows={"te": perfect}), improve).promote
    assert verdict(Record(rows={"te": perfect}), Record(rows={"te": perfect}), not_worse).promote
    assert refusal(Record(rows={"te": perfect}), Record(rows={"te": spoilt}), not_worse) == (
        "te 0.2 is higher than the champion's 0: worse by more than the 1 % allowed"
    )


def test_a_limit_without_one_end_is_open_there() -> None:
    limits = policy(limits=[{"metric": "stability", "lowest": 0.6}])
    assert verdict(None, Record({"stability": 0.6}), limits).promote
    assert refusal(None, Record({"stability": 0.5}), limits) == (
        "stability must be at least 0.6, which it is not at 0.5"
    )


# ---------------------------------------------------------------- the table


def test_the_table_has_a_line_for_every_metric_of_either_version() -> None:
    found = verdict(a_map(DISTANCES, seen=1.0), a_map(0.9 * DISTANCES, stability=0.8))
    lines = {comparison.metric: comparison for comparison in found.comparisons}
    assert lines["seen"] == Comparison("seen", 1.0, None, None, None)
    assert lines["stability"] == Comparison("stability", None, 0.8, None, None)
    assert lines["te"] == Comparison("te", 0.1, 0.1, 0.0, 0.0, rule="at most 0.2", holds=True)
    qe = lines["qe"]
    assert qe.champion == DISTANCES.mean()
    assert qe.change == pytest.approx(-0.1)
    assert qe.interval == pytest.approx((-0.1, -0.1))
    assert found.table()[0] == {
        "metric": "qe",
        "champion": f"{DISTANCES.mean():.4g}",
        "challenger": f"{0.9 * DISTANCES.mean():.4g}",
        "difference": f"{-0.1 * DISTANCES.mean():.4g}",
        "change": "-10 %",
        "interval": "-10 % to -10 %",
        "rule": "lower is better: better by at least 1 %",
        "holds": "yes",
    }


def test_a_root_mean_square_is_the_root_of_the_mean_of_its_rows() -> None:
    assert Record(rows={"jitl/temp/rmse": [9.0, 16.0, NAN]}).values == {"jitl/temp/rmse": math.sqrt(12.5)}
    assert math.isnan(Record(rows={"qe": [NAN]}).values["qe"])


@pytest.mark.parametrize(
    ("metrics", "rows", "message"),
    [
        ({"qe": 1.0}, {"qe": [1.0]}, "a metric must stand in metrics or in rows, got 'qe' in both"),
        ({}, {"qe": [[1.0]]}, r"rows\['qe'\] must be of shape \(n,\), got \(1, 1\)"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(metrics: Any, rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Record(metrics, rows)


def test_a_record_keeps_its_rows_when_the_callers_array_changes() -> None:
    rows = np.ones(3)
    record = Record(rows={"qe": rows})
    rows[:] = 5
    assert record.values == {"qe": 1.0}


# ---------------------------------------------------------------- on the edge


def test_only_rules_that_one_metric_can_fulfil_share_their_doubt_among_metrics() -> None:
    before, after = a_soft_sensor(ERRORS), a_soft_sensor(0.97 * ERRORS + noise(5), other=ERRORS + noise(6))
    alone = Record(rows={"jitl/temp/rmse": before.rows["jitl/temp/rmse"]})
    beside = Record(rows={"jitl/temp/rmse": after.rows["jitl/temp/rmse"]})

    def interval(champion: Record, challenger: Record, required: str) -> Any:
        rules = policy(rules=[{"metric": "jitl/*/rmse", "required": required}], limits=[])
        found = decide(champion, challenger, rules).comparisons
        return next(line.interval for line in found if line.metric == "jitl/temp/rmse")

    assert interval(before, after, "not_worse") == interval(alone, beside, "not_worse")
    one, of_two = interval(alone, beside, "improve"), interval(before, after, "improve")
    assert of_two[0] < one[0] < one[1] < of_two[1]


def test_not_worse_must_be_sure_of_it() -> None:
    rules = policy(rules=[{"metric": "qe", "required": "not_worse", "min_margin": 0.01}], limits=[])
    swings = noise(7, 2.0)
    reason = refusal(a_map(DISTANCES), a_map(DISTANCES + swings - swings.mean()), rules)
    assert "maybe worse by more than the 1 % allowed" in reason


def test_a_metric_that_cannot_be_judged_forbids_even_where_another_one_improves() -> None:
    rules = policy(rules=[{"metric": "jitl/*/rmse"}], limits=[])
    champion = a_soft_sensor(ERRORS)
    challenger = Record({"te": 0.1}, rows={"qe": DISTANCES, "jitl/temp/rmse": (0.5 * ERRORS) ** 2})
    assert refusal(champion, challenger, rules) == "jitl/humid/rmse was not measured of the challenger"


def test_a_limit_may_be_reached_and_not_passed() -> None:
    rules = policy(limits=[{"metric": "te", "lowest": 0.1, "highest": 0.2}])
    for te, holds in ((0.1, True), (0.2, True), (0.0999, False), (0.2001, False)):
        assert decide(None, Record({"te": te}), rules).promote is holds


@pytest.mark.parametrize(("rows", "judged"), [(50, True), (49, False)])
def test_fifty_rows_are_enough_to_judge(rows: int, judged: bool) -> None:
    rules = policy(limits=[])
    found = decide(a_map(DISTANCES[:rows]), a_map(0.5 * DISTANCES[:rows]), rules)
    assert found.promote is judged


# ---------------------------------------------------------------- classes


def test_classes_are_decided_on_by_their_log_loss() -> None:
    rng = np.random.default_rng(0)
    losses = rng.random(400)
    before = Record({"te": 0.1}, {"qe": np.ones(400), "jitl/kind/log_loss": losses})
    better, same = (
        Record({"te": 0.1}, {"qe": np.ones(400), "jitl/kind/log_loss": losses * share}) for share in (0.8, 1.0)
    )
    assert decide(before, better, PromotionConfig()).promote
    verdict = decide(before, same, PromotionConfig())
    assert not verdict.promote
    assert "jitl/kind/log_loss" in verdict.reasons[0]


def test_of_numbers_and_classes_one_must_improve_and_none_get_worse() -> None:
    rng = np.random.default_rng(0)
    squares, losses = rng.random(400), rng.random(400)

    def record(number: float, kind: float) -> Record:
        rows = {"qe": np.ones(400), "jitl/y/rmse": squares * number**2, "jitl/kind/log_loss": losses * kind}
        return Record({"te": 0.1, "jitl/y/coverage": 0.9}, rows)

    before = record(1, 1)
    assert decide(before, record(1, 0.8), PromotionConfig()).promote
    assert decide(before, record(0.8, 1), PromotionConfig()).promote
    assert not decide(before, record(0.8, 1.2), PromotionConfig()).promote
    assert not decide(before, record(1.2, 0.8), PromotionConfig()).promote


def test_patterns_may_be_several() -> None:
    assert matching("jitl/*/rmse|qe", ["te", "qe", "jitl/a/rmse", "jitl/a/mae"]) == ["qe", "jitl/a/rmse"]
