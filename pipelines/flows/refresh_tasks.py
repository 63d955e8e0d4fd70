"""Prefect's view of the steps of a refresh; apart from `tasks.py`, which loads what draws and takes a second for it."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipelines.model.local_models import LocalModels
from pipelines.refreshing import acceptance as refreshing
from pipelines.refreshing import new_rows as arrivals
from pipelines.store import registry, servable
from pipelines.store.tracking import TrackedRun

fetch = task(name="fetch-model", cache_policy=NO_CACHE)(servable.fetch)
find_arrivals = task(name="find-new-rows", cache_policy=NO_CACHE)(arrivals.find_arrivals)
judge = task(name="judge-new-rows", cache_policy=NO_CACHE)(refreshing.judge)
learn = task(name="learn-new-rows", cache_policy=NO_CACHE)(LocalModels.learn)
log_model = task(name="log-model", cache_policy=NO_CACHE)(TrackedRun.model)
register = task(name="register-version", cache_policy=NO_CACHE)(registry.register)
promote = task(name="promote-version", cache_policy=NO_CACHE)(registry.promote)
