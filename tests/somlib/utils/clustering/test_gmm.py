"""Mixtures against scikit-learn and the densities of scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from somlib import SOM
from somlib.errors import SomlibWarning
from somlib.utils.clustering import cluster_neurons
from somlib.utils.grid import Grid
from tests.somlib.utils.clustering.cases import blobs, normal, silhouettes_by_definition


def test_gmm_agrees_with_scikit_learn_where_its_regularization_does_not_matter() -> None:
    codebook, _ = blobs([30, 30, 21])
    model = GaussianMixture(3, random_state=0).fit(codebook.numpy())
    result = cluster_neurons(codebook, Grid(9, 9), "gmm", n_clusters=3)
    assert adjusted_rand_score(model.predict(codebook.numpy()), result["labels"].numpy()) == 1
    order = [model.predict(codebook[[row]].numpy())[0] for row in (0, 30, 60)]
    np.testing.assert_allclose(result["centers"].numpy(), model.means_[order], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(result["probabilities"].numpy(), model.predict_proba(codebook)[:, order], atol=1e-3)
    assert result["bic"] == pytest.approx(model.bic(codebook.numpy()), rel=1e-3)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_bic_and_aic_of_one_gaussian_are_those_of_its_density_in_the_features_units(scale: float) -> None:
    codebook = scale * normal(49, 3) @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 2.0]]).double()
    points = codebook.numpy()
    density = multivariate_normal(points.mean(axis=0), np.cov(points.T, bias=True))
    log_likelihood, parameters = density.logpdf(points).sum(), 3 + 6
    result = cluster_neurons(codebook, Grid(7, 7), "gmm", n_clusters=1)
    assert result["bic"] == pytest.approx(-2 * log_likelihood + parameters * math.log(49), rel=1e-5)
    assert result["aic"] == pytest.approx(-2 * log_likelihood + 2 * parameters, rel=1e-5)


def test_a_constant_feature_costs_a_mixture_no_parameters() -> None:
    codebook, _ = blobs([30, 30])
    with_constants = torch.cat([codebook, torch.full((60, 3), 0.1, dtype=torch.float64)], dim=1)
    plain, padded = (cluster_neurons(c, Grid(6, 10), "gmm") for c in (codebook, with_constants))
    assert torch.equal(plain["labels"], padded["labels"])
    assert plain["bic"] == pytest.approx(padded["bic"])
    torch.testing.assert_close(padded["centers"][:, :2], plain["centers"])
    torch.testing.assert_close(padded["centers"][:, 2:], with_constants[:2, 2:])


def test_gmm_takes_one_gaussian_for_one_cluster() -> None:
    assert cluster_neurons(normal(225, 2), Grid(15, 15), "gmm")["n_clusters"] == 1


def test_gmm_does_not_take_singular_components_for_a_gain() -> None:
    """30 neurons in 20 features: with two components, one at least has a likelihood without bound."""
    assert cluster_neurons(normal(30, 20), Grid(5, 6), "gmm")["n_clusters"] == 1


def test_the_chosen_gmm_has_the_best_silhouette_of_those_with_components_of_enough_neurons() -> None:
    codebook, _ = blobs([30, 20, 30, 20])
    grid = Grid(10, 10)
    scores = {}
    for k in range(2, 11):
        result = cluster_neurons(codebook, grid, "gmm", n_clusters=k)
        if result["probabilities"].sum(dim=0).min() > 2 and result["n_clusters"] == k:
            scores[k] = np.mean(silhouettes_by_definition(codebook.numpy(), result["labels"].tolist()))
    assert cluster_neurons(codebook, grid, "gmm")["n_clusters"] == max(scores, key=lambda k: scores[k]) == 4


def test_the_neurons_of_one_gaussian_are_one_component() -> None:
    for seed, features in ((1, 2), (2, 5), (3, 10)):
        rows = normal(600, features, seed=seed).float()
        som = SOM(9, 8, features, preset="balanced")
        som.fit(rows, verbose=False)
        assert som.cluster("gmm")["n_clusters"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_a_gmm_finds_four_clear_groups_of_rows_asked_for_or_not(seed: int) -> None:
    """With a single start of EM three are found now and then, for two components settle in one group."""
    centers = torch.tensor([[0.0, 0, 0], [8, 0, 0], [0, 8, 0], [0, 0, 8]])
    rows, group = normal(800, 3, seed=seed).float() + centers.repeat(200, 1), torch.arange(4).repeat(200)
    som = SOM(12, 10, 3, topology="hexagonal", random_seed=seed)
    som.fit(rows, verbose=False)
    winner = som.winners(rows).index[:, 0]
    for k in (4, None):
        labels = som.cluster("gmm", n_clusters=k)["labels"][winner]
        assert adjusted_rand_score(group, labels) > 0.97


def test_gmm_probabilities_follow_the_numbering_of_the_labels() -> None:
    codebook, _ = blobs([20, 20, 24])
    result = cluster_neurons(codebook[torch.arange(63, -1, -1)], Grid(8, 8), "gmm", n_clusters=3)
    probabilities = result["probabilities"]
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(64, dtype=torch.float64))
    assert torch.equal(probabilities.argmax(dim=1) + 1, result["labels"])
    weighted = probabilities.T @ result["original_data"] / probabilities.sum(dim=0)[:, None]
    torch.testing.assert_close(result["centers"], weighted, rtol=1e-3, atol=1e-3)  # the M step at convergence


def test_a_mixture_whose_components_hold_no_neurons_shows_fewer_clusters_and_says_so() -> None:
    """Two Gaussians of one center: the wide one is ahead nowhere but in the tails that have no neurons."""
    codebook = torch.tensor([[0.0], [1.0], [0.0], [1.0], [1.0], [0.0], [0.5], [1.0], [0.0], [0.5]])
    with pytest.warns(SomlibWarning, match="n_clusters=3 was asked for, but only 2 of them hold neurons"):
        result = cluster_neurons(codebook, Grid(2, 5), "gmm", n_clusters=3, reg_covar=10.0)
    assert result["n_clusters"] == len(result["centers"]) == result["probabilities"].shape[1]
