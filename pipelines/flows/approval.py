"""Asking a person, where somebody can be asked: in the run of a deployment, which waits in Prefect for an answer."""

from dataclasses import dataclass

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment

POLL_SECONDS = 10


class Approval(RunInput):
    """What a person fills in, in the Prefect UI or by its API."""

    promote: bool
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """What came of asking.

    Attributes:
        promote: Yes or no; None where nobody can be asked in this run.
        reason: In words, for the record; empty where the person gave none.
    """

    promote: bool | None
    reason: str = ""


def asked_for_approval(question: str, hours: float) -> Answer:
    """What a person says; waits for it, where this is the run of a deployment.

    A run that somebody started in a terminal does not wait: nobody may look at Prefect then, and the terminal is taken.

    Args:
        question: Markdown, shown above the form.
        hours: How long to wait; silence is a no.
    """
    if deployment.id is None:
        return Answer(None, "not run by a deployment, so that nobody could be asked")
    form = Approval.with_initial_data(description=question)
    try:
        said = pause_flow_run(wait_for_input=form, timeout=round(hours * 3600), poll_interval=POLL_SECONDS)
    except FlowPauseTimeout:
        return Answer(False, f"nobody approved it within {hours:g} h")
    return Answer(said.promote, said.reason)
