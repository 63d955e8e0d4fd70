"""Everything that the pipelines raise, each with the exit code that `som` ends with.

PipelineError
├── ConfigError     (ValueError)    2   the configuration cannot be read, or a setting is not allowed
├── DatasetError    (ValueError)    3   the data is missing, damaged, or not what the configuration says
├── TrackingError   (RuntimeError)  4   MLflow cannot be reached, or refuses
├── ModelError      (ValueError)    5   a published model is damaged, or was asked something it cannot answer
│   ├── RequestTooLargeError        5   a model was asked about more rows than it answers at once
│   └── SmokeTestError              5   a registered version does not answer requests as it must
├── FlowEngineError (RuntimeError)  6   the Prefect API cannot be reached, or refuses
├── ModelBusyError  (TimeoutError)  7   somebody else is changing the same registered model
├── ChampionChanged (RuntimeError)  7   somebody else has changed which version serves
└── ServerError     (RuntimeError)  8   a server of this machine cannot be started, or has ended
"""

from collections.abc import Sequence


class PipelineError(Exception):
    """Base of all pipeline errors: one line for each problem, fit to be shown to a user as it is.

    Attributes:
        problems: One line each, at least one.
        exit_code: What the command line ends with.
    """

    exit_code = 1

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


class ConfigError(PipelineError, ValueError):
    """The configuration cannot be read, or a setting is not allowed."""

    exit_code = 2


class DatasetError(PipelineError, ValueError):
    """The data is missing, damaged, or not what the configuration says."""

    exit_code = 3


class TrackingError(PipelineError, RuntimeError):
    """MLflow cannot be reached, or refuses."""

    exit_code = 4


class ModelError(PipelineError, ValueError):
    """A published model is damaged, or was asked something it cannot answer."""

    exit_code = 5


class FlowEngineError(PipelineError, RuntimeError):
    """The Prefect API cannot be reached, or refuses."""

    exit_code = 6


class RequestTooLargeError(ModelError):
    """A model was asked about more rows than it answers at once."""


class SmokeTestError(ModelError):
    """A registered version does not answer requests as it must, and gets no alias."""


class ModelBusyError(PipelineError, TimeoutError):
    """Somebody else is changing the same registered model."""

    exit_code = 7


class ChampionChanged(PipelineError, RuntimeError):  # noqa: N818 - nothing went wrong: the caller evaluates again
    """Another version serves than the one that the caller evaluated against."""

    exit_code = 7


class ServerError(PipelineError, RuntimeError):
    """A server of this machine cannot be started, or has ended."""

    exit_code = 8
