"""Closed forms against the replay of the rule, and the losses that flows go down."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import flows
from penchant.optimizers import (
    AbstractOptimizer,
    Adam,
    AdamW,
    GradientDescent,
    NAdam,
    RMSProp,
    SteepestDescent,
)
from penchant.theory.modified import added_term, epoch_loss, modified_loss
from tests.flows.modified.cases import flat, net, off

H = 1e-3


def curvature():
    """Gradient, Hessian and weights of the net, flat."""
    problem = net()
    x = problem.flat(problem.start)
    loss = lambda x: problem.batch_loss(problem.unflat(x))
    return (
        np.asarray(x),
        np.asarray(jax.grad(loss)(x)),
        np.asarray(jax.hessian(loss)(x)),
    )


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("rule", "kappa"),
    [
        (GradientDescent(), lambda b: 0.25),
        (GradientDescent(0.8), lambda b: (1 + b) / (4 * (1 - b) ** 2)),
        (
            GradientDescent(0.8, nesterov=True),
            lambda b: (1 - b + 2 * b**2) / (4 * (1 - b) ** 2),
        ),
        (
            SteepestDescent(pn.norms.L2(), 0.8, normalized=False),
            lambda b: (1 + b) / (4 * (1 - b)),
        ),
    ],
    ids=["gd", "heavy ball", "nesterov", "mean"],
)
def test_gradient_descent_goes_down_its_modified_loss(rule, kappa):
    problem = net()
    loss = modified_loss(problem, rule, step_size=H)
    assert float(loss.coefficient) == pytest.approx(H * kappa(0.8), rel=1e-10)
    found = pn.correction(problem, rule, problem.start, step_size=H)
    down = jax.tree.map(lambda g: -loss.pace * g, loss.gradient(problem.start))
    assert off(found.velocity, down) < 1e-12


def test_adam_has_no_modified_loss():
    with pytest.raises(TypeError, match=r"must be gradient descent.*anti-penalises"):
        modified_loss(net(), Adam(), step_size=H)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "rule",
    [
        Adam(0.9, 0.95, 1e-12, True, True),
        Adam(0.95, 0.9, 1e-12, True, True),
        NAdam(0.9, 0.95, 1e-12, True, True),
        RMSProp(0.95, 1e-12, True, True),
    ],
    ids=repr,
)
def test_the_term_of_adams_kin_is_a_factor_of_the_one_norm(rule):
    _, g, H_ = curvature()
    term = added_term(rule, step_size=H)
    found = pn.correction(net(), rule, net().start, step_size=H)
    slope = H_ @ np.sign(g)
    told = -term.coefficient * slope / np.abs(g) / H
    assert np.allclose(flat(found.direction), told, rtol=1e-6)


def test_where_gradients_are_small_against_eps_it_penalises():
    rule = Adam(0.9, 0.95, 1e6, True, True)
    _, g, H_ = curvature()
    term = added_term(rule, step_size=H)
    assert term.coefficient < 0 < term.small
    # E + small/sqrt(eps) |g|^2/2, run with preconditioner sqrt(eps)
    found = pn.correction(net(), rule, net().start, step_size=H)
    told = -term.small * (H_ @ g) / 1e6 / H
    assert np.allclose(flat(found.direction), told, rtol=1e-4)


@pytest.mark.sampled
@pytest.mark.parametrize("inside", [True, False])
def test_the_sign_flips_where_it_says(inside):
    # one parameter, g = a w: the bias's sign is that of {c1 - c2 share}
    eps = 1e-2
    rule = Adam(0.9, 0.99, eps, inside, True)
    flip = added_term(rule, step_size=H).flip
    for factor in (0.98, 1.02):
        size = np.sqrt(factor * flip * eps) if inside else factor * flip * eps
        bowl = pn.Objective(lambda w, a: (a @ w) ** 2 / 2, jnp.ones(1), jnp.eye(1))
        found = pn.correction(bowl, rule, jnp.array([size]), step_size=1e-9)
        assert float(found.direction[0]) * (factor - 1) > 0
    assert added_term(Adam(0.9, 0.95, 1e-2, True), step_size=1.0).flip == pytest.approx(
        0.95, abs=1e-2
    )
    assert added_term(Adam(0.95, 0.9), step_size=1.0).flip is None


def test_from_the_second_step_on_the_sign_is_that_of_the_decays():
    rule = Adam(0.9, 0.999, 0.0, bias_correction=True)
    first = added_term(rule, step_size=H, step=0)
    assert first.coefficient == 0.0
    assert "adds nothing" in first.statement
    for n in (1, 5, 1000):
        assert added_term(rule, step_size=H, step=n).penalises is False
    with pytest.raises(ValueError, match="first steps differ in size"):
        added_term(Adam(), step_size=H, step=3)


def test_adamw_without_eps_goes_down_a_loss_with_its_norm_and_decay():
    # L~ = [1 + lam (a2 - a1) h] L - h (a2 - a1)(|g|_1 + lam g.theta), the memory part
    b1, b2, lam = 0.9, 0.95, 0.1
    x, g, H_ = curvature()
    a1, a2 = b1 / (1 - b1), b2 / (1 - b2)
    norm = H_ @ np.sign(g)
    inner = H_ @ x + g
    told = lam * (a2 - a1) * g - (a2 - a1) * (norm + lam * inner)
    rule = AdamW(b1, b2, 0.0, lam, bias_correction=True)
    found = pn.correction(net(), rule, net().start, step_size=H, kind="map")
    assert np.allclose(flat(found.direction), -told / np.abs(g), rtol=1e-10)


@pytest.mark.slow
def test_nadam_remembers_b1_times_as_long():
    b1, b2 = 0.9, 0.95
    _, g, H_ = curvature()
    u = np.sign(g)
    a1, a2 = b1 * b1 / (1 - b1), b2 / (1 - b2)
    rule = NAdam(b1, b2, 0.0, bias_correction=True)
    found = pn.correction(net(), rule, net().start, step_size=H, kind="map")
    told = -(a1 - a2) * (H_ @ u) / np.abs(g)
    assert np.allclose(flat(found.direction), told, rtol=1e-10)


class SoftLion(AbstractOptimizer):
    """Lion with a soft sign, x/sqrt(x^2 + eps), and bias-corrected memory."""

    b1: float
    b2: float
    eps: float

    def init(self, w):
        return jax.tree.map(jnp.zeros_like, w), jnp.zeros(())

    def update(self, gradient, state, w, step_size):
        (m, t), g = state, gradient.value()
        seen = jnp.where(t > 0, 1 - self.b2**t, 1.0)
        mixed = jax.tree.map(
            lambda m, g: jnp.where(t > 0, self.b1 * m / seen + (1 - self.b1) * g, g),
            m,
            g,
        )
        step = jax.tree.map(lambda x: x / jnp.sqrt(x**2 + self.eps), mixed)
        m = jax.tree.map(lambda m, g: self.b2 * m + (1 - self.b2) * g, m, g)
        move = lambda w, s: w - step_size * s
        return jax.tree.map(move, w, step), (m, t + 1.0)


@pytest.mark.slow
def test_lions_memory_fades_with_eps():
    _, g, H_ = curvature()
    b1, b2 = 0.9, 0.95
    sizes = []
    for eps in (1e-2, 1e-12):
        rule = SoftLion(b1, b2, eps)
        F = g / np.sqrt(g**2 + eps)
        found = pn.correction(net(), rule, net().start, step_size=H, kind="map")
        told = b1 / (1 - b2) * eps / (g**2 + eps) ** 1.5 * (H_ @ F)
        # the rule's own derivative is a difference that loses g²/ε digits
        lost = np.finfo(float).eps * np.max(g**2) / eps
        assert off(found.direction, -told) < 1e-12 + 10 * lost
        sizes.append(np.median(np.abs(flat(found.direction))))
    assert sizes[1] < 1e-3 * sizes[0]
    assert added_term("lion", step_size=H).coefficient == 0.0


@pytest.mark.slow
def test_the_mean_over_orders_of_an_epoch_follows_smiths_loss():
    problem, rows = net(), np.array([[0, 1], [2, 3], [4, 5], [6, 7]])
    orders = jnp.asarray(np.array(list(itertools.permutations(range(4)))))

    @jax.jit
    def mean_end(h):
        def epoch(order):
            def step(w, k):
                g = problem.gradient(w, jnp.asarray(rows)[k])
                return jax.tree.map(lambda a, b: a - h * b, w, g), None

            return jax.lax.scan(step, problem.start, order)[0]

        ends = jax.vmap(epoch)(orders)
        return jax.tree.map(lambda x: x.mean(axis=0), ends)

    hs = [0.02, 0.01, 0.005]
    gaps = {"plain": [], "full": [], "smith": []}
    for h in hs:
        end = flat(mean_end(h))
        flowed = {
            "plain": problem,
            "full": modified_loss(problem, "gd", step_size=h),
            "smith": epoch_loss(problem, rows, step_size=h),
        }
        for name, loss in flowed.items():
            path = flows.gradient_flow(loss, times=[4 * h], tol=1e-13)
            last = jax.tree.map(lambda x: x[-1], path)
            gaps[name].append(np.linalg.norm(flat(last) - end))
    slopes = {k: np.polyfit(np.log(hs), np.log(v), 1)[0] for k, v in gaps.items()}
    assert slopes["plain"] == pytest.approx(2.0, abs=0.15)
    assert slopes["full"] == pytest.approx(2.0, abs=0.2)
    assert slopes["smith"] > 2.8  # third order, as the other two are not
    with pytest.raises(ValueError, match="rows must be"):
        epoch_loss(problem, [[0, 8]], step_size=0.1)


def test_an_unknown_rule_is_said_to_be():
    import optax

    term = added_term(optax.adam(1.0), step_size=H)
    assert term.norm is None
    assert term.coefficient is None
    assert term.penalises is None
    assert "replays" in term.statement


def test_predictions_say_what_finite_steps_add():
    problem = net()
    told = pn.predict(problem, Adam(0.9, 0.999, bias_correction=True), step_size=1e-2)
    step = told.finite_step
    assert step.term.penalises is False
    assert step.valid is False
    assert "outside the perturbative regime" in repr(told)
    assert "smaller step size" in step.remedy
    assert told.to_dict()["finite_step"]["correction"]["ratio"] is None
    small = pn.predict(problem, GradientDescent(0.9), step_size=1e-4, steps=30)
    assert small.finite_step.valid
    assert small.finite_step.correction.step == 30
    assert "WithoutMemoryBias" in small.finite_step.remedy
    assert pn.predict(problem, "adam").finite_step is None


@pytest.mark.slow
def test_a_diagnosis_says_it_of_where_the_run_ended():
    apply = lambda w, X: X @ w**2
    problem = pn.Regression(apply, jnp.ones(2), [[1.0, 0.5]], [2.0], label_noise=0.1)
    says = pn.diagnose(
        problem, GradientDescent(0.5), steps=400, step_size=1e-2, progress=False
    )
    step = says.prediction.finite_step
    assert step.correction.step == 400
    assert "finite steps: GradientDescent penalises ‖∇L‖²" in repr(says)
    assert says.to_dict()["evidence"]["finite_step"]["term"]["norm"] == "‖∇L‖²"
    assert "What finite steps add to the loss" in says.page()
