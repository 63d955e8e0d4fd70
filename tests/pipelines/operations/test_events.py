from pipelines.operations.events import DRIFT_DETECTED, model_resource


def test_the_names_that_automations_know_do_not_change() -> None:
    # Automations that were made by an earlier version wait for these.
    assert DRIFT_DETECTED == "som.drift.detected"
    assert model_resource("weather") == "som.model.weather"
