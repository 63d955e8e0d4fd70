"""Prefect's view of the steps: plain functions under the same names, with a task name each.

No step caches: they pass arrays and maps, which Prefect would hash or pickle on every call. None is retried: reading is
local and training is seeded, so a second try fails the same way; MLflow's client retries requests on its own.
"""

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipelines.data import samples, window, window_rows
from pipelines.monitoring import assignment
from pipelines.monitoring import drift as drift_module
from pipelines.publishing import log_map as log_map_module
from pipelines.report import facts, steps
from pipelines.retraining import decision, evaluation, map_alignment
from pipelines.second_process import SecondProcess
from pipelines.store import registry
from pipelines.training import analysis, figures, fitting, local_scores, plan

inspect = task(name="inspect-rows", cache_policy=NO_CACHE)(plan.inspect)
read_rows = task(name="read-rows", cache_policy=NO_CACHE)(plan.read_rows)
prepare_samples = task(name="scale-samples", cache_policy=NO_CACHE)(samples.prepare_samples)
plan_training = task(name="plan-training", cache_policy=NO_CACHE)(plan.plan_training)
train_som = task(name="train-som", cache_policy=NO_CACHE)(fitting.train_som)
analyze = task(name="analyze-map", cache_policy=NO_CACHE)(analysis.analyze)
learn_targets = task(name="learn-targets", cache_policy=NO_CACHE)(local_scores.learn_targets)
profile_training = task(name="profile-training", cache_policy=NO_CACHE)(assignment.profile_training)
measure = task(name="measure-map", cache_policy=NO_CACHE)(analysis.measure)
flow_facts = task(name="describe-rows", cache_policy=NO_CACHE)(facts.flow_facts)
report_content = task(name="gather-report", cache_policy=NO_CACHE)(steps.report_content)
draw = task(name="draw-figures", cache_policy=NO_CACHE)(SecondProcess.finish)
log_map = task(name="log-map", cache_policy=NO_CACHE)(log_map_module.log_map)
publish = task(name="publish-version", cache_policy=NO_CACHE)(registry.publish)

choose_window = task(name="choose-window", cache_policy=NO_CACHE)(window.choose_window)
read_window = task(name="read-window", cache_policy=NO_CACHE)(window_rows.read_window)
window_samples = task(name="scale-window", cache_policy=NO_CACHE)(window_rows.window_samples)
assigned_rows = task(name="assign-rows", cache_policy=NO_CACHE)(assignment.assigned_rows)
drift = task(name="measure-drift", cache_policy=NO_CACHE)(drift_module.drift)
align_to = task(name="align-to-champion", cache_policy=NO_CACHE)(map_alignment.align_to)
match_labels = task(name="match-cluster-labels", cache_policy=NO_CACHE)(map_alignment.match_labels)
champion_candidate = task(name="ask-champion", cache_policy=NO_CACHE)(evaluation.champion_candidate)
evaluate = task(name="evaluate-candidate", cache_policy=NO_CACHE)(evaluation.evaluate)
decide = task(name="decide", cache_policy=NO_CACHE)(decision.decide)
draw_u_matrices = task(name="draw-u-matrices", cache_policy=NO_CACHE)(figures.draw_u_matrices)
