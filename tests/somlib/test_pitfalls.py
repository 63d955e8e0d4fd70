"""Where other libraries of self-organizing maps go wrong: a test for each way, here or in the file named below."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from somlib import SOM
from somlib.utils.maps import distance_map
from tests.somlib.largest import largest_tensor

TESTS = Path(__file__).parent
NAN = float("nan")

COVERED: dict[str, tuple[str, ...]] = {
    # geometry
    "hexagons shifted along the wrong axis or not at all": (
        "utils/test_grid.py::test_all_six_neighbors_of_an_inner_hexagon_lie_at_distance_one",
        "utils/test_grid.py::test_odd_hexagonal_rows_are_shifted_half_a_cell_to_the_right",
    ),
    "neighbors of even and odd rows swapped": (
        "utils/test_topology.py::test_the_hexagons_around_one_in_an_even_and_in_an_odd_row",
        "utils/test_topology.py::test_hexagons_are_neighbors_exactly_where_their_centers_are_one_apart",
    ),
    "offsets, hops, distances and the drawing disagree": (
        "utils/test_topology.py::test_hops_are_the_shortest_walks_between_neighbors",
        "utils/test_grid.py::test_positions_and_distances_are_those_of_the_lattice",
        "visualization/test_lattice.py::test_hexagons_share_an_edge_with_exactly_their_neighbors",
    ),
    "a hexagonal torus with an odd number of rows": (
        "utils/test_grid.py::test_a_hexagonal_torus_with_an_odd_number_of_rows_is_refused",
        "utils/test_grid.py::test_distances_are_a_metric",
    ),
    "the wrap forgotten in U-matrix, ties and contiguity": (
        "utils/test_maps.py::test_a_map_rolled_around_a_torus_rolls_its_u_matrix_with_it",
        "utils/test_maps.py::test_a_tie_on_a_torus_is_decided_across_the_seam",
        "utils/clustering/test_contiguity.py::test_pieces_meet_around_the_edges_of_a_torus",
    ),
    "small tori count a neighbor twice": ("utils/test_topology.py::test_tiny_tori_count_each_neighbor_once",),
    "a folded PCA start on hexagons": ("utils/test_initialization.py::test_pca_does_not_fold_a_hexagonal_map",),
    "PCA with axes taken as rows, data not centered, one spread for both axes, or the variance as spread": (
        "utils/test_initialization.py::test_pca_lays_the_map_on_the_plane_of_the_two_leading_axes",
        "utils/test_initialization.py::test_pca_spreads_by_the_standard_deviation_along_each_axis_the_long_side_first",
    ),
    "a U-matrix by sum makes borders look smooth": (
        "utils/test_maps.py::test_borders_of_a_flat_map_look_smooth_by_sum_but_not_by_mean",
        "test_pitfalls.py::test_an_unscaled_u_matrix_compares_two_maps",
    ),
    # distances and training
    "the matrix form of the Euclidean distance in float32": (
        "utils/test_search.py::test_the_winner_is_the_true_nearest_at_any_offset_and_scale",
        "utils/test_distances.py::test_an_offset_of_float32_data_costs_no_precision",
        "test_pitfalls.py::test_no_winner_is_wrong_where_the_mean_dwarfs_the_deviation",
    ),
    "cosine clamped to a right angle, and zero vectors in cell (0, 0)": (
        "utils/test_distances.py::test_cosine_runs_from_0_to_2_and_does_not_stop_at_a_right_angle",
        "utils/test_search.py::test_beyond_a_right_angle_and_beyond_all_samples_there_still_is_a_nearest",
        "utils/test_search.py::test_a_zero_vector_has_no_winner_under_cosine_and_never_is_one",
    ),
    "NaN reaching an argmin and spoiling the weights": (
        "utils/test_smallest.py::test_nan_and_infinity_never_are_the_smallest_and_ties_go_to_the_lowest_index",
        "core/test_training_rules.py::test_a_feature_is_trained_by_the_samples_that_have_it",
        "core/test_fit.py::test_refused_data_changes_nothing_on_a_new_map",
    ),
    "a small last batch that weighs more": (
        "utils/test_training.py::test_batches_are_as_few_and_as_equal_as_the_largest_size_allows",
        "core/test_training_rules.py::test_batches_never_exceed_their_size_and_hold_every_row_once_an_epoch",
    ),
    "a result that depends on the chunk": (
        "utils/test_search.py::test_neither_chunk_nor_batch_nor_order_of_rows_changes_a_winner",
        "core/test_fit.py::test_chunks_of_any_size_give_the_same_map",
    ),
    "a mexican hat that does not inhibit, and its negative denominators": (
        "utils/test_neighborhood.py::test_mexican_hat_changes_sign_at_root_two_sigma",
        "utils/test_neighborhood.py::test_mexican_hat_attracts_as_much_as_it_repels_over_the_plane",
        "utils/test_training.py::test_a_repelled_neuron_keeps_its_weights_under_the_batch_rule",
    ),
    "a search index of an earlier codebook": ("core/test_api.py::test_no_answer_comes_from_an_earlier_codebook",),
    "schedules that miss their end by a step, and T = 1": (
        "utils/test_decay.py::test_schedules_have_the_values_worked_by_hand",
        "utils/test_decay.py::test_schedules_start_at_the_start_value_also_for_a_single_epoch",
        "utils/test_decay.py::test_the_geometric_radius_is_exactly_one_in_the_last_epoch",
    ),
    "a second fit that restarts without a word": (
        "core/test_fit.py::test_a_second_fit_goes_on_with_its_schedules_anew_and_says_so",
    ),
    "the step divided by the batch size": (
        "test_pitfalls.py::test_a_batch_of_everything_twice_makes_the_step_of_everything_once",
    ),
    "errors averaged while the map moves": (
        "core/test_trainer.py::test_batch_epochs_are_kohonens_batch_map_with_the_errors_of_each_codebook",
        "core/test_fit.py::test_fit_returns_one_pair_of_errors_an_epoch_the_last_of_the_map_it_leaves",
    ),
    "global random generators seeded or drawn from": (
        "core/test_fit.py::test_the_global_random_state_is_neither_moved_nor_read",
        "core/test_api.py::test_no_method_moves_or_reads_the_random_state_of_torch_numpy_or_python",
    ),
    "a matrix of all pairs of neurons": (
        "utils/test_smoothing.py::test_a_large_map_is_built_and_smoothed_without_a_matrix_of_all_pairs",
        "test_pitfalls.py::test_no_use_of_a_large_map_builds_a_matrix_of_all_pairs_of_neurons",
    ),
    # maps, clusters, retrieval
    "a perfect score or the best rank for one sample": (
        "utils/test_maps.py::test_the_score_of_numbers_worked_by_hand",
        "utils/test_maps.py::test_equal_deviations_share_the_smaller_rank_and_single_samples_have_none",
    ),
    "ties broken at random or won by a class that was not tied": (
        "utils/test_maps.py::test_ties_are_decided_alike_every_time",
        "utils/test_maps.py::test_a_tie_is_decided_by_the_neighbors_and_never_won_by_a_class_that_was_not_tied",
    ),
    "labels and deviations in float32": (
        "utils/test_maps.py::test_labels_beyond_float32_stay_exact",
        "utils/test_maps.py::test_the_standard_deviation_survives_a_large_mean",
    ),
    "an automatic k that is never 2 or always the largest": (
        "utils/clustering/test_clusters.py::test_every_method_finds_well_separated_groups_by_itself",
        "utils/clustering/test_clusters.py::test_two_distinct_neurons_are_two_clusters",
        "utils/clustering/test_clusters.py::test_neurons_that_are_all_equal_are_one_cluster",
    ),
    "one cluster scored as perfect, and scores of the few that are not noise": (
        "utils/clustering/test_scores.py::test_scores_that_are_not_defined_are_nan_with_the_reason_logged",
        "utils/clustering/test_scores.py::test_metrics_are_the_six_of_the_contract",
    ),
    "a number of clusters that the labels do not show": (
        "utils/clustering/test_clusters.py::test_clusters_are_numbered_by_first_appearance",
        "utils/clustering/test_gmm.py::test_a_mixture_whose_components_hold_no_neurons_shows_fewer_clusters_and_says_so",
    ),
    "tiny maps that crash": (
        "utils/clustering/test_clusters.py::test_maps_of_every_small_size_are_clustered_the_same_each_time",
    ),
    "weights and positions joined without scaling": (
        "utils/clustering/test_neurons.py::test_combined_joins_weights_then_row_then_column_each_block_of_the_same_total_variance",
    ),
    "retrieval without a cap, a distance or an age": (
        "jitl/test_sample_index.py::test_a_cap_keeps_the_newest_or_nearest_of_each_neuron",
        "jitl/test_sample_index.py::test_a_capped_buffer_has_the_nearest_to_the_query_first",
        "jitl/test_sample_index.py::test_a_sample_of_half_life_age_weighs_half",
    ),
    "two rows of outputs for a row of inputs": (
        "core/test_api.py::test_outputs_have_a_row_for_each_sample_whatever_their_columns",
    ),
    "nothing retrieved and nothing said": (
        "core/test_api.py::test_an_empty_buffer_is_empty_of_the_right_shape_and_said_so",
    ),
    "weights saved without what they belong to": (
        "core/test_persistence.py::test_every_argument_comes_back_with_the_values_taken",
        "core/test_persistence.py::test_a_damaged_or_foreign_map_is_refused_with_the_reason",
    ),
    "keys from a salted hash": ("core/test_map_builder.py::test_keys_are_the_same_in_every_process",),
}  # fmt: skip


@cache
def names_in(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("pitfall", COVERED)
def test_every_pitfall_has_its_tests(pitfall: str) -> None:
    for test in COVERED[pitfall]:
        file, name = test.split("::")
        assert name in names_in(TESTS / file), test


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_an_unscaled_u_matrix_compares_two_maps() -> None:
    som = SOM(5, 4, 3, device="cpu")
    calm = distance_map(som.codebook, som.grid, som.metric, scaling="mean")
    scaled = som.build_map("distance", scaling="mean")
    som.weights.data *= 3  # a map that has become three times as uneven
    torch.testing.assert_close(distance_map(som.codebook, som.grid, som.metric, scaling="mean"), 3 * calm)
    torch.testing.assert_close(som.build_map("distance", scaling="mean"), scaled)  # which cannot tell


@pytest.mark.parametrize("mean", [1_000.0, 3_000.0, 100_000.0])
@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_no_winner_is_wrong_where_the_mean_dwarfs_the_deviation(mean: float, backend: str) -> None:
    data, som = normal(2_000, 8) + mean, SOM(12, 10, 8, search_backend=backend, device="cpu")
    som.weights.data = normal(12, 10, 8, seed=1) + mean
    reach = torch.cdist(data.double(), som.codebook.double(), compute_mode="donot_use_mm_for_euclid_dist")
    nearest, flat = reach.min(dim=1), som.identify_bmus(data) @ torch.tensor([10, 1])
    assert (flat != nearest.indices).sum() == 0
    assert som.quantization_error(data) == pytest.approx(float(nearest.values.mean()), rel=1e-6)


@pytest.mark.parametrize("copies", [2, 50])
def test_a_batch_of_everything_twice_makes_the_step_of_everything_once(copies: int) -> None:
    data = normal(60, 3).double()

    def trained(rows: Tensor) -> Tensor:
        som = SOM(4, 4, 3, batch_size=len(rows), initialization_mode="pca", device="cpu")
        som.initialize_weights(data)
        som.partial_fit(rows)
        return som.weights

    torch.testing.assert_close(trained(data.repeat(copies, 1)), trained(data), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("grid", [{}, {"topology": "hexagonal", "pbc": True}])
@pytest.mark.parametrize("kernel", ["gaussian", "mexican_hat", "bubble", "triangle"])
def test_no_use_of_a_large_map_builds_a_matrix_of_all_pairs_of_neurons(grid: dict[str, Any], kernel: str) -> None:
    m, data, query = 60 * 60, normal(3_600, 2), torch.zeros(2)
    settings: Any = {**grid, "neighborhood_function": kernel, "algorithm": "batch", "device": "cpu"}

    def use() -> None:
        som = SOM(60, 60, 2, epochs=1, initialization_mode="pca", **settings)
        som.fit(data, verbose=False)
        som.topographic_error(data)
        som.build_map("distance")
        samples = som.build_map("bmus_data", data)
        som.build_map("classification", target=torch.arange(3_600) % 2, bmus_data_map=samples)
        som.collect_samples(query, data, torch.zeros(3_600), samples)

    assert largest_tensor(use) < m * m / 10  # which is more than a block of distances
