import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import penchant as pn
from penchant import norms, optimizers as rules, theory
from tests.cases import binary, multiclass, name

LOSSES = (pn.losses.Logistic(), pn.losses.Exponential(), pn.losses.PairLog())


@pytest.mark.sampled
@pytest.mark.parametrize(
    "norm",
    [norms.Linf(), norms.Spectral(),
     *(pytest.param(n, marks=pytest.mark.slow) for n in (norms.L2(), norms.L1()))],
    ids=name,
)  # fmt: skip
@pytest.mark.parametrize("radius", [0.5, pytest.param(8.0, marks=pytest.mark.slow)])
def test_points_of_the_path_are_certified(norm, radius):
    problem = multiclass(1, k=3, d=4, n=12)
    point = theory.descent.regularized(problem, norm, radius, tol=1e-5)
    assert float(norm(point.weights)) <= radius * (1 + 1e-12)
    assert 0 <= float(point.gap) <= 1e-5
    rng = np.random.default_rng(0)
    for _ in range(50):  # nobody in the ball does better than the gap allows
        W = norm.project(point.weights + 0.1 * rng.normal(size=(3, 4)), radius)
        assert float(problem.log_loss(W)) >= float(point.log_loss) - 1e-5


@pytest.mark.slow
def test_a_general_solver_finds_no_less():
    problem = binary(0, d=3, n=4, loss=pn.losses.Logistic())
    point = theory.descent.regularized(problem, norms.Linf(), 2.0, tol=1e-9)
    found = minimize(
        lambda w: float(problem.log_loss(jnp.asarray(w))), np.zeros(3),
        bounds=[(-2.0, 2.0)] * 3, method="L-BFGS-B", options={"ftol": 1e-14},
    )  # fmt: skip
    assert np.isclose(float(point.log_loss), found.fun, atol=1e-6)


@pytest.mark.sampled
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("radius", [3.0, 20.0, 200.0])
def test_deficits_on_the_path_are_bounded(loss, radius):
    problem = multiclass(1, k=3, d=4, n=12, loss=loss)
    norm = norms.Spectral()
    best = pn.max_margin(problem, norm)
    bound = theory.descent.path_deficit(problem, best.upper_bound, radius)
    point = theory.descent.regularized(problem, norm, radius, tol=1e-4)
    deficit = float(best.margin) * radius - float(problem.margins(point.weights).min())
    assert deficit <= bound + 1e-3
    assert float(point.margin) <= float(best.upper_bound) * (1 + 1e-12)
    if radius == 200.0:  # and tends to log(n (k - 1))
        assert abs(bound - math.log(12 * 2)) < 1e-5
        assert deficit > 0.1  # it is a deficit of order one that is bounded


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("rule", "norm"),
    [(rules.SignDescent(), norms.Linf()), (rules.Muon(0.0), norms.Spectral()),
     pytest.param(rules.SteepestDescent(norms.L2()), norms.L2(),
                  marks=pytest.mark.slow)],
    ids=name,
)  # fmt: skip
def test_decay_leads_to_the_path(rule, norm):
    problem = multiclass(1, k=3, d=4, n=12)
    decay = 0.25
    point = theory.descent.regularized(problem, norm, 1 / decay, tol=1e-6)
    excess = []
    for steps in (2_000, 32_000):
        run = pn.train(
            problem,
            rules.WeightDecay(rule, decay),
            steps=steps,
            step_size=pn.schedules.power(1.0, 0.7),
            record=2,
        )
        excess.append(float(run.log_loss[-1] - point.log_loss))
    assert -1e-6 <= excess[1] < 0.02
    assert excess[1] < 0.6 * excess[0]
    best = pn.max_margin(problem, norm)
    reached = float(pn.certify(problem, run.weights[-1], norm).margin)
    assert abs(reached - float(point.margin)) < 0.03 * float(best.margin)
    told = pn.predict(problem, rules.WeightDecay(rule, decay))
    assert told.norm is None
    assert "regularisation path" in told.statement
    bound = theory.descent.path_deficit(problem, best.upper_bound, 1 / decay)
    share = 1 - bound / (4 * float(best.margin))
    if share <= 0:
        assert "vacuous" in told.statement
    else:
        assert f"at least {share:.3g} of" in told.statement
        assert float(point.margin) >= share * float(best.margin) * (1 - 1e-6)


def test_predictions_of_decayed_rules():
    problem = multiclass(1, k=3, d=4, n=12)
    weak = pn.predict(problem, rules.WeightDecay(rules.Signum(0.9), 1e-3))
    assert "With momentum the ball is the same" in weak.statement
    assert "at least 0.9" in weak.statement
    assert [repr(other.norm) for other in weak.alternatives] == ["Linf()"]
    none = pn.predict(problem, rules.WeightDecay(rules.Signum(0.9), 0.0))
    assert repr(none.norm) == "Linf()"
    adam = pn.predict(problem, rules.WeightDecay(rules.Adam(eps=0.0), 0.1))
    assert adam.norm is None
    assert "no maximum margin" in adam.statement


def test_arguments_are_checked():
    problem = multiclass(0)
    with pytest.raises(ValueError, match="radius must be > 0"):
        theory.descent.regularized(problem, norms.L2(), 0.0)
    with pytest.raises(ValueError, match="gamma must be > 0"):
        theory.descent.path_deficit(problem, -1.0, 1.0)
    with pytest.raises(TypeError):
        theory.descent.regularized(problem, "l2", 1.0)
