import io
import logging
import re
import warnings

import pytest
from rich.console import Console

from pipelines.commands.terminal import TerminalListener, facts_table, records_table, show_facts
from pipelines.progress import Stages, announced, listening, steps
from somlib.errors import SomlibWarning
from tests.pipelines.test_progress import REPORT

LONG = "/" + "Anlage Süd/" * 18 + "report.html"  # 211 characters


@pytest.fixture(params=[True, False], ids=["moving", "lines"])
def screen(request: pytest.FixtureRequest) -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=request.param, color_system=None)


def shown(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return re.sub(r"\x1b\[[?\d]*\w|\r", "", screen.file.getvalue())  # without what moves the cursor


def test_stages_are_checked_off_or_crossed(screen: Console) -> None:
    with TerminalListener(screen) as terminal, listening(terminal):
        with Stages()("train"):
            announced(lambda _: None)(REPORT)
        with pytest.raises(ZeroDivisionError), Stages()("draw"):
            _ = 1 / 0
    assert "✓ train" in shown(screen)
    assert "QE 1.5, TE 25.0%" in shown(screen)
    assert "✗ draw" in shown(screen)


def test_our_own_warnings_are_notes_and_those_of_others_are_not_shown(screen: Console) -> None:
    with TerminalListener(screen):
        warnings.warn("use a smaller map", SomlibWarning, stacklevel=1)
        warnings.warn("some package renamed something", DeprecationWarning, stacklevel=1)
        warnings.simplefilter("always", UserWarning)  # as MLflow does while it is imported
        warnings.warn("some package would like other type hints", UserWarning, stacklevel=1)
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


@pytest.mark.parametrize("width", [20, 80, 500])
@pytest.mark.parametrize(
    "value",
    [
        LONG,
        "sqlite:///my plant/mlflow.db",
        f"mlflow ui --backend-store-uri sqlite:///{LONG}",
        "http://127.0.0.1:5000/#/experiments/1/runs/12631710255342029b5ca37daa357a1e",
        "nimble-petrel (12631710255342029b5ca37daa357a1e) in weather",
        "export PREFECT_API_URL=http://127.0.0.1:4200/api",
        "C:\\plant\\mlruns",
    ],
)
def test_what_somebody_may_copy_stands_whole_on_a_line_of_its_own(value: str, width: int) -> None:
    narrow = Console(file=io.StringIO(), width=width)
    show_facts("title", [("map", "8 x 6 hexagonal"), ("report", value)], narrow)
    assert [line for line in shown(narrow).splitlines() if value in line] == [f"report  {value}"]


def test_long_texts_wrap_in_the_table() -> None:
    narrow = Console(file=io.StringIO(), width=40)
    show_facts("title", [("seconds", "25.8: connect 0.3, load 0.2, scale 0.1, train 0.1, analyze 0.2")], narrow)
    assert max(len(line) for line in shown(narrow).splitlines()) <= 40


def test_a_terminal_of_ascii_is_given_nothing_else() -> None:
    plain = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), width=80)
    with TerminalListener(plain) as terminal, listening(terminal), Stages()("train"):
        announced(lambda _: None)(REPORT)
    show_facts("title", [("map", "8 x 6"), ("report", "/a/b")], plain)
    assert isinstance(plain.file, io.TextIOWrapper)
    plain.file.seek(0)
    assert plain.file.read().startswith("ok train ")


def test_a_long_stage_says_in_a_file_how_far_it_is_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("pipelines.commands.terminal.time.monotonic", lambda: now[0])
    file = Console(file=io.StringIO(), width=100)
    with TerminalListener(file) as terminal, listening(terminal), Stages()("draw"):
        step = steps(3600)
        for i in range(3600):
            now[0] += 1
            step(f"figure [{i}]")
    lines = shown(file).splitlines()
    assert lines[0] == "  draw: 0%, figure [4], about 60 min left"
    assert lines[-2].startswith("  draw: 71%, figure [2559], about 17 min left")
    assert lines[-1].startswith("✓ draw ")
    assert "figure" not in lines[-1]
    assert len(lines) == 11


def test_a_moving_bar_says_what_is_done_and_how_long_the_rest_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("pipelines.commands.terminal.time.monotonic", lambda: now[0])
    moving = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with TerminalListener(moving) as terminal, listening(terminal), Stages()("draw"):
        step = steps(4)
        step("hit_map")
        now[0] += 10
        step("[cluster_map]")
        terminal._stages._progress.refresh()  # type: ignore[union-attr]
    assert "[cluster_map], about 10 s left" in shown(moving)
