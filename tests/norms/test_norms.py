import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from penchant import norms
from tests.cases import ENTRYWISE, NORMS, SCHATTEN, each, name

every_norm = pytest.mark.parametrize("norm", each(NORMS), ids=name)


def arrays():
    """Weights of shape (2, 3) that include what is special: zeros, ties, low rank."""
    rng = np.random.default_rng(7)
    special = [
        np.zeros((2, 3)),
        np.ones((2, 3)),
        np.eye(2, 3),
        np.outer([1.0, -2.0], [0.0, 3.0, 1.0]),
        np.array([[5.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        np.array([[1e-9, 1.0, 0.0], [0.0, 1e3, -1e3]]),
    ]
    random = rng.normal(size=(30, 2, 3)) * 10.0 ** rng.uniform(-3, 3, size=(30, 1, 1))
    return np.concatenate([special, random])


@functools.cache
def evaluated(label):
    """Every map of a norm at every array, in one compiled call."""
    norm = next(norm for norm in NORMS if repr(norm) == label)

    def maps(w, other, radius):
        steepest, projection = norm.steepest(w), norm.project(w, radius)
        return {
            "value": norm(w),
            "value of double": norm(-2.5 * w),
            "value of sum": norm(w + other),
            "dual": norm.dual(w),
            "bidual": norm.conjugate.dual(w),
            "steepest": steepest,
            "value of steepest": norm(steepest),
            "projection": projection,
            "value of projection": norm(projection),
            "projected again": norm.project(projection, radius),
            "dual of rest": norm.dual(w - projection),
            "unit": norm.project(w),
        }

    w = jnp.asarray(arrays())
    radius = jnp.asarray(np.random.default_rng(1).uniform(0.05, 5.0, size=len(w)))
    out = jax.jit(jax.vmap(maps))(w, w[::-1], radius) | {"w": w, "radius": radius}
    return {key: np.asarray(v) for key, v in out.items()}


def inner(a, b):
    return np.einsum("nij,mij->nm", a, b)


@pytest.mark.sampled
@every_norm
def test_dual_bounds_inner_product_and_steepest_attains_it(norm):
    e = evaluated(repr(norm))
    bound = e["dual"][:, None] * e["value"][None, :]
    assert np.all(inner(e["w"], e["w"]) <= bound * (1 + 1e-9) + 1e-12)
    assert np.all(e["value of steepest"] <= 1 + 1e-12)
    attained = np.einsum("nij,nij->n", e["w"], e["steepest"])
    assert np.allclose(attained, e["dual"], rtol=1e-9)


@every_norm
def test_it_is_a_norm_and_its_bidual_is_itself(norm):
    e = evaluated(repr(norm))
    value = e["value"]
    assert np.allclose(e["value of double"], 2.5 * value, rtol=1e-12)
    assert np.all(e["value of sum"] <= (value + value[::-1]) * (1 + 1e-12))
    assert np.allclose(e["bidual"], value, rtol=1e-9)


@every_norm
def test_projection_solves_its_variational_inequality(norm):
    # x is the projection iff it is in the ball and <w - x, v - x> <= 0 on the ball;
    # the largest <w - x, v> there is the radius times the dual norm of w - x
    e = evaluated(repr(norm))
    w, x, radius = e["w"], e["projection"], e["radius"]
    assert np.all(e["value of projection"] <= radius * (1 + 1e-9))
    excess = radius * e["dual of rest"] - np.einsum("nij,nij->n", w - x, x)
    assert np.all(excess <= 1e-9 * (1e-3 + np.einsum("nij,nij->n", w, w)))
    inside = e["value"] <= radius
    assert inside.any()
    assert not inside.all()
    assert np.allclose(x[inside], w[inside], rtol=1e-12, atol=0)


@every_norm
def test_projection_is_idempotent_and_does_not_expand(norm):
    e = evaluated(repr(norm))
    assert np.allclose(e["projected again"], e["projection"], rtol=1e-9, atol=1e-10)
    x = e["unit"]
    apart = ((e["w"][:, None] - e["w"][None]) ** 2).sum((2, 3))
    assert np.all(((x[:, None] - x[None]) ** 2).sum((2, 3)) <= apart * (1 + 1e-8))


@every_norm
def test_vmap_and_jit_change_nothing(norm):
    e = evaluated(repr(norm))
    w = jnp.asarray(e["w"][10])
    assert np.allclose(norm(w), e["value"][10], rtol=1e-13)
    assert np.allclose(norm.steepest(w), e["steepest"][10], atol=1e-12)


@pytest.mark.sampled
@every_norm
def test_zero_has_a_stated_answer_everywhere(norm):
    zero = jnp.zeros((2, 3))
    assert norm(zero) == 0
    assert norm.dual(zero) == 0
    assert jnp.array_equal(norm.steepest(zero), zero)
    assert jnp.array_equal(norm.project(zero), zero)
    assert jnp.array_equal(jax.grad(norm)(zero), zero)
    assert jnp.array_equal(jax.grad(norm.dual)(zero), zero)
    slopes = jax.jit(
        lambda w: (jax.jacfwd(norm.steepest)(w), jax.jacfwd(norm.project)(w))
    )
    assert all(jnp.all(jnp.isfinite(slope)) for slope in slopes(zero))


@pytest.mark.sampled
@every_norm
def test_gradients_agree_with_finite_differences(norm):
    w = jax.random.normal(jax.random.key(1), (2, 3)) + 0.1
    dw = jax.random.normal(jax.random.key(2), (2, 3))
    p = getattr(norm, "p", 2.0)

    def maps(w):
        out = [norm(w), norm.dual(w), norm.project(w), norm.project(w, 50.0)]
        # at p = 1 and inf the steepest direction jumps: there is nothing to compare
        return out if p in (1.0, math.inf) else [*out, norm.steepest(w)]

    h = 1e-6
    maps = jax.jit(maps)
    _, slopes = jax.jvp(maps, (w,), (dw,))
    ahead, behind = maps(w + h * dw), maps(w - h * dw)
    for slope, a, b in zip(slopes, ahead, behind, strict=True):
        assert jnp.allclose(slope, (a - b) / (2 * h), atol=1e-6)


@pytest.mark.parametrize("norm", each(SCHATTEN), ids=name)
def test_schatten_norms_do_not_see_rotations(norm):
    W = jax.random.normal(jax.random.key(0), (3, 5))
    U, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (3, 3)))
    V, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(2), (5, 5)))
    assert jnp.allclose(norm(U @ W @ V), norm(W), rtol=1e-12)
    assert jnp.allclose(norm.steepest(U @ W @ V), U @ norm.steepest(W) @ V, atol=1e-9)
    assert jnp.allclose(norm.project(U @ W @ V), U @ norm.project(W) @ V, atol=1e-9)
    assert jnp.allclose(norm.steepest(W.T), norm.steepest(W).T, atol=1e-9)


@pytest.mark.parametrize("norm", each(SCHATTEN), ids=name)
def test_schatten_norms_of_a_vector_are_its_length(norm):
    w = jnp.array([3.0, 4.0])
    assert jnp.allclose(norm(w), 5.0)
    assert jnp.allclose(norm.steepest(w), w / 5)
    assert jnp.allclose(norm.project(w), w / 5)


@pytest.mark.parametrize("p", [1.0, 1.3, 2.0, 4.0, math.inf])
def test_schatten_of_a_diagonal_matrix_is_entrywise_of_its_diagonal(p):
    s = jnp.array([3.0, 1.0, 0.5])
    assert jnp.allclose(norms.schatten(p)(jnp.diag(s)), norms.lp(p)(s))
    projected = norms.schatten(p).project(jnp.diag(s))
    assert jnp.allclose(projected, jnp.diag(norms.lp(p).project(s)), atol=1e-10)


@pytest.mark.parametrize("norm", each(ENTRYWISE), ids=name)
def test_entrywise_norms_agree_with_numpy(norm):
    w = np.random.default_rng(0).normal(size=7)
    assert np.allclose(norm(jnp.asarray(w)), np.linalg.norm(w, norm.p), rtol=1e-13)


def test_mahalanobis_with_unit_weights_is_euclidean():
    w = jax.random.normal(jax.random.key(0), (4,))
    for M in (jnp.ones(4), jnp.eye(4)):
        norm = norms.Mahalanobis(M)
        assert jnp.allclose(norm(w), norms.L2()(w))
        assert jnp.allclose(norm.steepest(w), norms.L2().steepest(w))
        assert jnp.allclose(norm.project(w), norms.L2().project(w))


@pytest.mark.slow
def test_blocks_of_rows_are_rows_over_the_root_of_their_length():
    g = jnp.asarray(np.random.default_rng(3).standard_normal((3, 4)))
    blocks, rows = norms.Blockwise(np.indices((3, 4))[0]), norms.Rowwise()
    assert float(blocks(g)) == pytest.approx(0.5 * float(rows(g)), rel=1e-12)
    assert float(blocks.dual(g)) == pytest.approx(2.0 * float(rows.dual(g)), rel=1e-12)
    assert np.allclose(blocks.steepest(g), 2.0 * rows.steepest(g), atol=1e-12)
    assert norms.Blockwise([7, 7, 2]).same(norms.Blockwise([1, 1, 0]))


@pytest.mark.parametrize("blocks", [[0.5, 1.0], [], ["a"]])
def test_blocks_that_are_no_whole_numbers_are_refused(blocks):
    with pytest.raises(TypeError, match="blocks must be whole numbers"):
        norms.Blockwise(blocks)


def test_ties_and_rank_deficiency_are_as_stated():
    tied = jnp.array([2.0, -2.0, 1.0])
    assert jnp.array_equal(norms.L1().steepest(tied), jnp.array([1.0, 0.0, 0.0]))
    assert jnp.array_equal(norms.Linf().steepest(jnp.array([1.0, 0.0])), [1.0, 0.0])
    rank_one = jnp.outer(jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0, 1.0]))
    polar = norms.Spectral().steepest(rank_one)
    assert jnp.allclose(polar, rank_one / norms.Spectral()(rank_one), atol=1e-12)
    # every derivative is finite at repeated singular values and at lower rank
    slopes = lambda f: jax.jit(jax.vmap(jax.jacfwd(f)))
    W = jnp.stack([jnp.outer(jnp.arange(2.0), jnp.arange(3.0)), jnp.eye(2, 3)])
    for norm in (norms.Nuclear(), norms.Schatten(3.0), norms.Spectral()):
        for f in (norm, norm.steepest, norm.project):
            assert jnp.all(jnp.isfinite(slopes(f)(W)))


def test_seminorm_has_infinite_dual_outside_its_range():
    norm = norms.Mahalanobis(jnp.diag(jnp.array([1.0, 0.0])))
    assert norm(jnp.array([0.0, 5.0])) == 0
    assert jnp.isinf(norm.dual(jnp.array([0.0, 1.0])))
    assert jnp.all(jnp.isnan(norm.steepest(jnp.array([0.0, 1.0]))))
    assert jnp.allclose(norm.dual(jnp.array([2.0, 0.0])), 2.0)
    assert jnp.allclose(norm.project(jnp.array([3.0, 7.0])), jnp.array([1.0, 7.0]))


def test_extreme_scales_neither_overflow_nor_underflow():
    for scale in (1e-200, 1e200):
        w = scale * jnp.array([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]])
        for norm in (*ENTRYWISE, *SCHATTEN):
            ratio = norm(w) / scale
            assert jnp.allclose(ratio, norm(w / scale), rtol=1e-12)
            assert jnp.allclose(norm.steepest(w), norm.steepest(w / scale), atol=1e-12)


@pytest.mark.parametrize("kind", [norms.Lp, norms.Schatten])
@pytest.mark.parametrize("p", [0.5, -1.0, math.nan])
def test_exponents_below_one_are_refused(kind, p):
    with pytest.raises(ValueError, match="p must be"):
        kind(p)


@pytest.mark.parametrize(
    ("M", "words"),
    [
        ([1.0, 0.0], "positive in every entry"),
        ([1.0, -2.0], "-2"),
        ([[1.0, 2.0], [0.0, 1.0]], "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "least eigenvalue is -1"),
        ([[1.0, math.nan], [math.nan, 1.0]], "finite"),
    ],
)
def test_mahalanobis_refuses_what_is_no_norm(M, words):
    with pytest.raises(ValueError, match=words):
        norms.Mahalanobis(jnp.array(M))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\); got \(3,\)"):
        norms.Mahalanobis(jnp.ones(2))(jnp.ones(3))
    with pytest.raises(ValueError, match="one column"):
        norms.Spectral()(jnp.ones((2, 2, 2)))
