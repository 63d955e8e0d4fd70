"""What becomes of a challenger that is registered and evaluated: promoted or not, on record, shown.

All of it may be done again after an interruption, with the same result.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.errors import ModelBusyError
from pipelines.flows.approval import asked_for_approval
from pipelines.flows.prefect_run import publish_figure, publish_summary
from pipelines.operations.stale import evidence, why_dead
from pipelines.progress import tell
from pipelines.retraining.retrain_result import AWAITED, KEPT, PROMOTED, Evaluation, RetrainResult
from pipelines.serving.smoke import smoke_test
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry
from pipelines.store.names import DRIFT_TAG, VERDICT_REASON_TAG, VERDICT_TAG
from pipelines.store.run_life import reopened_run
from pipelines.store.run_place import place_of
from pipelines.store.tracking import REASON_CHARACTERS, TrackedRun
from pipelines.store.versions import Version
from pipelines.training.figures import U_MATRICES

FIGURES = "figures"
OTHERS_SECONDS, POLL_SECONDS = 60.0, 0.5  # for another process that is publishing the same


def finish_publication(
    config: PipelineConfig, run: TrackedRun, version: Version, evaluation: Evaluation
) -> RetrainResult:
    """Promote the challenger or keep the champion, as the evaluation says."""
    outcome, reason = _act(config, version, evaluation)
    registry.annotate(version, _verdict_tags(outcome, reason))
    return ended(config, run, version, evaluation, outcome, reason)


def _act(config: PipelineConfig, version: Version, evaluation: Evaluation) -> tuple[str, str]:
    """Move the alias, if the challenger is better and nobody has to be asked, or says yes; what came of it, and why."""
    if not evaluation.verdict.promote:
        return KEPT, evaluation.reason
    reason = evaluation.reason
    if config.promotion.approval and evaluation.champion is not None:
        answer = asked_for_approval(_question(version, evaluation), config.retrain.approval_hours)
        if answer.promote is None:
            return AWAITED, f"{reason}; {answer.reason}"
        if not answer.promote:
            return KEPT, f"not approved{f': {answer.reason}' if answer.reason else ''}; evaluated: {reason}"
        reason += f"; approved{f': {answer.reason}' if answer.reason else ''}"
    short = reason[:REASON_CHARACTERS]
    registry.promote(version.name, version.version, expected=evaluation.champion, check=smoke_test, reason=short)
    return PROMOTED, reason


def _question(version: Version, evaluation: Evaluation) -> str:
    return f"Shall {version.name} version {version.version} serve?\n\n{evaluation.markdown()}"


def _verdict_tags(outcome: str, reason: str) -> dict[str, str]:
    return {VERDICT_TAG: outcome, VERDICT_REASON_TAG: reason[:REASON_CHARACTERS]}


def ended(
    config: PipelineConfig,
    run: TrackedRun,
    version: Version | None,
    evaluation: Evaluation | None,
    outcome: str,
    reason: str,
) -> RetrainResult:
    """The result, on record in the run, and shown in Prefect."""
    run.tags(_verdict_tags(outcome, reason))
    result = _result(config, run, version, evaluation)
    publish_summary(f"som-retrain-{config.name}", result.markdown())
    with TemporaryDirectory() as folder:
        run.fetch([FIGURES], Path(folder))
        if (picture := Path(folder) / FIGURES / U_MATRICES).is_file():
            publish_figure(f"som-retrain-{config.name}-maps", picture)
    return result


def _result(
    config: PipelineConfig, run: TrackedRun, version: Version | None, evaluation: Evaluation | None
) -> RetrainResult:
    """The result of a run that has one, as it is on record there."""
    tags, serving = run.facts().tags, registry.champion(config.model_name)
    return RetrainResult(
        **place_of(run, config.experiment_name),
        model=config.model_name,
        outcome=tags[VERDICT_TAG],
        reason=tags[VERDICT_REASON_TAG],
        evaluation=evaluation,
        challenger=version,
        champion=None if serving is None else serving.version,
        drift=tags.get(DRIFT_TAG, ""),
    )


def resume_publication(config: PipelineConfig, version: Version) -> RetrainResult:
    """The result of the run that has registered a version by the same work: as on record, or finished now.

    Raises:
        ModelBusyError: Somebody is at it.
    """
    run = run_of(version)
    if run.status == "FINISHED":
        tell([f"already done: run {run.name} ({run.run_id}), use --force to train again"])
        return _result(config, run, version, Evaluation.of_run(run))
    tell([f"run {run.name} was left after it had registered version {version.version}: it is finished now"])
    with reopened_run(run.run_id) as reopened:
        return finish_publication(config, reopened, registry.offer(version, smoke_test), Evaluation.of_run(reopened))


def run_of(version: Version) -> TrackedRun:
    """The run that has registered a version by the same work, once nobody is at it any more.

    Raises:
        ModelBusyError: Somebody still is, after a while in which all but the wait for a person ends.
    """
    run, deadline = TrackedRun(str(version.run_id)), time.monotonic() + OTHERS_SECONDS
    while run.status == "RUNNING" and why_dead(evidence(run.facts()), datetime.now(UTC)) is None:
        if time.monotonic() > deadline:
            raise ModelBusyError(
                f"run {run.name} ({run.run_id}) has registered {version.name} version {version.version} by the very "
                "same work, and is about to decide whether it serves: look there"
            )
        time.sleep(POLL_SECONDS)
    return run
