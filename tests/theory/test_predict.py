import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import norms, optimizers
from penchant.theory import longest_row
from tests.cases import binary, multiclass, name

LINF, L2, SPECTRAL = norms.Linf(), norms.L2(), norms.Spectral()
POWER = pn.schedules.power(0.1, 0.5)

# optimizer, norm for two classes, norm for several, key of the source
TABLE = [
    (optimizers.GradientDescent(), L2, L2, "soudry2018implicit"),
    (optimizers.GradientDescent(0.9), L2, L2, "wang2022momentum"),
    (optimizers.SteepestDescent(L2), L2, L2, "fan2025spectral"),
    (optimizers.SteepestDescent(norms.L1(), 0.5), norms.L1(), norms.L1(),
     "fan2025spectral"),
    (optimizers.SteepestDescent(norms.Lp(3.0)), norms.Lp(3.0), norms.Lp(3.0),
     "fan2025spectral"),
    (optimizers.SteepestDescent(norms.Nuclear()), L2, norms.Nuclear(),
     "fan2025spectral"),
    (optimizers.SteepestDescent(norms.Frobenius()), L2, L2, "fan2025spectral"),
    (optimizers.SteepestDescent(norms.Lp(3.0), normalized=False), norms.Lp(3.0),
     norms.Lp(3.0), "gunasekar2018geometry"),
    (optimizers.SignDescent(), LINF, LINF, "fan2025spectral, Theorem 1"),
    (optimizers.Signum(0.9), LINF, LINF, "fan2025spectral, Theorem 2"),
    (optimizers.Muon(0.0), L2, SPECTRAL, "fan2025spectral, Theorem 1"),
    (optimizers.Muon(0.9), L2, SPECTRAL, "fan2025spectral, Theorem 2"),
    (optimizers.Muon(0.9, optimizers.NewtonSchulz()), L2, None, "none"),
    (optimizers.Muon(0.9, optimizers.CubicNewtonSchulz(5)), L2, None, "none"),
    (optimizers.Lion(0.9, 0.9), LINF, LINF, "fan2025spectral, Theorem 2"),
    (optimizers.Lion(0.9, 0.99), None, None, "none"),
    (optimizers.Adam(eps=0.0), LINF, LINF, ("zhang2024adam", "fan2025spectral")),
    (optimizers.RMSProp(eps=0.0), LINF, LINF, ("zhang2024adam", "fan2025spectral")),
    (optimizers.Adam(), L2, L2, "wang2021adaptive"),
    (optimizers.RMSProp(), L2, L2, "wang2021adaptive"),
    (optimizers.AdaGrad(), None, None, "qian2019adagrad"),
]  # fmt: skip


@pytest.fixture(scope="module")
def problems():
    return {"binary": binary(0), "several": multiclass(1, k=3, d=4, n=12)}


@pytest.mark.parametrize("kind", ["binary", "several"])
@pytest.mark.parametrize("case", TABLE, ids=lambda case: repr(case[0]))
def test_table_of_algorithms(problems, kind, case):
    optimizer, two, several, source = case
    problem = problems[kind]
    norm = two if kind == "binary" else several
    if kind == "binary" and isinstance(optimizer, optimizers.Muon):
        source = "fan2025spectral"  # any polynomial of one column is a multiple of it
    if isinstance(source, tuple):
        source = source[kind == "several"]
    told = pn.predict(problem, optimizer, step_size=POWER)
    assert told.source.startswith(source)
    json.dumps(told.to_dict(), allow_nan=False)
    if norm is None:
        assert told.norm is told.weights is told.margin is None
        assert told.to_dict()["norm"] is None
        assert len(told.statement) > 40
        return
    assert repr(told.norm) == repr(norm)
    best = pn.max_margin(problem, norm, tol=1e-6)
    assert float(told.margin) == float(best.margin)
    assert jnp.array_equal(told.weights, best.weights)
    assert told.to_dict()["norm"] == norm.label
    for key in told.source.replace(",", "").replace(";", "").split():
        if key[-1].isalpha() and any(c.isdigit() for c in key):
            assert f"{{{key}," in pn.cite(told)


def test_a_source_without_a_key_is_refused(problems):
    told = pn.predict(problems["binary"], optimizers.Lion())
    with pytest.raises(KeyError, match="no key of the bibliography"):
        pn.cite(told)


def test_newton_schulz_may_be_spectral_or_frobenius(problems):
    rule = optimizers.Muon(0.9, optimizers.NewtonSchulz())
    told = pn.predict(problems["several"], rule)
    assert [repr(other.norm) for other in told.alternatives] == ["Spectral()", "L2()"]
    for other in told.alternatives:
        best = pn.max_margin(problems["several"], other.norm, tol=1e-6)
        assert float(other.margin) == float(best.margin)


def test_rules_of_optax_are_unknown(problems):
    optax = pytest.importorskip("optax")
    rule = optimizers.FromOptax(optax.sgd(0.1))
    told = pn.predict(problems["binary"], rule)
    assert told.norm is None
    assert "not in the table" in told.statement


@pytest.mark.parametrize(
    "optimizer",
    [optimizers.SignDescent(), optimizers.Adam(eps=0.0), optimizers.Muon()],
    ids=name,
)
def test_batches_of_part_of_the_samples(problems, optimizer):
    n = problems["several"].samples
    for part in (pn.batching.Cyclic(4), pn.batching.WithReplacement(n)):
        told = pn.predict(problems["several"], optimizer, batching=part)
        assert told.norm is None
        assert told.regimes == ()
    for whole in (pn.batching.Cyclic(n), pn.batching.Shuffled(n)):
        told = pn.predict(problems["several"], optimizer, batching=whole)
        assert told.norm is not None
        assert verdict(told, "every update") == "holds"


def test_gradient_descent_has_one_limit_for_all_batches(problems):
    told = pn.predict(
        problems["binary"], optimizers.GradientDescent(), batching=pn.batching.Cyclic(2)
    )
    assert repr(told.norm) == "L2()"
    assert told.source == "nacson2019stochastic"


def verdict(told, start):
    (found,) = [a for a in told.assumptions if a.statement.startswith(start)]
    return found.verdict.value


def why(told, start):
    return next(a.why for a in told.assumptions if a.statement.startswith(start))


@pytest.mark.parametrize(
    ("step_size", "expected"),
    [
        (POWER, "holds"),
        (pn.schedules.power(0.1, 1.0), "holds"),
        (pn.schedules.power(0.1, 2.0), "fails"),
        (pn.schedules.power(0.1, 0.0), "fails"),
        (0.1, "fails"),
        (None, "unknown"),
        (lambda t: 0.1 / (t + 1.0), "unknown"),
    ],
)
def test_decreasing_steps(problems, step_size, expected):
    for optimizer in (optimizers.SignDescent(), optimizers.Adam(eps=0.0)):
        told = pn.predict(problems["binary"], optimizer, step_size=step_size)
        assert verdict(told, "step sizes fall") == expected
        assert told.holds == (expected != "fails" and verdict(told, "the data") != "f")


def test_constant_steps_are_held_against_the_longest_row(problems):
    R = longest_row(problems["binary"], LINF)
    rows = np.abs(np.asarray(problems["binary"].X)).sum(1)
    assert R == pytest.approx(rows.max(), rel=1e-12)
    for step_size, said in ((0.19 / R, "below the 0.2"), (0.21 / R, "above the 0.2")):
        told = pn.predict(
            problems["binary"], optimizers.SignDescent(), step_size=step_size
        )
        assert said in why(told, "step sizes fall")


@pytest.mark.parametrize("eps", [0.0, 1e-8])
@pytest.mark.parametrize(
    ("b1", "b2", "expected", "runs_away"),
    [
        (0.9, 0.999, "holds", False),
        (0.9, 0.9, "holds", False),
        (0.9, 0.85, "fails", False),
        (0.9, 0.8, "fails", True),
    ],
)
def test_decays_of_adam(problems, eps, b1, b2, expected, runs_away):
    told = pn.predict(problems["binary"], optimizers.Adam(b1, b2, eps))
    assert verdict(told, "b1 is at most b2") == expected
    assert ("early steps run away" in why(told, "b1 is at most")) == runs_away
    if eps == 0:
        assert verdict(told, "ε is 0") == "holds"


def test_eps_inside_the_root_acts_like_its_root_outside(problems):
    inside = optimizers.Adam(0.9, 0.99, 1e-16, eps_inside=True)
    outside = optimizers.Adam(0.9, 0.99, 1e-8)
    one, other = (
        pn.predict(problems["binary"], rule, step_size=POWER).regimes
        for rule in (inside, outside)
    )
    assert [(r.name, r.start, r.end) for r in one] == [
        (r.name, r.start, r.end) for r in other
    ]
    assert one[-1].name == "below ε"


def test_coordinates_without_a_gradient():
    X = [[1.0, 2.0, 0.0], [1.0, -2.0, 0.0]]
    told = pn.predict(
        pn.LinearClassification(X, [1, 1], loss=pn.losses.Exponential()),
        optimizers.Adam(eps=0.0),
    )
    # the second cancels; the third is no feature at all
    assert verdict(told, "no coordinate") == "fails"
    assert why(told, "no coordinate").startswith("1 of 2 are")


@pytest.mark.parametrize("norm", [norms.L1(), norms.Lp(3.0)], ids=name)
def test_steps_of_unnormalised_steepest_descent(norm):
    problem = binary(0)
    rule = optimizers.SteepestDescent(norm, normalized=False)
    limit = 1.0 / longest_row(problem, norm) ** 2  # the exponential loss is 1 at 0
    for step_size, expected in (
        (0.99 * limit, "holds"),
        (1.01 * limit, "fails"),
        (None, "unknown"),
    ):
        told = pn.predict(problem, rule, step_size=step_size)
        assert verdict(told, "step sizes are at most") == expected
    assert verdict(told, "the loss is exponential") == "holds"
    told = pn.predict(binary(0, loss=pn.losses.Logistic()), rule)
    assert verdict(told, "the loss is exponential") == "unknown"
    with_memory = optimizers.SteepestDescent(norm, 0.9, normalized=False)
    assert verdict(pn.predict(problem, with_memory), "there is no") == "unknown"


SMOOTH = [
    binary(0, loss=pn.losses.Logistic()),
    multiclass(1, k=3, d=4, n=12),
    multiclass(1, k=3, d=4, n=12, loss=pn.losses.PairLog()),
]


@pytest.mark.parametrize("problem", SMOOTH, ids=lambda p: f"{p.weight_shape} {p.loss}")
def test_smoothness_bounds_every_hessian(problem):
    def told(step_size):
        rule = optimizers.GradientDescent()
        return pn.predict(problem, rule, step_size=step_size)

    # the bound itself is in the reason given: "0.1 against 2/beta"
    limit = float(why(told(0.1), "the step size is below").split("against ")[1])
    for step_size, expected in ((0.98 * limit, "holds"), (1.02 * limit, "fails")):
        assert verdict(told(step_size), "the step size is below") == expected
    assert verdict(told(None), "the step size is below") == "unknown"

    size = math.prod(problem.weight_shape)
    loss = lambda v: jnp.exp(problem.log_loss(v.reshape(problem.weight_shape)))
    hessian = jax.jit(jax.hessian(loss))
    rng = np.random.default_rng(0)
    largest = 0.0
    for scale in (0.0, 0.1, 0.3, 1.0):
        H = np.asarray(hessian(jnp.asarray(scale * rng.normal(size=size))))
        largest = max(largest, float(np.linalg.eigvalsh(H)[-1]))
    assert limit <= 2.0 / largest
    assert limit >= 2.0 / largest / 6.0  # and it is no idle bound


def test_the_exponential_loss_is_not_smooth(problems):
    told = pn.predict(problems["binary"], optimizers.GradientDescent(), step_size=0.1)
    assert verdict(told, "the step size is below") == "unknown"
    assert verdict(told, "the step size is constant") == "holds"
    told = pn.predict(problems["binary"], optimizers.GradientDescent(), step_size=POWER)
    assert verdict(told, "the step size is constant") == "unknown"


def test_data_that_no_weights_separate():
    problem = pn.LinearClassification(
        [[1.0, 2.0], [1.0, 2.0]], [1, -1], loss=pn.losses.Logistic()
    )
    for optimizer in (optimizers.SignDescent(), optimizers.AdaGrad()):
        with pytest.raises(pn.NotSeparableError):
            pn.predict(problem, optimizer)


def test_wrong_kinds_are_refused(problems):
    problem, rule = problems["binary"], optimizers.SignDescent()
    with pytest.raises(TypeError, match="problem must be"):
        pn.predict(np.eye(2), rule)
    with pytest.raises(TypeError, match="optimizer must be"):
        pn.predict(problem, "adam")
    with pytest.raises(TypeError, match="batching must be"):
        pn.predict(problem, rule, batching=4)
    with pytest.raises(ValueError, match="batch size must be at most"):
        pn.predict(problem, rule, batching=pn.batching.Cyclic(9))
    with pytest.raises(ValueError, match="step_size must be"):
        pn.predict(problem, rule, step_size=-1.0)
    with pytest.raises(TypeError, match="step_size must be"):
        pn.predict(problem, rule, step_size="fast")
