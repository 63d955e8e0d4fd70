"""What a person sees in the terminal."""

import logging
import re
import time
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

from somlib.errors import SomlibWarning

OWN_LOGGERS = ("pipelines", "somlib")
FIRST_LINE_SECONDS = 5.0  # into a stage; the next ones after twice the time each: hours are some ten lines
FEWEST_SECONDS = 2.0  # into a stage, or left of it, from which on an estimate of the rest is worth reading
COPIED = re.compile(r"/\S|\\\S|\b[0-9a-f]{32}\b|\S=\S")  # a part of a path or an address, an id, a setting


class TerminalListener:
    """Shows the stages of a run as they go, with a bar over what each has to do, and how long that may still take.

    Where nothing can move, in a file, a pipe or a dumb terminal, each stage is a line once it is over, and a long one
    has a few lines before, ever farther apart. Remarks, our own warnings and what our own modules log as warnings
    appear as notes above; warnings of other packages are for developers, and are left out.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        moves = console.is_terminal and not console.is_dumb_terminal
        self._stages: _Bars | _Lines = _Bars(console) if moves else _Lines(console)
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
        self._open.enter_context(self._stages)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing, and leave warnings as they were."""
        self._open.close()

    def stage_started(self, stage: str) -> None:
        """A new line with a moving bar."""
        self._stages.start(stage)

    def stage_ended(self, stage: str, seconds: float, well: bool) -> None:
        """Its line is checked off, or crossed."""
        self._stages.end(stage, _mark(self.console, well), seconds)

    def advanced(self, done: int, of: int, doing: str, result: str = "") -> None:
        """The bar of the current stage moves on."""
        self._stages.move(done, of, doing, result)

    def remark(self, text: str) -> None:
        """A note above the stages."""
        self.console.print(f"note: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def _show_warning(self, message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, SomlibWarning):  # packages also set filters of their own, as MLflow does
            self.remark(str(message))


class _Bars:
    """Stages as bars that move."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=console,
        )
        self._task = TaskID(0)
        self._pace = _Pace()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, stage: str) -> None:
        self._pace = _Pace()
        self._task = self._progress.add_task(f"  {stage}", total=None, detail="")

    def end(self, stage: str, mark: str, seconds: float) -> None:
        self._progress.update(self._task, description=f"{mark} {stage}", total=1, completed=1, detail=self._pace.result)

    def move(self, done: int, of: int, doing: str, result: str) -> None:
        detail = ", ".join(filter(None, (doing, result, self._pace.left(done, of))))
        self._pace.result = result
        self._progress.update(self._task, total=of, completed=done, detail=detail)


class _Lines:
    """Stages as a line each, printed when it is over, and now and then before: what a file can take."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._pace = _Pace()
        self._next = FIRST_LINE_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, stage: str) -> None:
        self._stage, self._pace, self._next = stage, _Pace(), FIRST_LINE_SECONDS

    def end(self, stage: str, mark: str, seconds: float) -> None:
        line = f"{mark} {stage:<12} {seconds:7.2f} s  {self._pace.result}".rstrip()
        self._console.print(line, highlight=False, soft_wrap=True)

    def move(self, done: int, of: int, doing: str, result: str) -> None:
        self._pace.result = result
        if self._pace.seconds < self._next:
            return
        while self._next <= self._pace.seconds:
            self._next *= 2
        detail = ", ".join(filter(None, (f"{done / max(of, 1):.0%}", doing, result, self._pace.left(done, of))))
        self._console.print(f"  {self._stage}: {detail}", highlight=False, markup=False, soft_wrap=True)


class _Pace:
    """How fast the current stage goes, and what it has found."""

    def __init__(self) -> None:
        self.result = ""
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._start

    def left(self, done: int, of: int) -> str:
        """How long it may still take, at the pace so far; empty where that is not known, or soon over."""
        if not 0 < done < of or self.seconds < FEWEST_SECONDS:
            return ""
        rest = self.seconds * (of - done) / done
        return f"about {_duration(rest)} left" if rest >= FEWEST_SECONDS else ""


def _duration(seconds: float) -> str:
    """As exact as an estimate is."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _mark(console: Console, well: bool) -> str:
    if console.options.ascii_only:
        return "ok" if well else "failed"
    return "[green]✓[/]" if well else "[red]✗[/]"


class _NoteHandler(logging.Handler):
    """Shows log records from WARNING up as remarks."""

    def __init__(self, terminal: TerminalListener) -> None:
        super().__init__(level=logging.WARNING)
        self.terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self.terminal.remark(record.getMessage())


def show_facts(title: str, facts: Iterable[tuple[str, str]], console: Console | None = None) -> None:
    """Print names and values: a table of the texts, and below it what somebody may want to copy, whole.

    Paths, addresses and ids stand on lines of their own, which nothing cuts or wraps, however narrow the terminal is.

    Args:
        title: Above the table.
        facts: Name and value of each.
        console: Where to; stdout by default.
    """
    console = console or Console()
    facts = list(facts)
    texts = [fact for fact in facts if not is_copied(fact[1])]
    copied = [fact for fact in facts if is_copied(fact[1])]
    console.print(facts_table(title, texts) if texts else Text(title, style="bold"))
    width = max((len(name) for name, _ in copied), default=0)
    for name, value in copied:
        line = Text.assemble((f"{name:<{width}}", "cyan"), "  ", value)
        console.print(line, soft_wrap=True, highlight=False)


def is_copied(value: str) -> bool:
    """Whether a value holds what is of use only as a whole: a path, an address, an id, a command."""
    return COPIED.search(value) is not None


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
