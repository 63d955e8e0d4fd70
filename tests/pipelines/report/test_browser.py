"""The page in a browser. Skipped where there is none; no driver is needed, the page asks itself."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.report.content import ReportContent
from pipelines.report.page import render_report
from tests.pipelines.report_content import Page, make_content, make_rows

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")

# Runs in the page before its own scripts: notes every error and request, waits until the map is there, asks, and leaves
# the answers as text.
PROBE = """<script>
const seen = { errors: [], answers: null };
addEventListener("error", (event) => seen.errors.push(event.message));
addEventListener("unhandledrejection", (event) => seen.errors.push(String(event.reason)));
const error = console.error;
console.error = (...texts) => { seen.errors.push(texts.join(" ")); error(...texts); };
const text = (id) => document.getElementById(id).innerText.replace(/\\s+/g, " ").trim();
const tell = () => {
  const loaded = performance.getEntriesByType("resource").map((one) => one.name);
  seen.requests = loaded.filter((name) => !name.startsWith("data:"));
  const result = document.createElement("script");
  result.type = "application/json";
  result.id = "result";
  result.textContent = JSON.stringify(seen).replaceAll("<", "\\\\u003c");
  document.body.append(result);
};
const ask = async () => {
  if (document.documentElement.dataset.ready !== "yes") return setTimeout(ask, 50);
  try { seen.answers = await questions(); } catch (problem) { seen.errors.push(String(problem)); }
  tell();
};
setTimeout(ask, 50);
const pause = () => new Promise((done) => setTimeout(done, 100));
const show = (layer) => {
  const select = document.getElementById("layer");
  select.value = layer;
  select.dispatchEvent(new Event("change"));
};
const press = (key) => {
  document.getElementById("map").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
};
const plot = () => Bokeh.index.roots[0];
const QUESTIONS
</script>"""


def answers(content: ReportContent, questions: str, folder: Path) -> Any:
    """What the page answers to a JavaScript function body."""
    probe = PROBE.replace("const QUESTIONS", f"const questions = async () => {{ {questions} }};")
    file = folder / "report.html"
    file.write_text(render_report(content).replace("<body", f"{probe}<body", 1), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [
        str(BROWSER),
        *flags,
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120, env=environment)
    found = Page(done.stdout).json.get("result")
    assert found is not None, done.stderr[-2000:]
    assert found["errors"] == []
    assert found["requests"] == []
    return found["answers"]


def test_the_card_of_a_neuron_has_place_size_cluster_features_and_targets(tmp_path: Path) -> None:
    content = make_content(features=["<script>alert(1)</script>", "b"], targets=["a & b"])
    card = answers(content, 'return text("card");', tmp_path)
    assert card.startswith("Neuron in row 3, column 2 11 rows, 16.7 % Cluster 2 U-matrix: distance to neighbors: ")
    assert "<script>alert(1)</script>" in card
    assert "a & b" in card


def test_pointing_at_a_neuron_shows_its_card_and_leaving_it_the_chosen_one(tmp_path: Path) -> None:
    questions = """
      const eventsOf = (root) => [...root.querySelectorAll("*")].map((e) =>
        e.classList.contains("bk-events") ? e : e.shadowRoot && eventsOf(e.shadowRoot)).find(Boolean);
      const surface = eventsOf(document.getElementById("map")), box = surface.getBoundingClientRect();
      const send = (type) => surface.dispatchEvent(new PointerEvent(type, { clientX: box.left + 0.15 * box.width,
        clientY: box.top + 0.1 * box.height, bubbles: true, composed: true, pointerType: "mouse", isPrimary: true }));
      send("pointerover"); send("pointermove"); await pause();
      const over = text("card");
      send("pointerout"); await pause();
      return [over, text("card")];
    """
    over, after = answers(make_content(), questions, tmp_path)
    assert over.startswith("Neuron in row 0, column 0 Empty: no training row fell here")
    assert after.startswith("Neuron in row 3, column 2 11 rows")


def test_arrow_keys_move_over_the_map_and_around_a_torus(tmp_path: Path) -> None:
    keys = "ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowLeft"  # from the last neuron, the busiest
    questions = f'{"".join(f"press({key!r});" for key in keys)} return text("card");'
    flat = answers(make_content(), questions, tmp_path)
    assert flat.startswith("Neuron in row 2, column 0 ")
    torus = answers(make_content(som={"pbc": True}), questions, tmp_path)
    assert torus.startswith("Neuron in row 3, column 1 ")


def test_layers_change_cells_legend_and_note(tmp_path: Path) -> None:
    questions = """
      const cells = () => plot().model.document.get_model_by_name("cells").data.value.length;
      const empty = () => plot().model.document.get_model_by_name("empty").data.xs.length;
      const found = [];
      for (const layer of ["0", "1", "2", "6"]) {
        show(layer);
        await pause();
        found.push([cells(), empty(), text("legend"), text("layer-note")]);
      }
      return found;
    """
    distances, hits, clusters, target = answers(make_content(), questions, tmp_path)
    assert distances[:2] == [12, 0]
    assert hits[:3] == [11, 1, "1 6 11 no rows"]
    assert clusters[:3] == [12, 0, "1 2"]
    assert target[:2] == [11, 1]
    assert target[3] == "Mean over the training rows of each neuron."


def test_a_neuron_of_the_cluster_layer_shows_the_profile_of_its_cluster(tmp_path: Path) -> None:
    questions = """
      const before = document.getElementById("profile").hidden;
      show("2"); press("ArrowUp"); await pause();
      const all = [...document.querySelectorAll("[id]")].map((e) => e.id);
      return [before, text("profile"), all.length - new Set(all).size];
    """
    before, profile, doubled = answers(make_content(), questions, tmp_path)
    assert before is True
    assert profile.startswith("Cluster 2 6 neurons, 51 training rows (77 %)")
    assert doubled == 0


def test_a_row_is_found_by_its_number_and_by_its_time(tmp_path: Path) -> None:
    rows = make_rows([3, -1, 11], 3, time=["2024-01-01", "2024-01-02", "2024-01-05"], heldout=[False, False, True])
    rows = rows.with_columns(rows["time"].str.to_datetime())
    questions = """
      const find = async (form, field, value) => {
        document.getElementById(field).value = value;
        document.getElementById(form).requestSubmit();
        await pause();
        return text("found");
      };
      return [await find("find-row", "row-number", "0"), await find("find-row", "row-number", "1"),
        await find("find-time", "row-time", "2024-01-04T00:00:00"), text("card")];
    """
    facts = {"time": {"column": "time", "first": "2024-01-01", "last": "2024-01-05"}}
    first, second, third, card = answers(make_content(facts=facts, rows=rows), questions, tmp_path)
    assert first == "Row 0, 2024-01-01 00:00:00 (trained): row 1, column 0"
    assert second == "Row 1, 2024-01-02 00:00:00 (trained): has no neuron: nothing is observed in it"
    assert third == "Row 2, 2024-01-05 00:00:00 (held out): row 3, column 2"
    assert card.startswith("Neuron in row 3, column 2")


def test_of_a_part_of_the_rows_the_nearest_is_found(tmp_path: Path) -> None:
    rows = make_rows([3, 1, 11], 3).with_columns(sample=pl.Series([0, 20, 40]))
    questions = """
      const find = async (number) => {
        document.getElementById("row-number").value = number;
        document.getElementById("find-row").requestSubmit();
        await pause();
        return text("found");
      };
      return [await find("9"), await find("23"), await find("40")];
    """
    assert answers(make_content(rows=rows), questions, tmp_path) == [
        "Row 0 (trained): row 1, column 0",
        "Row 20 (trained): row 0, column 1",
        "Row 40 (trained): row 3, column 2",
    ]


@pytest.mark.parametrize(
    "changes",
    [{"x": 1, "y": 1, "targets": ()}, {"labels": np.full(12, -1)}, {"hits": np.zeros(12)}],
    ids=lambda changes: "-".join(changes),
)
def test_an_odd_map_answers_without_an_error(changes: dict[str, Any], tmp_path: Path) -> None:
    every = """
      for (const option of document.querySelectorAll("#layer option")) show(option.value);
      press("ArrowUp");
      return text("card");
    """
    assert answers(make_content(**changes), every, tmp_path).startswith("Neuron in row ")
