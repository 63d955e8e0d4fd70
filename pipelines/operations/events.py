"""Events that our flows send to Prefect, for automations to act on."""

from collections.abc import Mapping

from prefect.events import emit_event

DRIFT_DETECTED = "som.drift.detected"


def drift_detected(model: str, findings: Mapping[str, float | str]) -> None:
    """Say that the data has moved away from what a registered model was trained on; `som deploy` lets it be retrained.

    Args:
        model: Registered model.
        findings: What was found, for whoever reads the event.
    """
    emit_event(
        DRIFT_DETECTED,
        resource={"prefect.resource.id": model_resource(model), "prefect.resource.name": model},
        payload=dict(findings),
    )


def model_resource(model: str) -> str:
    """What events call a registered model."""
    return f"som.model.{model}"
