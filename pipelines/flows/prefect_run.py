"""What flows know of Prefect around them: which run they are, and where its summary goes."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.runtime import flow_run

from pipelines.operations.orchestration import API_PROBLEMS, described, lasting_api, of_this_process
from pipelines.progress import tell
from pipelines.store.names import FLOW_NAME_TAG, FLOW_PAGE_TAG, FLOW_RUN_TAG


@dataclass(frozen=True)
class PrefectRun:
    """The Prefect run around a flow.

    Attributes:
        name: Its name, None outside of one.
        tags: For the MLflow run: its id, and its address where there is a server that will still answer tomorrow.
    """

    name: str | None
    tags: Mapping[str, str | None]


def this_run() -> PrefectRun:
    """The Prefect run that is going on."""
    tags = {
        FLOW_RUN_TAG: flow_run.id,
        FLOW_NAME_TAG: flow_run.name,
        FLOW_PAGE_TAG: flow_run.ui_url if lasting_api() else None,
    }
    return PrefectRun(flow_run.name, tags)


def publish_summary(key: str, markdown: str) -> None:
    """Show a summary as an artifact of the Prefect run, if it can be; the key is made of what Prefect allows in one."""
    _publish(create_markdown_artifact, markdown, key)


def publish_figure(key: str, png: Path) -> None:
    """Show a picture as an artifact of the Prefect run: itself, not its address, so that any Prefect UI can show it."""
    encoded = base64.b64encode(png.read_bytes()).decode()
    _publish(create_image_artifact, f"data:image/png;base64,{encoded}", key)


def _publish(create: Callable[..., Any], content: str, key: str) -> None:
    """Leave an artifact in Prefect. The run is no worse without: all of it is in MLflow, perhaps published already."""
    try:
        create(content, key=_allowed(key))
    except API_PROBLEMS as error:
        if not of_this_process():  # else nobody looks there, and the end of the run says it once
            tell([f"{key} is not shown in Prefect: {described(error)}"])


def _allowed(key: str) -> str:
    return re.sub("[^a-z0-9]+", "-", key.lower()).strip("-")
