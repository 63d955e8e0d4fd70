"""Prefect's view of the steps: plain functions under the same names, with a task name each.

No step caches: they pass arrays and maps, which Prefect would hash or pickle on every call. None is retried: reading is
local and training is seeded, so a second try fails the same way; MLflow's client retries requests on its own.
"""

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipelines import data, report
from pipelines.data import samples, window, window_rows
from pipelines.monitoring import assignment as placing
from pipelines.monitoring import drift as drifting
from pipelines.publishing import log_map as results
from pipelines.retraining import decision
from pipelines.retraining import evaluation as contest
from pipelines.retraining import map_alignment as continuity
from pipelines.store import registry
from pipelines.training import analysis, figures, local_scores, plan
from pipelines.training import fitting as training

inspect = task(name="inspect-rows", cache_policy=NO_CACHE)(plan.inspect)
read_dataset = task(name="read-rows", cache_policy=NO_CACHE)(data.read_dataset)
prepare_samples = task(name="scale-samples", cache_policy=NO_CACHE)(samples.prepare_samples)
plan_training = task(name="plan-training", cache_policy=NO_CACHE)(plan.plan_training)
train_som = task(name="train-som", cache_policy=NO_CACHE)(training.train_som)
analyze = task(name="analyze-map", cache_policy=NO_CACHE)(analysis.analyze)
learn_targets = task(name="learn-targets", cache_policy=NO_CACHE)(local_scores.learn_targets)
profile_training = task(name="profile-training", cache_policy=NO_CACHE)(placing.profile_training)
measure = task(name="measure-map", cache_policy=NO_CACHE)(analysis.measure)
draw_figures = task(name="draw-figures", cache_policy=NO_CACHE)(figures.draw_figures)
flow_facts = task(name="describe-rows", cache_policy=NO_CACHE)(report.flow_facts)
write_report = task(name="write-report", cache_policy=NO_CACHE)(report.write_report)
log_map = task(name="log-map", cache_policy=NO_CACHE)(results.log_map)
publish = task(name="publish-version", cache_policy=NO_CACHE)(registry.publish)

choose_window = task(name="choose-window", cache_policy=NO_CACHE)(window.choose_window)
read_window = task(name="read-window", cache_policy=NO_CACHE)(window_rows.read_window)
window_samples = task(name="scale-window", cache_policy=NO_CACHE)(window_rows.window_samples)
placed_rows = task(name="place-rows", cache_policy=NO_CACHE)(placing.placed_rows)
drift = task(name="judge-drift", cache_policy=NO_CACHE)(drifting.drift)
turned_like = task(name="turn-like-champion", cache_policy=NO_CACHE)(continuity.turned_like)
renumbered_like = task(name="number-like-champion", cache_policy=NO_CACHE)(continuity.renumbered_like)
defender = task(name="ask-champion", cache_policy=NO_CACHE)(contest.defender)
measured = task(name="measure-contender", cache_policy=NO_CACHE)(contest.measured)
decide = task(name="decide", cache_policy=NO_CACHE)(decision.decide)
draw_u_matrices = task(name="draw-u-matrices", cache_policy=NO_CACHE)(figures.draw_u_matrices)
