"""What a person sees in the terminal."""

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from somlib.core.trainer import EpochReport
from somlib.errors import SomlibWarning

OWN_LOGGERS = ("pipelines", "somlib")


class TerminalListener:
    """Shows the stages of a run as they go, with a bar over the epochs of training.

    Remarks, our own warnings and what our own modules log as warnings appear as notes above; warnings of other packages
    are for developers, and are left out.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", style="dim"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._stage = ""
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Take over warnings, and start to show."""
        self._open.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", SomlibWarning)
        warnings.showwarning = self._show_warning
        handler = _NoteHandler(self)
        for name in OWN_LOGGERS:
            logging.getLogger(name).addHandler(handler)
            self._open.callback(logging.getLogger(name).removeHandler, handler)
        self._open.enter_context(self._progress)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing, and leave warnings as they were."""
        self._open.close()

    def stage_started(self, stage: str) -> None:
        """A new line with a moving bar."""
        self._stage = stage
        self._tasks[stage] = self._progress.add_task(f"  {stage}", total=None, detail="")

    def stage_ended(self, stage: str, seconds: float, well: bool) -> None:
        """Its line is checked off, or crossed."""
        task, mark = self._tasks[stage], "[green]✓[/]" if well else "[red]✗[/]"
        total = self._progress.tasks[task].total or 1
        self._progress.update(task, description=f"{mark} {stage}", total=total, completed=total)

    def epoch_ended(self, report: EpochReport) -> None:
        """The bar of the current stage moves on."""
        detail = f"QE {report.quantization_error:.4g}, TE {report.topographic_error:.1%}"
        done = report.epoch + 1
        self._progress.update(self._tasks[self._stage], total=report.epochs, completed=done, detail=detail)

    def remark(self, text: str) -> None:
        """A note above the stages."""
        self._progress.console.print(f"note: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def _show_warning(self, message: Warning | str, *rest: Any, **more: Any) -> None:
        self.remark(str(message))


class _NoteHandler(logging.Handler):
    """Shows log records from WARNING up as remarks."""

    def __init__(self, terminal: TerminalListener) -> None:
        super().__init__(level=logging.WARNING)
        self.terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self.terminal.remark(record.getMessage())


def facts_table(title: str, facts: Iterable[tuple[str, str]]) -> Table:
    """A table of names and values; long values wrap."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, expand=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), Text(value))
    return table


def records_table(records: Sequence[Mapping[str, str]], columns: Sequence[str]) -> Table:
    """A table with a line for each record; columns that are empty in all of them are left out."""
    table = Table(box=SIMPLE_HEAD)
    shown = [name for name in columns if any(record[name] for record in records)]
    for name in shown:
        table.add_column(name, overflow="fold")
    for record in records:
        table.add_row(*(Text(record[name]) for name in shown))
    return table
