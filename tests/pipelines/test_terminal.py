import io
import logging
import warnings

import pytest
from rich.console import Console

from pipelines.progress import Stages, listening
from pipelines.terminal import TerminalListener, facts_table, records_table
from somlib.errors import SomlibWarning
from tests.pipelines.test_progress import REPORT


@pytest.fixture
def screen() -> Console:
    return Console(file=io.StringIO(), width=100)


def shown(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_stages_are_checked_off_or_crossed(screen: Console) -> None:
    with TerminalListener(screen) as terminal, listening(terminal):
        with Stages()("train"):
            terminal.epoch_ended(REPORT)
        with pytest.raises(ZeroDivisionError), Stages()("draw"):
            _ = 1 / 0
    assert "✓ train" in shown(screen)
    assert "QE 1.5, TE 25.0%" in shown(screen)
    assert "✗ draw" in shown(screen)


def test_our_own_warnings_are_notes_and_those_of_others_are_not_shown(screen: Console) -> None:
    with TerminalListener(screen):
        warnings.warn("use a smaller map", SomlibWarning, stacklevel=1)
        warnings.warn("some package renamed something", DeprecationWarning, stacklevel=1)
        logging.getLogger("pipelines.store.tracking").warning("could not %s", "record")
        logging.getLogger("elsewhere").warning("unrelated")
    notes = [line.strip() for line in shown(screen).splitlines() if line.strip()]
    assert notes == ["note: use a smaller map", "note: could not record"]


def test_afterwards_warnings_are_what_they_were(screen: Console) -> None:
    before = warnings.showwarning
    with TerminalListener(screen):
        pass
    assert warnings.showwarning is before
    assert not logging.getLogger("pipelines").handlers


def test_brackets_in_notes_and_facts_are_text_not_markup(screen: Console) -> None:
    with TerminalListener(screen) as terminal:
        terminal.remark("column [red]x[/] is odd")
    screen.print(facts_table("title", [("features", "[bold]a[/], b")]))
    assert "column [red]x[/] is odd" in shown(screen)
    assert "[bold]a[/], b" in shown(screen)


def test_a_table_of_records_leaves_out_what_is_empty_in_all(screen: Console) -> None:
    records = [{"metric": "qe", "champion": "", "rule": "low"}, {"metric": "te[1]", "champion": "", "rule": ""}]
    screen.print(records_table(records, ("metric", "champion")))
    screen.print(records_table([], ("metric",)))
    assert "te[1]" in shown(screen)
    assert "champion" not in shown(screen)
    assert "low" not in shown(screen)
