"""The progress bar of a training whose length is not known beforehand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

Show = Callable[[int, int, str], None]


@contextmanager
def open_ended_progress(name: str, visible: bool) -> Iterator[Show]:
    """A bar on standard error, and the function that sets it: (steps done, steps known so far, text)."""
    if not visible:
        yield lambda done, known, text: None
        return
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, known, text: progress.update(task, completed=done, total=known, description=text)
