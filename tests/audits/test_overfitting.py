import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits

import penchant as pn
from penchant.audits import overfitting
from penchant.audits._left_out import (
    best_ridge,
    of_averaging,
    of_interpolation,
    of_max_margin,
)
from penchant.audits._moments import moments
from penchant.datasets import Mixture, noises


def mixture(d=500, length=4.0, **options):
    return Mixture(np.append(length, np.zeros(d - 1)), 1.0, **options)


def gram(sample):
    X, y = sample
    Z = X * y[:, None]
    return Z @ Z.T


def digits(a, b):
    X, labels = load_digits(return_X_y=True)
    keep = np.isin(labels, (a, b))
    return X[keep] / 16, np.where(labels[keep] == a, -1, 1)


# --- moments


def test_moments_are_means_over_different_rows():
    K = gram(mixture(30, 2.0).sample(7, seed=0))
    found = moments(K)
    of = lambda k: itertools.permutations(range(7), k)
    mean = lambda terms: np.mean(list(terms))
    pairs = mean(K[i, j] for i, j in of(2))
    squares = mean(K[i, j] ** 2 for i, j in of(2))
    threes = mean(K[i, j] * K[j, k] for i, j, k in of(3))
    fours = mean(K[i, j] * K[k, l] for i, j, k, l in of(4))
    assert found["signal"].value == pytest.approx(pairs)
    assert found["trace"].value == pytest.approx(np.trace(K) / 7 - pairs)
    assert found["square"].value == pytest.approx(squares - 2 * threes + fours)
    assert found["aligned"].value == pytest.approx(threes - fours)
    # the jackknife, by leaving rows out
    for name in found:
        left = [
            moments(np.delete(np.delete(K, i, 0), i, 1))[name].value for i in range(7)
        ]
        spread = np.sqrt(6 / 7 * np.sum((left - np.mean(left)) ** 2))
        assert found[name].error == pytest.approx(spread)


LAWS = {
    "isotropic": (mixture(), 40),
    "no signal": (mixture(length=0.0), 40),
    "power": (Mixture(np.eye(300)[0] * 2, np.arange(1, 301.0) ** -0.5), 60),
    "heavy": (mixture(300, 3.0, noise=noises.StudentT(8.0)), 60),
}


@pytest.mark.parametrize("law", LAWS)
def test_moments_are_unbiased_and_their_intervals_cover(law):
    source, n = LAWS[law]
    lam, mu = source.variances, source.mean
    truth = {
        "signal": mu @ mu,
        "trace": lam.sum(),
        "square": lam @ lam,
        "aligned": mu**2 @ lam,
    }
    seeds = 200
    found = [moments(gram(source.sample(n, seed=s))) for s in range(seeds)]
    for name, value in truth.items():
        values = np.array([f[name].value for f in found])
        error = values.std(ddof=1) / np.sqrt(seeds)
        assert abs(values.mean() - value) < 3.5 * error
        covered = np.mean([f[name].covers(value) for f in found])
        # no fewer than 95 % allow for in 200 draws; the square of no signal is cautious
        assert covered >= 0.90


# --- left-out margins


def test_left_out_margins_are_those_of_leaving_out():
    K = gram(mixture(60, 3.0).sample(14, seed=1))
    t, ridged = best_ridge(K)
    averaged, interpolated = of_averaging(K), of_interpolation(K)
    for i in range(14):
        rest = np.delete(np.arange(14), i)
        G, k = K[np.ix_(rest, rest)], K[i, rest]
        assert averaged[i] == pytest.approx(k.mean())
        assert interpolated[i] == pytest.approx(k @ np.linalg.solve(G, np.ones(13)))
        if np.isfinite(t):
            beta = np.linalg.solve(G + t * np.eye(13), np.ones(13))
            assert ridged[i] == pytest.approx(k @ beta)


def test_left_out_margins_of_max_margin_are_near_those_of_leaving_out():
    from penchant.margins._solvers.min_norm import pivot

    K = gram(mixture(60, 4.0).sample(30, seed=1))
    solve = lambda G: pivot(G, np.ones(len(G), bool), np.ones(len(G)))
    beta = solve(K)
    found = of_max_margin(K, beta, K @ beta)
    exact = []
    for i in range(30):
        rest = np.delete(np.arange(30), i)
        exact.append(K[i, rest] @ solve(K[np.ix_(rest, rest)]))
    off = beta == 0
    np.testing.assert_allclose(found[off], np.array(exact)[off], rtol=1e-9)
    assert np.corrcoef(found, exact)[0, 1] > 0.98
    assert abs(found.mean() - np.mean(exact)) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_intervals_of_rho_cover_what_the_weights_have(law):
    source, n = LAWS[law]
    seeds, hit = 100, dict.fromkeys(("max_margin", "interpolating", "averaging"), 0)
    for seed in range(seeds):
        X, y = source.sample(n, seed=seed)
        found, Z = overfitting(X, y), X * y[:, None]
        data = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
        weights = {
            "max_margin": pn.max_margin(data, pn.norms.L2()).weights,
            "interpolating": np.linalg.lstsq(X, y.astype(float), rcond=None)[0],
            "averaging": Z.sum(0),
        }
        for name in hit:
            hit[name] += getattr(found, name).covers(source.rho(weights[name]))
    assert min(hit.values()) >= 86


# --- the audit


def test_many_features_are_least_squares():
    source = mixture(4000, 6.0)
    X, y = source.sample(40, seed=0)
    held = source.sample(500, seed=1)
    found = overfitting(X, y, held_out=(held.X, held.y))
    assert found.is_least_squares
    assert found.support.all()
    assert found.cosine == pytest.approx(1.0, abs=1e-12)
    assert found.predicted_share.value > 0.999
    assert found.signal.covers(36.0)
    assert found.fits
    assert "is least squares: all 40 rows" in found.headline
    assert any("solve least squares" in a for a in found.advice)
    assert found.measured.max_margin.value == found.measured.interpolating.value
    assert found.to_dict()["measured"]["how"] == "500 held-out rows"


def test_support_shares_are_as_predicted():
    # both from the rows, and from the mixture itself
    source = mixture(150, 5.0)
    told = pn.theory.mixture_risk(source, 60)
    found = [overfitting(*source.sample(60, seed=s)) for s in range(12)]
    assert not any(f.is_least_squares for f in found)
    shares = np.array([f.share for f in found])
    error = shares.std(ddof=1) / np.sqrt(12)
    assert abs(shares.mean() - told.support) < 3.5 * error + 0.01
    predicted = np.array([f.predicted_share.value for f in found])
    assert abs(predicted.mean() - shares.mean()) < 0.04
    within = [f.predicted_share.covers(f.share, level=0.99) for f in found]
    assert np.mean(within) >= 0.75


def test_zero_and_one_are_labels_and_order_does_not_matter():
    X, y = mixture(80, 3.0).sample(30, seed=2)
    a = overfitting(X, y)
    b = overfitting(X, (y + 1) // 2)
    order = np.random.default_rng(0).permutation(30)
    c = overfitting(X[order], y[order])
    assert a.max_margin.value == b.max_margin.value
    assert a.max_margin.value == pytest.approx(c.max_margin.value, rel=1e-9)
    assert np.array_equal(a.support[order], c.support)


def test_sparse_text_is_what_it_is_as_a_dense_array():
    rng = np.random.default_rng(0)
    n, d = 60, 5000
    y = np.where(np.arange(n) % 2 == 0, 1, -1)
    rows = []
    for label in y:  # words by a power law, 40 of them leaning to one class
        p = 1.0 / np.arange(1, d + 1)
        p[100:140] *= 6.0 if label > 0 else 0.2
        rows.append(np.bincount(rng.choice(d, 150, p=p / p.sum()), minlength=d))
    dense = np.log1p(np.array(rows, dtype=float))
    a = overfitting(dense, y, folds=5)
    b = overfitting(sparse.csr_matrix(dense), y, folds=5)
    assert np.array_equal(a.support, b.support)
    assert a.max_margin.value == pytest.approx(b.max_margin.value, rel=1e-9)
    assert a.measured.max_margin.value == b.measured.max_margin.value
    assert a.offset == pytest.approx(b.offset)
    assert a.offset > 0.25
    assert any("centre" in advice for advice in b.advice)


@pytest.mark.parametrize("pair", [(1, 7), (3, 8)])
def test_digits_with_more_rows_than_features(pair):
    found = overfitting(*digits(*pair), folds=4)
    assert not found.is_least_squares
    assert not found.interpolating.valid
    assert "does not interpolate" in found.headline
    assert found.share < 0.12
    assert abs(found.predicted_share.value - found.share) < 0.03
    assert found.measured.interpolating is None
    assert found.measured.max_margin.value < 0.02
    assert "unknown (the Gram matrix is singular)" in repr(found)


def test_a_model_that_does_not_fit_is_said_not_to():
    X, y = digits(1, 7)
    found = overfitting(X[:40], y[:40], held_out=(X[40:], y[40:]))
    assert not found.fits
    assert any("does not fit" in a for a in found.advice)
    # what is measured, not what is predicted, is the verdict's
    assert "measured" in found.headline


def test_heavy_tails_are_seen():
    rng = np.random.default_rng(0)
    y = rng.choice([-1, 1], 200)
    X = rng.normal(size=(200, 400)) * rng.standard_cauchy(200)[:, None]
    X[:, 0] += 2.0 * y
    found = overfitting(X, y)
    assert found.normality < 1e-6
    assert "can't say" in found.headline


def test_the_test_of_normality_is_one():
    # on mixtures it speaks in about one of a hundred
    source = mixture(300, 3.0)
    p = [overfitting(*source.sample(40, seed=s)).normality for s in range(60)]
    assert np.sum(np.array(p) < 0.01) <= 3
    assert 0.25 < np.mean(p) < 0.75


def test_flips_that_cost_are_seen_to_cost():
    # few features: interpolating flipped labels is not harmless, averaging is
    source = mixture(130, 4.0, flip=0.2)
    X, y = source.sample(100, seed=0)
    held = source.sample(2000, seed=1)
    found = overfitting(X, y, held_out=(held.X, held.clean))
    assert found.measured.max_margin.value > found.measured.averaging.value + 0.05
    assert "overfitting costs (" in found.headline
    assert any("ridge of about" in a for a in found.advice)


BAD = np.random.default_rng(0).normal(size=(20, 50))
SIGNS = np.where(np.arange(20) % 2 == 0, 1.0, -1.0)


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (np.where(BAD > 2.5, np.nan, BAD), SIGNS, "NaN"),
        (sparse.csr_matrix(np.where(BAD > 2.5, np.inf, 0.0)), SIGNS, "infinite"),
        (BAD, np.ones(20), "two classes"),
        (BAD, np.arange(20.0), r"-1 and \+1"),
        (BAD, SIGNS[:5], r"shape \(20,\)"),
        (BAD[0], SIGNS, r"shape \(n, d\)"),
        (BAD[:5], SIGNS[:5], "10 to"),
        (np.zeros((20, 50)), SIGNS, "not 0"),
        (np.vstack([BAD, BAD[:1]]), np.append(SIGNS, -1.0), "rows 0 and 20"),
        (np.vstack([BAD, BAD[2:3]]), np.append(SIGNS, 1.0), "rows 2 and 20 are equal"),
        (np.vstack([BAD, BAD[:1] + BAD[2:3]]), np.append(SIGNS, 1.0), "independent"),
        (BAD[:, :3], SIGNS, "no weights classify"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_bad_data_get_a_sentence(X, y, words):
    with pytest.raises(ValueError, match=words):
        overfitting(X, y)


def test_bad_requests_get_a_sentence():
    with pytest.raises(ValueError, match="exclude each other"):
        overfitting(BAD, SIGNS, held_out=(BAD, SIGNS), folds=3)
    with pytest.raises(ValueError, match="50 features"):
        overfitting(BAD, SIGNS, held_out=(BAD[:, :4], SIGNS))
    with pytest.raises(ValueError, match="at most 10"):
        overfitting(BAD, SIGNS, folds=11)
    with pytest.raises(TypeError, match="X must be"):
        overfitting([["a"] * 3] * 20, SIGNS)
