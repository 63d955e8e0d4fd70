import numpy as np
import polars as pl
import pytest

from pipelines.data.samples import Labelled
from pipelines.errors import ConfigError
from pipelines.model.local_plan import LocalPlan, learnable, leaves_out, plan_local_models, require_dates
from pipelines.settings.sections import JITLConfig
from tests.pipelines.model.test_local_models import rows, with_gaps


def test_the_newest_rows_are_learned_whatever_their_order() -> None:
    order = np.random.default_rng(3).permutation(1_500)
    shuffled = rows(1_500, y=with_gaps(rows(1_500).targets["y"], every=5)).take(order)
    kept = learnable(shuffled, "y", JITLConfig(max_rows=1_000))
    expected = [i for i in range(1_500) if i % 5][-1_000:]
    assert sorted(kept.numbers.tolist()) == expected
    recent = learnable(shuffled, "y", JITLConfig(keep_days=2))
    assert sorted(recent.numbers.tolist()) == [i for i in range(1_499 - 48, 1_500) if i % 5]


def test_without_times_rows_are_spread_over_all() -> None:
    kept = learnable(rows(3_000, timed=False), "y", JITLConfig(max_rows=1_000)).numbers
    assert (len(kept), kept[0], kept[-1]) == (1_000, 0, 2_999)
    assert set(np.diff(kept)) <= {2, 3, 4}


def test_many_features_on_many_neurons_are_left_out_unless_asked_for() -> None:
    auto, wanted = JITLConfig(), JITLConfig(enabled=True)
    assert not leaves_out(auto, neurons=375, features=200)
    assert leaves_out(auto, neurons=375, features=300)
    assert not leaves_out(wanted, neurons=375, features=300)
    wide = Labelled(np.zeros((1, 300), np.float32), {"y": np.zeros(1)}, None, np.arange(1))
    (told,) = plan_local_models(wide, 375, auto).reasons
    assert told.startswith(
        "no local models: 300 features on 375 neurons would take up to 821 MB a target; jitl.enabled=true"
    )


def test_targets_with_few_rows_get_no_model_and_it_is_said() -> None:
    rare = np.full(240, np.nan)
    rare[:49] = 1.0
    assert plan_local_models(rows(rare=rare), 12, JITLConfig()) == LocalPlan(
        {"y": 240}, ("no local model of rare: 49 training rows have a value, it takes at least 50",)
    )


def test_days_are_counted_on_dates_only() -> None:
    config = JITLConfig(keep_days=3)
    require_dates(config, pl.Date())
    require_dates(JITLConfig(), pl.Int64())
    with pytest.raises(ConfigError, match=r"jitl\.keep_days needs dates or times in data\.time, got Int64"):
        require_dates(config, pl.Int64())
