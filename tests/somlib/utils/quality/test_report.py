"""The report of all measures."""

import logging
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.grid import Grid
from somlib.utils.metrics import quantization_error, topographic_error
from somlib.utils.neighborhood import KERNELS
from somlib.utils.quality import (
    MEASURES,
    QualityReport,
    combined_error,
    distortion,
    neighborhood_preservation,
    quality_report,
    topographic_product,
    trustworthiness,
)
from somlib.utils.quality import report as report_module
from tests.somlib.oracle import FOUR, Lattice
from tests.somlib.utils.quality.cases import EUCLIDEAN, grid_of, random_map, winners_of


def report_of(data: Tensor, codebook: Tensor, grid: Grid, sigma: float = 1.0, **options: Any) -> QualityReport:
    winners, generator = winners_of(data, codebook), torch.Generator().manual_seed(0)
    return quality_report(data, winners, codebook, grid, EUCLIDEAN, KERNELS["gaussian"], sigma, generator, **options)


@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_report_holds_every_measure_as_its_function_gives_it(lattice: Lattice) -> None:
    data, codebook = random_map(lattice, n=80, missing=0.1)
    data[3] = math.nan
    grid, winners = grid_of(lattice), winners_of(data, codebook)
    winner = winners.index[:, 0]
    report = report_of(data, codebook, grid)
    expected = {
        "quantization_error": quantization_error(winners),
        "topographic_error": topographic_error(winners, grid),
        "edge_topographic_error": topographic_error(winners, grid, "edge"),
        "distortion": distortion(data, winner, codebook, grid, EUCLIDEAN, KERNELS["gaussian"], 1.0),
        "combined_error": combined_error(winners, codebook, grid, EUCLIDEAN),
        "trustworthiness": trustworthiness(data, winner, grid, EUCLIDEAN),
        "neighborhood_preservation": neighborhood_preservation(data, winner, grid, EUCLIDEAN),
        "topographic_product": topographic_product(codebook, grid, EUCLIDEAN),
    }
    assert {name: estimate.value for name, estimate in report.estimates.items()} == pytest.approx(expected)
    assert list(report.estimates) == list(MEASURES)
    assert (report.n_samples, report.n_compared) == (79, 79)


def test_report_intervals_hold_their_values_and_shrink_with_the_samples() -> None:
    data, codebook = random_map(FOUR[0], n=800)
    few, many = (report_of(data[:n], codebook, grid_of(FOUR[0]), resamples=300) for n in (80, 800))
    for name in MEASURES:
        if name == "topographic_product":
            assert math.isnan(few[name].low)
            continue
        assert few[name].low <= few[name].value <= few[name].high
        assert many[name].low < many[name].value < many[name].high
        assert many[name].high - many[name].low < 0.5 * (few[name].high - few[name].low)


def test_report_is_the_same_for_the_same_seed_and_leaves_the_global_generator_alone() -> None:
    data, codebook = random_map(FOUR[1])
    before = torch.get_rng_state()
    assert report_of(data, codebook, grid_of(FOUR[1])) == report_of(data, codebook, grid_of(FOUR[1]))
    assert torch.equal(torch.get_rng_state(), before)


def test_report_compares_the_neighborhoods_of_a_sample_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "COMPARED_ROWS", 200)
    data, codebook = random_map(FOUR[0], n=600)
    report = report_of(data, codebook, grid_of(FOUR[0]), n_neighbors=15, resamples=50)
    winner = winners_of(data, codebook).index[:, 0]
    assert (report.n_samples, report.n_compared) == (600, 200)
    whole = trustworthiness(data, winner, grid_of(FOUR[0]), EUCLIDEAN, 45)  # the same share of the rows
    assert report["trustworthiness"].value == pytest.approx(whole, abs=0.03)


def test_report_of_a_map_of_one_neuron_says_what_is_not_defined(caplog: pytest.LogCaptureFixture) -> None:
    data, codebook = torch.arange(30.0)[:, None], torch.zeros(1, 1)
    with caplog.at_level(logging.INFO):
        report = report_of(data, codebook, Grid(1, 1))
    undefined = {name for name in MEASURES if math.isnan(report[name].value)}
    assert undefined == {"topographic_error", "edge_topographic_error", "combined_error", "topographic_product"}
    assert report["quantization_error"].value == 14.5
    assert caplog.text.count("not defined: it needs") == 4


def test_report_of_one_sample_has_values_and_no_intervals() -> None:
    codebook = random_map(FOUR[0])[1]
    report = report_of(codebook[:1] + 0.1, codebook, grid_of(FOUR[0]))
    assert report["quantization_error"].value == pytest.approx(0.1 * math.sqrt(3))
    assert math.isnan(report["quantization_error"].low)
    assert math.isnan(report["trustworthiness"].value)


def test_report_without_any_winner_leaves_only_what_the_map_alone_tells() -> None:
    codebook = random_map(FOUR[0])[1]
    report = report_of(torch.full((40, 3), math.nan, dtype=torch.float64), codebook, grid_of(FOUR[0]))
    assert report.n_samples == report.n_compared == 0
    assert [name for name in MEASURES if not math.isnan(report[name].value)] == ["topographic_product"]


def test_report_prints_a_line_in_plain_language_for_each_measure() -> None:
    data, codebook = random_map(FOUR[0], n=15)
    report = report_of(data, codebook, grid_of(FOUR[0]), sigma=0.75)
    header, titles, *lines = str(report).splitlines()
    assert header == "Quality on 15 samples (distortion at sigma 0.75; neighborhoods of 10 among 15 samples)"
    assert "95% interval" in titles
    assert len(lines) == len(MEASURES)
    for line, (name, measure) in zip(lines, MEASURES.items(), strict=True):
        assert line.startswith(measure.label)
        defined = not math.isnan(report[name].value)
        assert line.endswith(measure.meaning if defined else f"not defined: it needs {measure.needs}")
    assert f"{report['quantization_error'].value:.3f}"[:4] in lines[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma must be finite and > 0, got 0.0"),
        ({"sigma": math.nan}, "sigma must be finite and > 0, got nan"),
        ({"n_neighbors": 0}, "n_neighbors must be a whole number of at least 1, got 0"),
        ({"resamples": 0}, "resamples must be a whole number of at least 1, got 0"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1, got 1.0"),
    ],
)
def test_report_refuses_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    data, codebook = random_map(FOUR[0])
    with pytest.raises(ArgumentError, match=message):
        report_of(data, codebook, grid_of(FOUR[0]), **options)
