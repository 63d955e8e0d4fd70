"""What a verdict says, word for word."""

from dataclasses import replace

import pytest

from pipelines.retraining.verdict import Comparison, Verdict, amount, asked, bounds, compared, outcome, sentence
from pipelines.settings.promotion import PromotionLimit, PromotionRule


def test_two_values_are_told_with_their_difference_and_how_sure_it_is() -> None:
    line = replace(compared("qe", 1.67, 1.62), interval=(-0.042, -0.019))
    assert sentence(line, "", 0.95) == "qe 1.62 is 3 % lower than the champion's 1.67 (95 % interval 1.9 to 4.2 %)"
    line = replace(compared("jitl/temp/rmse", 2.0, 2.1), interval=(-0.01, 0.11))
    assert sentence(line, "°C", 0.975) == (
        "jitl/temp/rmse 2.1 °C is 5 % higher than the champion's 2 °C (97.5 % interval -1 to 11 %)"
    )


def test_equal_values_and_values_beside_zero_are_told_without_a_share() -> None:
    assert sentence(compared("te", 0.1, 0.1), "", None) == "te 0.1 is equal to the champion's 0.1"
    assert sentence(compared("te", 0.0, 0.2), "", None) == "te 0.2 is higher than the champion's 0"


def test_an_unknown_value_cannot_be_told() -> None:
    with pytest.raises(ValueError, match=r"te must be known of both versions, got None and 0\.1"):
        sentence(compared("te", None, 0.1), "", None)


def test_the_change_is_a_share_of_the_size_of_a_negative_value() -> None:
    assert compared("r2", -0.5, 0.25) == Comparison("r2", -0.5, 0.25, 0.75, 1.5)


@pytest.mark.parametrize(
    ("required", "gain", "holds", "words"),
    [
        ("improve", 0.05, True, "better by at least the 2 % asked"),
        ("improve", 0.05, False, "not surely better by the 2 % asked"),
        ("improve", 0.01, False, "not better by the 2 % asked"),
        ("not_worse", -0.01, True, "not worse by more than the 2 % allowed"),
        ("not_worse", -0.01, False, "maybe worse by more than the 2 % allowed"),
        ("not_worse", -0.05, False, "worse by more than the 2 % allowed"),
    ],
)
def test_an_outcome_tells_sure_from_maybe(required: str, gain: float, holds: bool, words: str) -> None:
    rule = PromotionRule.model_validate({"metric": "qe", "required": required, "min_margin": 0.02})
    assert outcome(rule, gain, holds) == words


def test_what_is_asked_is_written_out() -> None:
    assert asked(PromotionRule(metric="qe")) == "lower is better: better by at least 1 %"
    assert asked(PromotionRule(metric="jitl/*/r2")) == "higher is better: better by at least 1 %, one of jitl/*/r2"
    assert asked(PromotionRule(metric="qe", required="not_worse")) == "lower is better: worse by no more than 1 %"
    assert bounds(PromotionLimit(metric="te", highest=0.2)) == "at most 0.2"
    assert bounds(PromotionLimit(metric="c", lowest=0.8)) == "at least 0.8"
    assert bounds(PromotionLimit(metric="c", lowest=0.8, highest=0.97)) == "from 0.8 to 0.97"
    assert amount(1.23456, "°C") == "1.235 °C"


def test_the_table_leaves_empty_what_is_not_known() -> None:
    (line,) = Verdict(True, ("why",), (Comparison("stability", None, 0.8, None, None),)).table()
    assert line == {
        "metric": "stability", "champion": "", "challenger": "0.8", "difference": "", "change": "", "interval": "",
        "rule": "", "holds": "",
    }  # fmt: skip


def test_a_gain_of_just_the_margin_that_is_not_sure_is_told_as_such() -> None:
    rule = PromotionRule(metric="qe", min_margin=0.01)
    assert outcome(rule, 0.01, holds=False) == "not surely better by the 1 % asked"
    assert outcome(rule, 0.0099, holds=False) == "not better by the 1 % asked"
