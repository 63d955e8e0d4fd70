"""Mixtures from moments, against scikit-learn's EM on rows and the densities of scipy."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from somlib.utils.clustering import gaussians
from somlib.utils.clustering.gaussians import DIAGONAL, FULL, Form, Mixture, Moments, fitted, log_sum

RNG = np.random.default_rng(0)
GROUP = np.arange(300) % 3
ROWS = np.array([[0.0, 0.0], [7.0, 0.0], [0.0, 7.0]])[GROUP] + RNG.normal(size=(300, 2)) @ [[1.0, 0.6], [0.0, 0.8]]
ONES = np.ones(300)


def of_rows() -> Moments:
    """Every row a group of its own: EM on moments is then EM on rows."""
    return Moments.of(ROWS, ONES, np.arange(300), products=True)


def test_moments_are_the_weighted_means_of_each_group() -> None:
    weight, group = np.array([1.0, 2.0, 3.0]), np.array([1, 0, 1])
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, -2.0]])
    found = Moments.of(values, weight, group, products=True)
    assert found.rows.tolist() == [2.0, 4.0]
    assert found.mean.tolist() == [[3.0, 4.0], [4.0, -1.0]]  # (1 + 3 * 5) / 4, (2 - 3 * 2) / 4
    assert found.square.tolist() == [[9.0, 16.0], [19.0, 4.0]]
    assert found.product is not None
    assert found.product.tolist() == [[9.0, 12.0, 12.0, 16.0], [19.0, -7.0, -7.0, 4.0]]


@pytest.mark.parametrize("products", [True, False])
def test_the_total_covariance_is_that_of_all_rows(products: bool) -> None:
    expected = np.cov(ROWS.T, bias=True)
    expected = expected if products else np.diag(expected.diagonal())
    found = Moments.of(ROWS, ONES, GROUP, products).total
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("form", "name"),
    [(FULL[0], "full"), (FULL[1], "tied"), (Form("diagonal", False), "diag"), (Form("spherical", False), "spherical")],
)
def test_em_on_rows_ends_where_that_of_scikit_learn_does(
    form: Form, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaussians, "CONVERGED", 1e-12)
    means = np.array([ROWS[k == GROUP].mean(axis=0) for k in range(3)])
    witness = GaussianMixture(3, covariance_type=name, means_init=means, tol=1e-12, reg_covar=0, max_iter=500).fit(ROWS)
    mixture, likelihood = fitted(GROUP, of_rows(), form)
    # The prior of the covariance moves them by about 5 rows in 100.
    assert likelihood == pytest.approx(witness.score(ROWS) * 300, rel=0.005)
    assert (mixture.joint_of_rows(ROWS).argmax(axis=1) == witness.predict(ROWS)).all()
    assert form.parameters(3, 2) == witness._n_parameters()


@pytest.mark.parametrize("form", [*FULL, *DIAGONAL])
def test_the_expected_density_of_a_group_is_the_mean_over_its_rows(form: Form) -> None:
    mixture, _ = fitted(GROUP, of_rows(), form)
    groups = np.arange(300) // 10
    joint = mixture.joint_of_rows(ROWS)
    expected = [joint[groups == g].mean(axis=0) for g in range(30)]
    np.testing.assert_allclose(mixture.joint(Moments.of(ROWS, ONES, groups, products=True)), expected)


def test_the_density_of_a_row_is_that_of_the_normal_distribution() -> None:
    mean, covariance = np.array([1.0, -2.0]), np.array([[2.0, 0.5], [0.5, 1.0]])
    precision = np.linalg.inv(covariance)
    constant = np.log(0.25) - np.log(2 * np.pi) - (np.linalg.slogdet(covariance)[1] + mean @ precision @ mean) / 2
    theta = np.hstack((-precision.ravel() / 2, precision @ mean, constant))[None]
    expected = np.log(0.25) + multivariate_normal(mean, covariance).logpdf(ROWS)
    np.testing.assert_allclose(Mixture(theta, full=True).joint_of_rows(ROWS)[:, 0], expected)


def test_a_weight_counts_like_copies() -> None:
    weight = 1 + np.arange(300) % 3
    copied = Moments.of(np.repeat(ROWS, weight, axis=0), np.ones(weight.sum()), np.repeat(GROUP, weight), True)
    weighted = Moments.of(ROWS, weight.astype(float), GROUP, True)
    np.testing.assert_allclose(weighted.full, copied.full)
    assert weighted.rows.tolist() == copied.rows.tolist()


def test_features_that_depend_on_each_other_have_a_density() -> None:
    rows = np.hstack((ROWS, ROWS, np.full((300, 1), 3.0)))
    for form in (*FULL, *DIAGONAL):
        mixture, likelihood = fitted(GROUP, Moments.of(rows, ONES, np.arange(300), True), form)
        assert np.isfinite(likelihood)
        assert (mixture.joint_of_rows(rows).argmax(axis=1) == GROUP).mean() > 0.99


def test_the_logarithm_of_sums_is_that_of_scipy() -> None:
    joint = np.array([[-2000.0, -2001.0], [3.0, -700.0]])
    np.testing.assert_allclose(log_sum(joint), logsumexp(joint, axis=1))
