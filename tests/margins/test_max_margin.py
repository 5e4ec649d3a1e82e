import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import norms
from penchant.margins import Exact, FirstOrder, LooseMarginWarning, promised_gap
from penchant.margins._solvers.rows import PairRows
from tests.cases import binary, multiclass, name, paper_data

EVERY = (
    norms.L1(),
    norms.Lp(1.2),
    norms.Lp(1.5),
    norms.L2(),
    norms.Lp(3.0),
    norms.Lp(10.0),
    norms.Linf(),
    norms.Nuclear(),
    norms.Schatten(1.2),
    norms.Schatten(1.5),
    norms.Schatten(3.0),
    norms.Schatten(10.0),
    norms.Spectral(),
)
every_norm = pytest.mark.parametrize("norm", EVERY, ids=name)


def check(problem, norm, found, gap=None):
    """What makes a result right, whatever computed it."""
    gap = promised_gap(norm) if gap is None else gap
    assert float(found.gap) <= gap
    assert np.isclose(float(norm(found.weights)), 1.0, rtol=1e-9)
    # primal: the margin is that of the weights
    margins = np.asarray(problem.margins(found.weights))
    assert np.isclose(margins.min(), float(found.margin), rtol=1e-12)
    # dual: simplex weights, whose combination has the dual norm stated
    pairs = np.asarray(found.pairs)
    assert pairs.min() >= 0
    assert np.isclose(pairs.sum(), 1.0, rtol=1e-12)
    assert np.allclose(pairs.sum(1), found.dual, atol=1e-15)
    bound = float(norm.dual(problem.pull(found.pairs)))
    assert np.isclose(bound, float(found.upper_bound), rtol=1e-12)
    assert np.isclose(float(found.gap), 1 - float(found.margin) / bound, atol=1e-12)
    # complementary slackness: support vectors lie on the margin
    width = max(1e-4, 50 * gap) * bound
    on_margin = margins <= margins.min() + width
    assert np.all(on_margin[np.asarray(found.support)])


@every_norm
def test_certified_on_random_multi_class_data(norm):
    problem = multiclass(5, k=4, d=6, n=40)
    check(problem, norm, pn.max_margin(problem, norm), gap=2e-9)


@pytest.mark.parametrize("norm", [n for n in EVERY if "S" not in repr(n)], ids=name)
@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (12, 12)], ids=str)
def test_certified_on_random_binary_data(norm, shape):
    d, n = shape
    problem = binary(3, d=d, n=n) if d > n else _teacher(n, d)
    # exponents such as 10 are promised 1e-4; they stop where rounding does
    gap = 2e-9 if norm.p in {1.0, 2.0, np.inf} else 1e-6
    check(problem, norm, pn.max_margin(problem, norm), gap=gap)


def _teacher(n, d):
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, d))
    return pn.LinearClassification(
        X, np.sign(X @ rng.normal(size=d)), loss=pn.losses.Logistic()
    )


# muon_spectral note, section 5.1: default_rng(0), k=10, d=25, 50 a class, sigma=.1
TABLE = {
    norms.L1(): 0.145203,
    norms.Lp(1.5): 0.603588,
    norms.L2(): 1.337672,
    norms.Lp(3.0): 3.017938,
    norms.Linf(): 15.418961,
    norms.Nuclear(): 0.478300,
    norms.Schatten(1.5): 0.942992,
    norms.Schatten(3.0): 1.895062,
    norms.Spectral(): 3.493780,
}


@pytest.mark.parametrize("norm", TABLE, ids=name)
def test_table_of_the_paper_data(norm):
    problem = paper_data(0)
    found = pn.max_margin(problem, norm)
    assert abs(float(found.margin) - TABLE[norm]) <= 1e-6
    check(problem, norm, found)


@pytest.mark.parametrize("k", [3, 6])
@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 3.0, math.inf])
def test_closed_forms_for_one_hot_examples(k, q):
    # h_i = e_i, n = k = d; q is the dual exponent
    problem = pn.LinearClassification(
        np.eye(k), np.arange(k), loss=pn.losses.Logistic()
    )
    p = math.inf if q == 1.0 else 1.0 if math.isinf(q) else q / (q - 1)
    if math.isinf(q):
        entrywise = 1 / k
    else:
        entrywise = (k ** (1 - q) + (k * (k - 1)) ** (1 - q)) ** (1 / q)
    spectral = 1.0 if math.isinf(p) else (k - 1) ** (-1 / p)
    found = pn.max_margin(problem, norms.lp(p))
    assert np.isclose(float(found.margin), entrywise, rtol=1e-8)
    found = pn.max_margin(problem, norms.schatten(p))
    assert np.isclose(float(found.margin), spectral, rtol=1e-8)


def cvxpy_margin(problem, norm):
    cp = pytest.importorskip("cvxpy")
    W = cp.Variable(problem.weight_shape)
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    if problem.binary:
        margins, size = cp.multiply(y, X @ W), cp.norm(W, norm.p)
    else:
        Z = X @ W.T
        margins = cp.hstack([
            Z[i, y[i]] - Z[i, c]
            for i in range(len(y))
            for c in range(problem.classes)
            if c != y[i]
        ])
        size = {
            "spectral": cp.sigma_max,
            "nuclear": cp.normNuc,
        }.get(norm.label, lambda W: cp.norm(cp.vec(W, order="C"), norm.p))(W)
    program = cp.Problem(cp.Maximize(cp.min(margins)), [size <= 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program.solve(solver=cp.CLARABEL)


@pytest.mark.parametrize(
    "norm",
    [norms.L1(), norms.Lp(1.5), norms.L2(), norms.Lp(3.0), norms.Linf(),
     norms.Nuclear(), norms.Spectral()],
    ids=name,
)  # fmt: skip
def test_agrees_with_cvxpy(norm):
    for problem in (multiclass(11, k=3, d=4, n=15), binary(11, d=7, n=5)):
        if problem.binary and isinstance(norm, norms.AbstractSchatten):
            continue
        ours = float(pn.max_margin(problem, norm).margin)
        assert np.isclose(ours, cvxpy_margin(problem, norm), rtol=2e-6)


def test_agrees_with_a_support_vector_machine():
    from sklearn.svm import SVC

    problem = _teacher(60, 5)
    X = np.asarray(problem.X) * np.asarray(problem.y)[:, None]
    # mirrored data: the intercept that SVC always fits is then 0
    twice, labels = np.vstack([X, -X]), np.repeat([1, -1], len(X))
    machine = SVC(kernel="linear", C=1e10, tol=1e-10).fit(twice, labels)
    w = machine.coef_[0]
    found = pn.max_margin(problem, norms.L2())
    assert np.isclose(float(found.margin), (X @ w).min() / np.linalg.norm(w), rtol=1e-6)
    assert np.allclose(found.weights, w / np.linalg.norm(w), atol=1e-5)


@pytest.mark.parametrize("norm", [norms.L1(), norms.L2(), norms.Spectral()], ids=name)
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scaling_and_permuting_the_data(norm, scale):
    problem = multiclass(7, k=3, d=5, n=20)
    margin = float(pn.max_margin(problem, norm).margin)
    order = np.random.default_rng(0).permutation(20)
    X, y = np.asarray(problem.X)[order], np.asarray(problem.y)[order]
    twin = pn.LinearClassification(scale * X, y, loss=pn.losses.Logistic())
    assert np.isclose(
        float(pn.max_margin(twin, norm).margin), scale * margin, rtol=1e-8
    )


def test_mahalanobis_margins():
    problem = binary(0, d=20, n=9)
    M = np.random.default_rng(0).uniform(0.1, 4.0, size=20)
    diagonal = pn.max_margin(problem, norms.Mahalanobis(jnp.asarray(M)))
    check(problem, norms.Mahalanobis(jnp.asarray(M)), diagonal)
    full = pn.max_margin(problem, norms.Mahalanobis(jnp.diag(jnp.asarray(M))))
    assert np.isclose(float(full.margin), float(diagonal.margin), rtol=1e-8)
    # the change of variables v = sqrt(M) w makes it Euclidean
    stretched = pn.LinearClassification(
        np.asarray(problem.X) / np.sqrt(M), problem.y, loss=problem.loss
    )
    euclidean = pn.max_margin(stretched, norms.L2())
    assert np.isclose(float(euclidean.margin), float(diagonal.margin), rtol=1e-9)
    # a weighted norm of all k x d weights
    several = multiclass(1, k=3, d=4, n=12)
    weights = jnp.asarray(np.random.default_rng(1).uniform(0.5, 2.0, size=(3, 4)))
    norm = norms.Mahalanobis(weights)
    check(several, norm, pn.max_margin(several, norm))


def test_seminorm_margins():
    problem = _teacher(40, 6)
    M = np.diag([1.0, 1.0, 1.0, 1.0, 2.0, 0.0])
    found = pn.max_margin(problem, norms.Mahalanobis(jnp.asarray(M)))
    assert float(found.gap) <= 1e-6
    # bounded from below by a definite matrix nearby
    near = pn.max_margin(problem, norms.Mahalanobis(jnp.asarray(M + 1e-9 * np.eye(6))))
    assert np.isclose(float(found.margin), float(near.margin), rtol=1e-6)
    with pytest.raises(ValueError, match="unbounded"):
        pn.max_margin(
            binary(0, d=6, n=2),
            norms.Mahalanobis(jnp.diag(jnp.array([1.0] + [0.0] * 5))),
        )


def test_one_sample_has_the_dual_norm_as_margin():
    x = np.array([1.0, -2.0, 3.0, 0.0])
    problem = pn.LinearClassification(x[None], [1], loss=pn.losses.Exponential())
    for norm in (norms.L1(), norms.L2(), norms.Linf(), norms.Lp(1.5), norms.Lp(4.0)):
        found = pn.max_margin(problem, norm)
        assert np.isclose(
            float(found.margin), float(norm.dual(jnp.asarray(x))), rtol=1e-8
        )
        assert found.support.sum() == 1


def test_repeated_samples_and_idle_features_change_nothing():
    problem = binary(2, d=7, n=5)
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    padded = np.hstack([X, np.zeros((5, 3))])
    for norm in (norms.L1(), norms.L2(), norms.Linf(), norms.Lp(3.0)):
        margin = float(pn.max_margin(problem, norm).margin)
        for twin, labels in ((np.vstack([X, X, X]), np.tile(y, 3)), (padded, y)):
            again = pn.LinearClassification(twin, labels, loss=problem.loss)
            assert np.isclose(
                float(pn.max_margin(again, norm).margin), margin, rtol=1e-8
            )


def test_many_samples_by_a_working_set():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30_000, 6))
    y = np.sign(X[:, 0] + 0.5 * X[:, 1])
    X = X + 0.2 * y[:, None] * np.array([1.0, 0.5, 0, 0, 0, 0])
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    for norm in (norms.L1(), norms.L2(), norms.Linf(), norms.Lp(3.0)):
        check(problem, norm, pn.max_margin(problem, norm), gap=1e-8)


@pytest.mark.slow
def test_more_features_than_samples():
    problem = binary(1, d=1500, n=20)
    for norm in (norms.L1(), norms.L2(), norms.Linf(), norms.Lp(1.5)):
        check(problem, norm, pn.max_margin(problem, norm), gap=1e-8)
    several = multiclass(1, k=3, d=400, n=12)
    for norm in (norms.Spectral(), norms.Nuclear(), norms.Frobenius()):
        check(several, norm, pn.max_margin(several, norm))


@pytest.mark.parametrize(
    "norm",
    [
        pytest.param(norms.Lp(1.5), marks=pytest.mark.slow),
        norms.L2(),
        norms.Spectral(),
        pytest.param(norms.Nuclear(), marks=pytest.mark.slow),
    ],
    ids=name,
)
def test_first_order_method_agrees(norm):
    problem = multiclass(5, k=4, d=6, n=40)
    exact = pn.max_margin(problem, norm, solver=Exact())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LooseMarginWarning)
        rough = pn.max_margin(problem, norm, tol=1e-4, solver=FirstOrder(20_000))
    assert float(rough.gap) <= 1e-3
    assert np.isclose(float(rough.margin), float(exact.margin), rtol=2e-3)
    assert rough.margin <= exact.upper_bound * (1 + 1e-12)
    assert exact.margin <= rough.upper_bound * (1 + 1e-12)


def test_a_loose_result_says_so():
    problem = multiclass(5, k=4, d=6, n=40)
    with pytest.warns(LooseMarginWarning, match="a relative gap of"):
        pn.max_margin(problem, norms.Linf(), solver=FirstOrder(64))


@pytest.mark.parametrize(
    "norm", [norms.L1(), norms.L2(), norms.Linf(), norms.Lp(3.0)], ids=name
)
def test_overlapping_classes_are_refused_with_a_proof(norm):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(80, 4)), np.sign(rng.normal(size=80))
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    with pytest.raises(pn.NotSeparableError, match="not linearly separable") as caught:
        pn.max_margin(problem, norm)
    q = caught.value.certificate
    assert q.shape == (80,)
    assert q.min() >= 0
    assert np.isclose(q.sum(), 1.0)
    assert np.abs((q * y) @ X).max() <= 1e-12


@pytest.mark.parametrize("norm", [norms.Frobenius(), norms.Spectral()], ids=name)
def test_overlapping_multi_class_data_are_refused_with_a_proof(norm):
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(90, 3)), np.arange(90) % 3
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    with pytest.raises(pn.NotSeparableError) as caught:
        pn.max_margin(problem, norm)
    q = caught.value.pairs
    assert np.isclose(q.sum(), 1.0)
    assert np.abs(problem.pull(jnp.asarray(q))).max() <= 1e-10
    assert np.allclose(q.sum(1), caught.value.certificate)


def test_opposite_samples_and_empty_rows_are_not_separable():
    for X, y in (
        ([[1.0, 2.0], [1.0, 2.0]], [1, -1]),
        ([[1.0, 2.0], [0.0, 0.0]], [1, 1]),
        ([[0.0, 0.0]], [1]),
    ):
        problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
        for norm in (norms.L1(), norms.L2(), norms.Linf()):
            with pytest.raises(pn.NotSeparableError):
                pn.max_margin(problem, norm)


@pytest.mark.parametrize("margin", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("norm", [norms.L1(), norms.L2(), norms.Linf()], ids=name)
def test_nearly_inseparable_data_are_told_apart(norm, margin):
    # points at x_1 = +-margin with opposite labels, and others far away
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 3))
    y = np.where(X[:, 0] > 0, 1, -1)
    X[:, 0] = y
    X[:6, 0] = margin * y[:6]
    X[:6, 1:] = np.repeat(rng.normal(size=(3, 2)), 2, axis=0)
    y[:6] = [1, -1] * 3
    X[:6, 0] = margin * y[:6]
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    found = pn.max_margin(problem, norm)
    assert float(found.gap) <= 1e-6
    assert margin * 0.1 <= float(found.margin) <= margin * 1.01


@pytest.mark.parametrize("hair", [1e-13, 1e-30, 1e-300])
def test_data_separable_by_a_hair_are_separable(hair):
    X = np.array([[hair, 1.0], [-hair, 1.0]])
    problem = pn.LinearClassification(X, [1, -1], loss=pn.losses.Logistic())
    for norm in (norms.L1(), norms.L2(), norms.Linf()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LooseMarginWarning)
            found = pn.max_margin(problem, norm)
        assert 0 < float(found.margin) <= hair * (1 + 1e-9)
        assert float(found.upper_bound) >= hair * (1 - 1e-9)


def test_what_does_not_fit_is_refused():
    problem = binary(0)
    with pytest.raises(ValueError, match="tol must be"):
        pn.max_margin(problem, norms.L2(), tol=0.0)
    with pytest.raises(ValueError, match="weighs arrays of shape"):
        pn.max_margin(problem, norms.Mahalanobis(jnp.ones(3)))


def test_it_runs_under_a_random_device_key():
    # results do not depend on JAX's random state
    problem = multiclass(5, k=3, d=4, n=12)
    first = pn.max_margin(problem, norms.L2())
    jax.random.normal(jax.random.key(1), (3,))
    assert jnp.array_equal(first.weights, pn.max_margin(problem, norms.L2()).weights)


def test_products_of_rows_are_those_of_the_matrix_itself():
    rng = np.random.default_rng(8)
    for y, k in ((None, 1), (rng.integers(0, 4, 9), 4)):
        rows = PairRows(rng.normal(size=(9, 6)), y, k)
        h, root = rng.uniform(size=rows.weight_shape), rng.uniform(size=rows.count)
        A = rows.dense()
        whole = root[:, None] * ((A * h.ravel()) @ A.T) * root
        assert np.allclose(np.tril(rows.outer(h, root)), np.tril(whole), atol=1e-13)
        chosen = rows.real & (rng.uniform(size=rows.shape) < 0.5)
        kept = rng.uniform(size=A.shape[1]) < 0.5
        assert np.array_equal(rows.part(chosen, kept), A[chosen[rows.real]][:, kept])


@pytest.mark.parametrize("norm", ["l2", "spectral", "nuclear"])
def test_first_order_works_in_the_span_of_the_samples(norm):
    problem = multiclass(4, k=4, d=300, n=12)
    exact = pn.max_margin(problem, norm)
    found = pn.max_margin(problem, norm, tol=1e-6, solver=pn.margins.FirstOrder())
    assert found.method == "first-order method"
    assert float(found.gap) < 1e-6
    assert float(found.margin) == pytest.approx(float(exact.margin), rel=2e-6)
    basis = np.linalg.qr(np.asarray(problem.X).T)[0]
    W = np.asarray(found.weights)
    assert np.allclose(W @ basis @ basis.T, W, atol=1e-12 * np.abs(W).max())


def test_the_exact_method_is_chosen_by_its_system():
    wide = multiclass(4, k=3, d=4000, n=12)
    assert pn.margins.newton_rows(wide, pn.norms.Linf()) == 24  # rows
    assert pn.margins.newton_rows(wide, pn.norms.Spectral()) == 36  # k times n
    assert pn.max_margin(wide, "linf").method.startswith("interior point")
