"""Separability against exact rational arithmetic, on every degenerate kind of data."""

import warnings
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import norms
from penchant.margins import LooseMarginWarning

BINARY_NORMS = (norms.L1(), norms.L2(), norms.Linf())
SEVERAL_NORMS = (norms.L2(), norms.Linf(), norms.Spectral())


def signed_rows(X, y, k):
    """The rows whose products with the weights are margins, flattened."""
    if k == 2:
        return X * y[:, None]
    rows = []
    for x, own in zip(X, y, strict=True):
        for c in range(k):
            if c != own:
                row = np.zeros((k, X.shape[1]))
                row[own], row[c] = x, -x
                rows.append(row.ravel())
    return np.array(rows)


def cancel_exactly(A):
    """Whether simplex weights make the rows cancel: phase one of the simplex method.

    In fractions, by Bland's rule, which ends. By Gordan's theorem the rows are
    separable if and only if it is False.
    """
    n, d = A.shape
    T = [[Fraction(a) for a in A[:, j].tolist()] for j in range(d)]
    T.append([Fraction(1)] * n)
    right = [Fraction(0)] * d + [Fraction(1)]
    basis = [n + i for i in range(d + 1)]  # artificial variables
    while True:
        # reduced costs of the sum of artificial variables
        active = [i for i, b in enumerate(basis) if b >= n]
        cost = [-sum((T[i][j] for i in active), Fraction(0)) for j in range(n)]
        enter = next((j for j in range(n) if j not in basis and cost[j] < 0), None)
        if enter is None:
            return sum((right[i] for i in active), Fraction(0)) == 0
        ratios = [
            (right[i] / T[i][enter], basis[i], i)
            for i in range(d + 1)
            if T[i][enter] > 0
        ]
        _, _, leave = min(ratios)
        pivot = T[leave][enter]
        T[leave] = [t / pivot for t in T[leave]]
        right[leave] /= pivot
        for i in range(d + 1):
            factor = T[i][enter]
            if i != leave and factor:
                T[i] = [a - factor * b for a, b in zip(T[i], T[leave], strict=True)]
                right[i] -= factor * right[leave]
        basis[leave] = enter


def least_margin(A, w):
    """The least product of rows with weights, exactly."""
    w = [Fraction(v) for v in np.ravel(w).tolist()]
    return min(
        sum((Fraction(a) * v for a, v in zip(row, w, strict=True)), Fraction(0))
        for row in A.tolist()
    )


def near_coincident(r, n, d):
    return r.normal(size=d) + 10.0 ** r.integers(-12, -4) * r.normal(size=(n, d))


def duplicates(r, n, d):
    X = r.normal(size=(n, d))
    return X[r.integers(0, max(n // 2, 1), n)]


def opposite(r, n, d):
    X = r.normal(size=(n, d))
    X[n // 2 :] = -X[: n - n // 2] * 2.0 ** r.integers(-3, 3, (n - n // 2, 1))
    return X


def zero_rows(r, n, d):
    X = r.normal(size=(n, d))
    X[r.random(n) < 0.1] = 0.0
    return X


def one_hot(r, n, d):
    return np.eye(d)[r.integers(0, d, n)]


def dummies_and_bias(r, n, d):
    return np.hstack([one_hot(r, n, d), np.ones((n, 1))])


def mixed_units(r, n, d):
    return r.normal(size=(n, d)) * 10.0 ** r.integers(-6, 7, d)


def times(r, n, d):
    return np.column_stack([1.7e12 + r.integers(0, 10**10, n), r.normal(size=(n, d))])


def integers(r, n, d):
    return r.integers(-2, 3, (n, d)).astype(float)


def long_and_short(r, n, d):
    return r.normal(size=(n, d)) * 10.0 ** r.integers(-9, 10, (n, 1))


def one_feature(r, n, d):
    return r.normal(size=(n, 1)) * 10.0 ** r.integers(-20, 20)


def by_a_hair(r, n, d):
    X = r.integers(-2, 3, (n, d)).astype(float)
    return X + 2.0 ** -r.integers(20, 50) * r.integers(-1, 2, (n, d))


KINDS = (
    near_coincident, duplicates, opposite, zero_rows, one_hot, dummies_and_bias,
    mixed_units, times, integers, long_and_short, one_feature, by_a_hair,
)  # fmt: skip


def draw(seed):
    """A small problem of one kind after another, and its labels and classes."""
    r = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    n = 1 if r.random() < 0.05 else int(r.integers(2, 12))
    d = int(r.integers(1, 6))
    X = kind(r, n, d)
    k = 2 if r.random() < 0.7 or n < 4 else 3
    if k == 3:
        y = r.permutation(np.r_[0, 1, 2, r.integers(0, 2, n - 3)])
    elif r.random() < 0.5:
        y = np.where(r.random(n) < 0.5, 1, -1)
    else:  # a rule of one feature, which is often separable
        y = np.where(X[:, -1] > np.median(X[:, -1]), 1, -1)
        y[X[:, -1] == 0] = 1
    return X, y, k, kind.__name__


def problem_of(X, y, k):
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    assert problem.binary == (k == 2)
    return problem


def answer(problem, norm):
    """What `max_margin` says: a MaxMargin, or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LooseMarginWarning)
        try:
            return pn.max_margin(problem, norm)
        except pn.NoMarginError as error:
            return error


def judge(seed, norm_index):
    """'agree', 'undecided', or what is wrong."""
    X, y, k, kind = draw(seed)
    norm = (BINARY_NORMS if k == 2 else SEVERAL_NORMS)[norm_index]
    A = signed_rows(X, y, k)
    separable = not cancel_exactly(A)
    found = answer(problem_of(X, y, k), norm)
    where = f"seed {seed}, {kind}, {norm.label}"
    if isinstance(found, pn.UndecidedError):
        return "undecided" if found.upper >= 0 else f"{where}: {found}"
    if isinstance(found, pn.NotSeparableError):
        if separable:
            return f"{where}: separable, but {found}"
        q = found.pairs
        right = q.min() >= 0 and np.isclose(q.sum(), 1) and found.residual < 1e-12
        return "agree" if right else f"{where}: no certificate: {found}"
    if not separable:
        return f"{where}: not separable, but {found}"
    margin, exact = float(found.margin), least_margin(A, found.weights)
    length = float(norm(found.weights))
    if not exact > 0 or abs(float(exact) / length - margin) > 1e-9 * margin:
        return f"{where}: margin {margin}, exactly {float(exact) / length}"
    if margin > float(found.upper_bound) * (1 + 1e-12):
        return f"{where}: {found} above its bound"
    return "agree"


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(60))
def test_agrees_with_exact_arithmetic(seed):
    assert judge(seed, seed % 3) in ("agree", "undecided")


@pytest.mark.slow
def test_five_hundred_agree_with_exact_arithmetic():
    said = [judge(seed, i) for seed in range(1000, 1500) for i in (0, 1, 2)]
    wrong = [text for text in said if text not in ("agree", "undecided")]
    assert not wrong, "\n".join(wrong)
    # problems this small are decided
    assert said.count("undecided") == 0


def separable_data(seed, n=8, d=4):
    r = np.random.default_rng(seed)
    X = r.normal(size=(n, d))
    w = r.normal(size=d)
    return X, np.where(X @ w > 0, 1, -1)


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("overlap", [False, True])
def test_separability_does_not_depend_on_units(seed, overlap):
    r = np.random.default_rng(seed)
    X, y = separable_data(seed, n=25)
    if overlap:
        y = np.where(r.random(25) < 0.5, 1, -1)
    units = 10.0 ** r.integers(-12, 13, 4)
    plain = answer(problem_of(X, y, 2), norms.L2())
    for norm in BINARY_NORMS:
        assert type(answer(problem_of(X * units, y, 2), norm)) is type(plain)


def test_units_of_columns_are_a_mahalanobis_norm():
    X, y = separable_data(3)
    units = 10.0 ** np.array([-6.0, 0.0, 3.0, 6.0])
    plain = pn.max_margin(problem_of(X, y, 2), norms.L2())
    # <w, x> = <w / u, u x>: the norm of w is that of u v
    norm = norms.Mahalanobis(jnp.asarray(units**2))
    scaled = pn.max_margin(problem_of(X * units, y, 2), norm)
    assert np.isclose(float(scaled.margin), float(plain.margin), rtol=1e-8)
    w = np.asarray(scaled.weights) * units
    assert np.allclose(w, plain.weights, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("norm", BINARY_NORMS, ids=lambda n: n.label)
def test_copies_order_and_swapped_labels_change_nothing(norm):
    r = np.random.default_rng(0)
    for seed in range(4):
        X, y = separable_data(seed)
        best = float(pn.max_margin(problem_of(X, y, 2), norm).margin)
        copies = r.permutation(np.repeat(np.arange(8), r.integers(1, 6, 8)))
        for twin, labels in ((X[copies], y[copies]), (X, -y), (-X, y)):
            again = pn.max_margin(problem_of(twin, labels, 2), norm)
            assert np.isclose(float(again.margin), best, rtol=1e-8)
            assert float(again.gap) <= 1e-8


def test_rotations_leave_euclidean_margins():
    X, y = separable_data(1)
    U, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))
    one, other = (pn.max_margin(problem_of(Z, y, 2), norms.L2()) for Z in (X, X @ U))
    assert np.isclose(float(one.margin), float(other.margin), rtol=1e-9)
    assert np.allclose(np.asarray(one.weights) @ U, other.weights, atol=1e-7)


@pytest.mark.parametrize("counts", [(1, 2, 3), (7, 1, 1), (2, 2, 2)], ids=str)
def test_one_hot_rows_in_unequal_copies_have_a_tight_bound(counts):
    X, y = np.repeat(np.eye(3), counts, axis=0), np.repeat([1, 1, -1], counts)
    found = pn.max_margin(problem_of(X, y, 2), norms.L2())
    assert np.isclose(float(found.upper_bound), 3**-0.5, rtol=1e-12)
    assert abs(float(found.gap)) <= 1e-12
    assert np.isclose(float(found.dual.sum()), 1.0)


def test_a_column_of_times_hides_nothing():
    r = np.random.default_rng(0)
    x = r.normal(size=40)
    x += 0.2 * np.sign(x)
    X = np.column_stack([1.7e12 + r.integers(0, 10**10, 40), x])
    problem = problem_of(X, np.sign(x).astype(int), 2)
    for norm in BINARY_NORMS:
        known = float(pn.certify(problem, jnp.array([0.0, 1.0]), norm).margin)
        found = answer(problem, norm)
        assert float(found.margin) >= known * (1 - 1e-9)
        assert float(found.gap) < 1e-3


def test_undecided_is_neither_answer(monkeypatch):
    monkeypatch.setattr("penchant.margins._solvers.separate.ENTRIES", 0)
    r = np.random.default_rng(3)
    X = r.normal(size=8) + 1e-7 * r.normal(size=(40, 8))
    y = np.where(r.random(40) < 0.5, 1, -1)
    with pytest.raises(pn.UndecidedError, match="It is not decided whether") as caught:
        pn.max_margin(problem_of(X, y, 2), norms.L2())
    assert not isinstance(caught.value, pn.NotSeparableError)
    assert isinstance(caught.value, pn.NoMarginError)
    assert caught.value.lower == 0 <= caught.value.upper < 1e-6 * caught.value.scale
    assert "of the longest row's dual norm" in str(caught.value)


@pytest.mark.parametrize("norm", BINARY_NORMS, ids=lambda n: n.label)
@pytest.mark.parametrize("length", [1e-320, 1e-300, 1e-160, 1e160, 1e308])
def test_certificates_of_weights_of_any_length(norm, length):
    X, y = separable_data(5)
    for problem, shape in (
        (problem_of(X, y, 2), (4,)),
        (problem_of(X, np.arange(8) % 3, 3), (3, 4)),
    ):
        w = np.where(np.random.default_rng(1).random(shape) < 0.5, -1.0, 1.0)
        one, other = (pn.certify(problem, c * w, norm) for c in (1.0, length))
        for field in ("margin", "upper_bound", "gap"):
            assert np.isclose(
                float(getattr(one, field)), float(getattr(other, field)), rtol=1e-12
            )


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e300])
def test_data_of_any_size(scale):
    X, y = separable_data(5)
    one, other = problem_of(X, y, 2), problem_of(scale * X, y, 2)
    w = jnp.ones(4)
    a, b = pn.certify(one, w, norms.L2()), pn.certify(other, w, norms.L2())
    assert np.isclose(float(b.margin) / scale, float(a.margin), rtol=1e-12)
    assert np.isclose(float(b.upper_bound) / scale, float(a.upper_bound), rtol=1e-9)
