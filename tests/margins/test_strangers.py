"""Norms and solvers that the library has never seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import penchant as pn
from penchant.margins import AbstractSolver, Attempt
from penchant.norms import AbstractNorm, Conjugate
from tests.cases import multiclass


class Rows(AbstractNorm):
    """The sum of the rows' Euclidean lengths: two maps, and the rest follows."""

    def __call__(self, w):
        return jnp.sum(jnp.sqrt(jnp.sum(w**2, axis=-1)))

    def steepest(self, g):
        # all on the longest row
        length = jnp.sqrt(jnp.sum(g**2, axis=-1))
        first = jnp.arange(len(length)) == jnp.argmax(length)
        return jnp.where(
            first[:, None], g / jnp.where(length > 0, length, 1.0)[:, None], 0
        )


class Box(AbstractNorm):
    """A weighted max norm, with its projection: what steps of unlike units come to."""

    scale: jax.Array

    def __call__(self, w):
        return jnp.max(jnp.abs(w) / self.scale)

    def steepest(self, g):
        return self.scale * jnp.sign(g)

    def project(self, w, radius=1.0):
        return jnp.clip(w, -radius * self.scale, radius * self.scale)


def linear_program(problem, scale):
    """The largest margin within the box, by an independent solver."""
    A = np.asarray(problem.y)[:, None] * np.asarray(problem.X)
    n, d = A.shape
    found = optimize.linprog(
        [0.0] * d + [-1.0],
        A_ub=np.hstack([-A, np.ones((n, 1))]),
        b_ub=np.zeros(n),
        bounds=[(-s, s) for s in np.asarray(scale)] + [(None, None)],
    )
    return -found.fun


@pytest.mark.slow
def test_a_norm_of_two_maps_has_a_certified_largest_margin():
    problem = multiclass(1)
    with pytest.warns(pn.margins.LooseMarginWarning):
        best = pn.max_margin(problem, Rows(), solver=pn.margins.FirstOrder(16_000))
    assert best.method == "steepest steps"
    assert 0 < float(best.gap) < 0.05
    assert float(Rows()(best.weights)) == pytest.approx(1.0)
    run = pn.train(
        problem, pn.optimizers.SteepestDescent(Rows()), steps=2_000, step_size=0.05
    )
    seen = pn.certify(problem, run.last, Rows())
    assert float(seen.margin) <= float(best.upper_bound) * (1 + 1e-12)
    assert float(best.margin) <= float(seen.upper_bound) * (1 + 1e-12)


@pytest.mark.slow
def test_a_norm_with_a_projection_gets_close_and_agrees_with_a_linear_program():
    problem = pn.datasets.gaussian(12, 20, seed=2).problem()
    scale = jnp.linspace(0.5, 2.0, 20)
    best = pn.max_margin(problem, Box(scale), tol=1e-3)
    assert best.method == "first-order method"
    assert float(best.gap) < 2e-3
    exact = linear_program(problem, scale)
    assert float(best.margin) <= exact * (1 + 1e-9)
    assert float(best.upper_bound) >= exact * (1 - 1e-9)


@pytest.mark.slow
def test_diagnose_takes_a_strangers_norm():
    problem = pn.datasets.gaussian(12, 20, seed=2).problem()
    box = Box(jnp.linspace(0.5, 2.0, 20))
    rule = pn.optimizers.SteepestDescent(box)
    says = pn.diagnose(
        problem, rule, steps=3_000, step_size=0.01, norms=[pn.norms.L2(), box]
    )
    assert says.winner.same(box)
    assert says.table["Box"].best > 0


def test_the_dual_of_a_norm_that_gives_none_is_its_own():
    g = jax.random.normal(jax.random.key(0), (4, 5))
    norm = Rows()
    assert float(norm.dual(g)) == pytest.approx(
        float(jnp.max(jnp.linalg.norm(g, axis=1)))
    )
    dual = norm.conjugate
    assert isinstance(dual, Conjugate)
    assert float(dual.dual(g)) == pytest.approx(float(norm(g)))
    d = dual.steepest(g)
    assert float(jnp.sum(g * d)) == pytest.approx(float(dual.dual(g)))
    assert float(dual(d)) == pytest.approx(1.0)
    assert not norm.projects
    assert Box(jnp.ones(3)).projects
    with pytest.raises(TypeError, match="has no projection"):
        norm.project(g)


class Sum(AbstractSolver):
    """The sum of the signed rows: no solver, but it says which weights it has."""

    def solve(self, problem, norm, tol):
        W = problem.pull(jnp.ones((problem.samples, 1)))
        return Attempt(W, None, "the sum of the rows")


class Wrong(AbstractSolver):
    """Claims weights that are too long and a certificate that is none."""

    def solve(self, problem, norm, tol):
        return Attempt(
            1e9 * problem.start + 1.0, jnp.ones((problem.samples, 1)), "wrong"
        )


def test_a_strangers_solver_is_used_and_certified():
    problem = pn.datasets.gaussian(6, 40, seed=0).problem()
    norm = pn.norms.L2()
    exact = pn.max_margin(problem, norm)
    with pytest.warns(pn.margins.LooseMarginWarning):
        found = pn.max_margin(problem, norm, solver=Sum())
    assert found.method == "the sum of the rows"
    assert not np.allclose(found.weights, exact.weights)
    assert float(found.margin) < float(exact.margin) < float(found.upper_bound)
    with pytest.warns(pn.margins.LooseMarginWarning):
        wrong = pn.max_margin(problem, norm, solver=Wrong())
    assert float(wrong.margin) <= float(exact.margin) <= float(wrong.upper_bound)
    with pytest.raises(TypeError, match="abstract"):
        AbstractSolver()


def test_norms_are_the_same_by_value_and_not_by_name():
    a, b = (pn.norms.Mahalanobis(jnp.asarray(m)) for m in ([1.0, 2.0], [2.0, 1.0]))
    assert repr(a) == repr(b)
    assert not a.same(b)
    assert a.same(pn.norms.Mahalanobis(jnp.asarray([1.0, 2.0])))
    assert hash(a.fingerprint) != hash(b.fingerprint)
    problem = pn.LinearClassification(
        [[1.0, 0.2], [0.3, 1.0]], [1, 1], loss=pn.losses.Exponential()
    )
    rule = pn.optimizers.SteepestDescent(a)
    run = pn.train(problem, rule, steps=50, step_size=0.1)
    bound = pn.theory.descent.guarantee_along
    assert np.isfinite(bound(run, a, gamma=pn.max_margin(problem, a).margin).separated)
    with pytest.raises(ValueError, match="in that norm"):
        bound(run, b, gamma=pn.max_margin(problem, b).margin)
