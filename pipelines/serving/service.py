"""The version of a registered model that answers, and the way to the next one.

When the alias moves, the new version is loaded and warmed up beside the old one, and then takes its place; requests in
flight finish on the one they began with. A version that does not load or answer its own example never serves: the old
one stays, and says why.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.errors import TrackingError
from pipelines.store.registry import find, number_at
from pipelines.store.servable import Servable, load
from pipelines.store.versions import Version

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serving:
    """What answers now.

    Attributes:
        servable: The version.
        since: When it began to, in UTC.
    """

    servable: Servable
    since: datetime


class Service:
    """The version that answers, and the way to the next one.

    Args:
        version: What answers first; it is loaded and warmed up here.
        alias: What `follow` looks at; None stays with the version.

    Attributes:
        current: What answers now. A request takes it once and keeps it.
        problem: Why the version that the alias points at does not serve; None where it does.

    Raises:
        PipelineError: The version cannot be loaded, or does not answer its own example.
    """

    def __init__(self, version: Version, alias: str | None = None) -> None:
        self.name = version.name
        self.alias = alias
        self.current = _warm(version)
        self.problem: str | None = None
        self._refused: str | None = None  # a version that cannot serve: it will not change, so it is tried once

    def follow(self) -> None:
        """Let the version serve that the alias points at; where it cannot, the current one stays.

        A version that cannot serve is tried again once the alias has pointed elsewhere; a store that cannot be reached
        is asked again each time.
        """
        if self.alias is None:
            return
        try:
            wanted = number_at(self.name, self.alias)
            if wanted == self._refused:
                return
            self._refused = None
            if wanted != self.current.servable.version.version:
                self._change_to(wanted)
            self.problem = None
        except Exception as error:  # noqa: BLE001 - whatever happens, the current version goes on
            self._keep(f"{type(error).__name__}: {error}")

    def _change_to(self, wanted: str) -> None:
        try:
            self.current = _warm(find(self.name, wanted))
        except TrackingError:
            raise
        except Exception:  # broad: a version that cannot be loaded, for whatever reason, is not tried again
            self._refused = wanted
            raise
        logger.info("version %s of model %r serves now", wanted, self.name)

    def _keep(self, problem: str) -> None:
        if problem != self.problem:
            kept = self.current.servable.version.version
            logger.warning("model %r stays at version %s: %s", self.name, kept, problem)
        self.problem = problem


def _warm(version: Version) -> Serving:
    """A version after its first answer, which is the slow one."""
    servable = load(version)
    servable.predict(servable.example)
    return Serving(servable, datetime.now(UTC))
