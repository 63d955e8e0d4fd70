"""What Prefect does by itself: notify a webhook of runs that fail, retrain where data drifts.

Both are automations of the Prefect server, found again by their names: to ask for one twice changes the one that is
there. The address of the webhook, which is a secret with most services, is kept in a block of Prefect, encrypted.
"""

from glob import escape
from uuid import UUID

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events import EventTrigger, Posture
from prefect.events.actions import CallWebhook, RunDeployment
from prefect.types import SecretDict
from pydantic import SecretStr

from pipelines.errors import ConfigError
from pipelines.operations.events import DRIFT_DETECTED, model_resource
from pipelines.operations.orchestration import FLOW_PREFIX, prefect_errors

WEBHOOK_BLOCK = "som-notify"
ENDED_BADLY = ("prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut")
# Slack, Mattermost, Google Chat and others show the `text` of a JSON object.
MESSAGE = """{"text": {{ (
    flow.name ~ (" of " ~ deployment.name if deployment else "") ~ " " ~ flow_run.state.name | lower
    ~ ": " ~ (flow_run.state.message or "no reason is known") ~ " - " ~ flow_run | ui_url
) | tojson }}}"""


def notify(url: str) -> str:
    """Notify a webhook of runs of our flows that fail or crash; the name of the automation.

    Args:
        url: Takes a POST of JSON with a `text`.

    Raises:
        ConfigError: The URL is none.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(
            "--notify-url must be an http or https address; what came is not shown, for it may be a secret"
        )
    block = Webhook(url=SecretStr(url), headers=SecretDict({"Content-Type": "application/json"}))
    with prefect_errors():
        block_id = block.save(WEBHOOK_BLOCK, overwrite=True)
    return _create_or_update(
        Automation(
            name="som: notify of failed runs",
            description="Made by som deploy --notify-url.",
            trigger=EventTrigger(
                expect=set(ENDED_BADLY),
                match_related={"prefect.resource.role": "flow", "prefect.resource.name": f"{FLOW_PREFIX}*"},
                posture=Posture.Reactive,
                threshold=1,
                within=0,
            ),
            actions=[CallWebhook(block_document_id=block_id, payload=MESSAGE)],
        )
    )


def retrain_on_drift(model: str, deployment_id: UUID) -> str:
    """Let a deployment run where the data of a registered model drifts; the name of the automation.

    Args:
        model: Registered model.
        deployment_id: Of the deployment that retrains it.
    """
    return _create_or_update(
        Automation(
            name=f"som: retrain {model} on drift",
            description="Made by som deploy.",
            trigger=EventTrigger(
                expect={DRIFT_DETECTED},
                match={"prefect.resource.id": escape(model_resource(model))},
                posture=Posture.Reactive,
                threshold=1,
                within=0,
            ),
            actions=[RunDeployment(source="selected", deployment_id=deployment_id)],
        )
    )


def _create_or_update(wanted: Automation) -> str:
    """Make an automation, or change the one of that name to what is wanted."""
    with prefect_errors():
        there = _of_name(wanted.name)
        if there is None:
            wanted.create()
        else:
            wanted.id = there.id
            wanted.update()
    return wanted.name


def _of_name(name: str) -> Automation | None:
    with get_client(sync_client=True) as client:
        found = client.read_automations_by_name(name)
    return Automation(**found[0].model_dump()) if found else None
