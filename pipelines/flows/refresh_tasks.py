"""Prefect's view of the steps of a refresh; apart from `tasks.py`, which loads what draws and takes a second for it."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipelines.model.local_models import LocalModels
from pipelines.refreshing import acceptance, new_rows
from pipelines.store import registry, servable
from pipelines.store.tracking import TrackedRun

fetch = task(name="fetch-model", cache_policy=NO_CACHE)(servable.fetch)
find_new_rows = task(name="find-new-rows", cache_policy=NO_CACHE)(new_rows.find_new_rows)
evaluate = task(name="evaluate-new-rows", cache_policy=NO_CACHE)(acceptance.evaluate)
learn = task(name="learn-new-rows", cache_policy=NO_CACHE)(LocalModels.learn)
refit = task(name="fit-local-models-anew", cache_policy=NO_CACHE)(LocalModels.refit)
log_model = task(name="log-model", cache_policy=NO_CACHE)(TrackedRun.model)
register = task(name="register-version", cache_policy=NO_CACHE)(registry.register)
promote = task(name="promote-version", cache_policy=NO_CACHE)(registry.promote)
