import base64
import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from matplotlib.colors import to_rgb

from pipelines.report.content import ReportContent
from pipelines.report.facts import ColumnFacts, flow_facts
from pipelines.report.page import PROFILE_FEATURES, render_report
from pipelines.report.words import number
from pipelines.settings.config import PipelineConfig
from pipelines.training.analysis import analyze
from pipelines.training.findings import Findings
from pipelines.training.fitting import train_som
from pipelines.training.plan import prepare
from somlib.utils.topology import neighbors
from tests.pipelines.conftest import table
from tests.pipelines.report_content import RUN, Page, make_content, make_profiles, make_rows

NASTY = ["<script>alert(1)</script>", "</script><b>", "a \"quoted\" & 'b'", "{{ 7*7 }}", "<!--", "&lt;", "ä 很"]


def page(**changes: Any) -> Page:
    return Page(render_report(make_content(**changes)))


def values(found: Page, layer: int) -> list[float]:
    numbers: list[float] = np.frombuffer(
        base64.b64decode(found.json["data-json"]["layers"][layer]["values"]), "<f4"
    ).tolist()
    return numbers


@pytest.fixture(scope="module")
def plain() -> Page:
    return page(rows=make_rows([3, 4, 11], 3))


# ---------------------------------------------------------------- alone and well-formed


def test_the_page_loads_nothing_from_anywhere(plain: Page) -> None:
    for tag, attributes in plain.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data", "xlink:href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), (tag, name, address)
    html = render_report(make_content())
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_names_cannot_leave_their_place() -> None:
    found = page(features=NASTY, targets=["<i>t</i>"])
    assert len(found.all("script")) == 4
    assert not found.all("i")
    for name in (*NASTY, "<i>t</i>"):
        assert " ".join(name.split()) in found.text
    assert [feature["name"] for feature in found.json["data-json"]["features"]] == NASTY
    assert all(
        "<" not in text
        for text in re.findall(r'json" id="[a-z-]*">(.*?)</script>', render_report(make_content(features=NASTY)), re.S)
    )


def test_remarks_and_settings_are_escaped_too() -> None:
    found = page(
        facts={"remarks": ("<img src=x onerror=alert(1)>",), "data": "<svg>"}, config="name: <script>x</script>"
    )
    assert len(found.all("script")) == 4
    assert all((image["src"] or "").startswith("data:") for image in found.all("img"))
    assert "name: <script>x</script>" in found.text


def test_reader_aids_are_there(plain: Page) -> None:
    assert plain.all("html") == [{"lang": "en"}]
    assert plain.all("meta", name="viewport")
    assert [tag for tag, _ in plain.elements if re.fullmatch("h[1-6]", tag)][:3] == ["h1", "h2", "h3"]
    assert len(plain.all("h1")) == 1
    assert all(image["alt"] for image in plain.all("img"))
    labels = {label["for"] for label in plain.all("label") if "for" in label}
    fields = {field["id"] for tag in ("select", "input") for field in plain.all(tag) if field.get("type") != "checkbox"}
    assert fields == labels
    assert plain.all("div", id="map")[0]["tabindex"] == "0"
    targets = {(link["href"] or "")[1:] for link in plain.all("a")}
    identities = {attributes["id"] for _, attributes in plain.elements if "id" in attributes}
    assert targets <= identities


def test_no_identity_is_given_twice(plain: Page) -> None:
    identities = [attributes["id"] for _, attributes in plain.elements if "id" in attributes]
    assert len(identities) == len(set(identities))


# ---------------------------------------------------------------- what it says


def test_it_says_what_was_trained_on_what_and_how_good(plain: Page) -> None:
    for text in (
        "4 × 3 hexagonal map of 2 features, trained on 100 rows, 1 March 2026",
        "the map explains 75 % of the distance",
        "Of 4.0 % of the rows the two nearest neurons do not touch",
        "2 clusters of neurons by K-Means; silhouette 0.60",
        "plant.parquet",
        "100 trained, 20 held out",
        "d1g3st",
        "som report abc123",
        "name: boiler",
    ):
        assert text in plain.text


def test_the_layers_are_the_map_the_features_and_the_targets(plain: Page) -> None:
    names = [layer["name"] for layer in plain.json["data-json"]["layers"]]
    assert names == [
        "U-matrix: distance to neighbors",
        "Rows per neuron",
        "Clusters",
        "Rows in reach",
        "a",
        "b",
        "yield: mean",
        "yield: standard deviation",
    ]
    assert [option["value"] for option in plain.all("option")] == [str(i) for i in range(8)]
    assert [group["label"] for group in plain.all("optgroup")] == ["Map", "Features", "Targets"]


def test_layers_hold_the_numbers_and_nothing_where_a_neuron_is_empty() -> None:
    content = make_content()
    found = Page(render_report(content))
    np.testing.assert_allclose(values(found, 4), content.planes[:, 0], rtol=1e-6)
    np.testing.assert_allclose(values(found, 6), content.targets["yield"]["mean"], rtol=1e-6)
    assert np.isnan(values(found, 1)[0])
    assert values(found, 1)[1:] == list(range(1, 12))


def test_rows_in_reach_are_those_of_a_neuron_and_its_neighbors() -> None:
    content = make_content(som={"neighborhood_order": 2})
    found = values(Page(render_report(content)), 3)
    grid = content.som.grid
    assert found == [content.hits[i] + content.hits[neighbors(grid, i, 2).numpy()].sum() for i in range(12)]


def test_cells_are_where_the_grid_has_them() -> None:
    content = make_content()
    data = Page(render_report(content)).json["data-json"]
    centers = np.frombuffer(base64.b64decode(data["centers"]), "<f4").reshape(-1, 2)
    np.testing.assert_allclose(centers, content.som.grid.positions.numpy(), atol=1e-6)
    corners = np.array(data["outline"])
    np.testing.assert_allclose(np.linalg.norm(corners, axis=1), 1 / np.sqrt(3), atol=1e-4)
    assert (data["rows"], data["columns"], data["torus"]) == (4, 3, False)


def test_the_plot_has_equal_axes_with_row_zero_on_top() -> None:
    item = page().json["map-json"]
    plot = next(root for root in item["doc"]["roots"])["attributes"]
    x, y = plot["x_range"]["attributes"], plot["y_range"]["attributes"]
    assert y["start"] > y["end"]
    assert plot["aspect_ratio"] == pytest.approx((x["end"] - x["start"]) / (y["start"] - y["end"]))


def test_profiles_name_the_features_that_set_a_cluster_apart() -> None:
    planes = np.zeros((12, 8))
    planes[:, 5] = [10.0] * 6 + [20.0] * 6
    found = page(features=[f"f{i}" for i in range(8)], planes=planes)
    articles = found.all("article")
    assert [article["id"] for article in articles] == ["cluster-1", "cluster-2"]
    assert "f5 10 0 +10.0" in found.text  # the facts of the columns say mean 0, deviation 1
    assert "f5 20 0 +20.0" in found.text
    assert len(found.all("td", class_="effect")) == 2 * PROFILE_FEATURES


def test_means_of_a_cluster_are_over_its_rows_not_over_its_neurons() -> None:
    values = np.array([np.nan, 1.0, 2.0, 3.0, 4.0, 5.0] + [7.0] * 6)
    planes = np.stack([np.nan_to_num(values, nan=-50.0), np.zeros(12)], axis=1)  # no row fell on neuron 0
    content = make_content(targets=["t"], planes=planes)
    content.targets["t"]["mean"][:] = values
    content = replace(content, profiles=make_profiles(vars(content)))
    expected = sum(n * n for n in range(1, 6)) / sum(range(1, 6))  # neuron n has n rows
    text = Page(render_report(content)).text
    assert f"t {expected:.3g} (all rows 0)" in text
    assert f"a {expected:.3g} 0 +{expected:.1f}" in text


def test_a_cluster_without_rows_or_of_an_older_run_says_why_it_has_no_means() -> None:
    labels = np.where(np.arange(12) == 0, 1, 2)  # no row fell on neuron 0
    assert "No training row fell on its neurons" in page(labels=labels).text
    assert "The version that made this run kept no means over rows" in page(profiles=None).text


def test_all_rows_of_a_profile_are_those_of_the_table_of_columns(config: PipelineConfig) -> None:
    """The two tables of the page agree, and a group_by over the rows of the file says the same of each cluster."""
    found = prepare(config)
    trained = train_som(found.samples.train.samples, config.som, found.dataset.feature_names)
    analysis = analyze(
        trained.som, found.samples.train.samples, found.samples.targets, found.samples.scaler, config.analysis
    )
    data = flow_facts(trained.som, config, found)
    content = ReportContent.of_findings(RUN, data, Findings(trained, analysis, {}, found.samples.scaler), None)
    page = Page(render_report(content))
    winner = trained.som.winners(torch.from_numpy(found.samples.train.samples)).index[:, 0]
    rows = table()[:160].with_columns(cluster=analysis.clusters["labels"][winner].numpy())
    means = rows.group_by("cluster").agg(pl.col("a", "b", "c", "y").mean()).sort("cluster")
    assert len(means) >= 2
    for cluster in means.rows(named=True):
        for name in ("a", "b", "c"):
            assert f"{name} {number(cluster[name])} {number(table()[name][:160].mean())}" in page.text
        assert f"y {number(cluster['y'])} (all rows {number(table()['y'][:160].mean())})" in page.text


# ---------------------------------------------------------------- odd maps


@pytest.mark.parametrize(
    "changes",
    [
        {"x": 1, "y": 1},
        {"x": 1, "y": 9, "targets": ()},
        {"x": 8, "y": 1, "features": ("only",)},
        {"som": {"topology": "rectangular", "pbc": True}},
        {"labels": np.full(12, -1)},
        {"labels": np.ones(12, dtype=np.int64)},
        {"metrics": {}},
        {"quantization_errors": [], "topographic_errors": []},
        {"quantization_errors": [1.0], "topographic_errors": [np.nan], "sigmas": [2.0]},
        {"hits": np.zeros(12)},
        {"planes": np.zeros((12, 2)), "distances": np.zeros(12)},
        {"config": None, "facts": {"data": None, "one_neuron_error": np.nan}},
        {"rows": make_rows([-1, -1], 3)},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_an_odd_map_gets_its_page(changes: dict[str, Any]) -> None:
    found = page(**changes)
    assert found.json.keys() == {"map-json", "data-json"}
    assert len(found.all("figure", class_="small-map")) >= 3
    assert "nan" not in re.findall(r"\w+", found.text)


def test_a_target_without_values_has_an_empty_map_and_says_so() -> None:
    content = make_content()
    for statistic in ("mean", "std"):
        content.targets["yield"][statistic][:] = np.nan
    found = Page(render_report(content))
    assert found.json["data-json"]["layers"][6]["ticks"] == []
    assert found.json["data-json"]["layers"][6]["empty"] == "no rows"
    assert "no values" in found.text
    assert any(image["alt"] == "Map of yield: mean, without values" for image in found.all("img"))


def test_noise_has_no_profile_and_one_cluster_none_to_compare_with() -> None:
    assert "every neuron is noise to it" in page(labels=np.full(12, -1)).text
    assert not page(labels=np.full(12, -1)).all("article")
    assert "there are no others to differ from" in page(labels=np.ones(12, dtype=np.int64)).text


def test_rows_can_be_found_up_to_what_the_page_can_hold(plain: Page) -> None:
    assert plain.json["data-json"]["found"]["count"] == 3
    assert plain.all("input", id="row-number")[0]["max"] == "2"
    assert not plain.all("input", id="row-time")
    without = page()
    assert not without.all("input", id="row-number")
    assert "Of this run no rows can be looked up here" in without.text


def test_a_page_with_a_part_of_the_rows_says_so() -> None:
    rows = make_rows([3, 1, 11], 3).with_columns(sample=pl.Series([0, 20, 40]))
    found = page(rows=rows)
    assert found.all("input", id="row-number")[0]["max"] == "40"
    assert "One in 20 of the rows is kept here, 3 in all" in found.text
    assert "One in" not in page(rows=make_rows([3, 1, 11], 3)).text


# ---------------------------------------------------------------- size


def test_a_map_of_2500_neurons_and_40_features_stays_below_five_megabytes() -> None:
    random = np.random.default_rng(0)
    features = [f"sensor_{i}" for i in range(40)]
    rows = make_rows(random.integers(0, 2500, 100_000).tolist(), 50, time=np.arange(100_000).astype("datetime64[ms]"))
    facts = {"time": {"column": "time", "first": "1970-01-01", "last": "1970-01-01"}}
    content = make_content(50, 50, features, ["y", "z"], facts, rows=rows)  # random weights, which compress worst
    assert len(render_report(content).encode()) < 4_500_000  # and half a megabyte for the unforeseen


def test_a_cycle_has_colors_that_begin_again_where_its_values_do() -> None:
    hour = ColumnFacts(mean=12.0, deviation=7.0, low=6.0, high=18.0, missing=0, period=24.0, start=1.0)
    other = ColumnFacts(mean=0.0, deviation=1.0, low=-2.0, high=2.0, missing=0)
    planes = np.column_stack((np.linspace(6, 18, 12), np.linspace(-1, 1, 12)))
    found = page(planes=planes, facts={"features": {"a": hour, "b": other}})
    layers = {layer["name"]: (i, layer) for i, layer in enumerate(found.json["data-json"]["layers"])}
    number_, cyclic = layers["a"]
    assert (cyclic["palette"], cyclic["low"], cyclic["high"]) == ("cyclic", 1.0, 25.0)
    assert cyclic["ticks"] == ["1", "13", "25"]
    np.testing.assert_allclose(values(found, number_), planes[:, 0], rtol=1e-6)
    assert "Values that begin again" in found.text
    assert "Values that begin again" not in page().text
    assert layers["b"][1]["palette"] == "sequential"
    colors = found.json["data-json"]["palettes"]["cyclic"]
    assert np.abs(np.subtract(to_rgb(colors[0]), to_rgb(colors[-1]))).max() < 0.02  # as far as one step
    assert np.abs(np.subtract(to_rgb(colors[0]), to_rgb(colors[32]))).max() > 0.5
