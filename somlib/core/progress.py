"""The progress bar of a training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from somlib.core.trainer import EpochReport


@contextmanager
def training_progress(epochs: int, visible: bool) -> Iterator[Callable[[EpochReport], None]]:
    """A bar of `epochs` steps on standard error, and the function that moves it on; a mute one unless `visible`."""
    if not visible:
        yield lambda _: None
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=epochs)

        def show(report: EpochReport) -> None:
            text = f"QE {report.quantization_error:.4g}  TE {report.topographic_error:.1%}"
            progress.update(task, advance=1, description=text)

        yield show
