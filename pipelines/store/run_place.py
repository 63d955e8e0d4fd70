"""Which MLflow run a result is of, and where a person sees it: what the results of all flows begin with."""

from dataclasses import dataclass
from typing import TypedDict

from pipelines.store.tracking import TrackedRun


class RunPlaceFields(TypedDict):
    """The fields of a `RunPlace`, to be passed on by name."""

    experiment: str
    run_id: str
    run_name: str
    page: str
    how_to_open: str


@dataclass(frozen=True)
class RunPlace:
    """An MLflow run, and where to see it.

    Attributes:
        experiment: Name of the MLflow experiment.
        run_id: Id of the run.
        run_name: Its name.
        page: Address of the run in the MLflow UI.
        how_to_open: What a user types or visits to see it.
    """

    experiment: str
    run_id: str
    run_name: str
    page: str
    how_to_open: str

    @property
    def run_line(self) -> str:
        """Name, id and experiment in one line."""
        return f"{self.run_name} ({self.run_id}) in {self.experiment}"


def place_of(run: TrackedRun, experiment: str) -> RunPlaceFields:
    """The place of a run."""
    return {
        "experiment": experiment,
        "run_id": run.run_id,
        "run_name": run.name,
        "page": run.page,
        "how_to_open": run.how_to_open,
    }
