"""Which run it is, and where it comes from: package, Python, git commit."""

import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from pipelines.store.names import COMMIT_TAG, PACKAGE_TAG, PYTHON_TAG

DISTRIBUTION = "som-pipelines"


@dataclass(frozen=True)
class RunFacts:
    """Which run it is.

    Attributes:
        run_id: In MLflow.
        name: Its name there.
        experiment: That of its experiment.
        started: When, in UTC.
        tags: As set on the run: versions, digests, commit.
    """

    run_id: str
    name: str
    experiment: str
    started: datetime
    tags: Mapping[str, str]


def environment_tags() -> dict[str, str | None]:
    """Which run it is, and where it comes from: package, Python, git commit."""
    return {
        PACKAGE_TAG: version(DISTRIBUTION),
        PYTHON_TAG: platform.python_version(),
        COMMIT_TAG: _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of the repository around the working folder, None outside of one."""
    with suppress(OSError, subprocess.SubprocessError):
        git = ["git", "rev-parse", "--verify", "HEAD"]
        done = subprocess.run(git, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()
    return None
