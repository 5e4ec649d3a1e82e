import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import norms, optimizers
from penchant.theory import longest_row
from penchant.theory._predict import predict_from
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
    (optimizers.Muon(0.9, optimizers.PolarExpress()), L2, None, "none"),
    (optimizers.Muon(0.9, nesterov=True), L2, SPECTRAL, "fan2025spectral, Theorem 2"),
    (optimizers.Shampoo(0.0), L2, SPECTRAL, "fan2025spectral, Theorem 1"),
    (optimizers.Shampoo(0.9), None, None, "none"),
    (optimizers.WeightDecay(optimizers.Muon(), 0.1), None, None, "dunn1978conditional"),
    (optimizers.WeightDecay(optimizers.Adam(), 0.1), None, None, "none"),
    (optimizers.Lion(0.9, 0.9), LINF, LINF, "fan2025spectral, Theorem 2"),
    (optimizers.Lion(0.9, 0.99), None, None, "none"),
    (optimizers.Adam(eps=0.0), LINF, LINF, ("zhang2024adam", "fan2025spectral")),
    (optimizers.RMSProp(eps=0.0), LINF, LINF, ("zhang2024adam", "fan2025spectral")),
    (optimizers.Adam(), L2, L2, "wang2021adaptive"),
    (optimizers.RMSProp(), L2, L2, "wang2021adaptive"),
    (optimizers.AdaGrad(), None, None, "qian2019adagrad"),
]  # fmt: skip


BINARY, SEVERAL = binary(0), multiclass(1, k=3, d=4, n=12)


FOUND = {}


def best(problem, norm):
    """Maximum margins, computed once for all tests."""
    key = (id(problem), repr(norm))
    if key not in FOUND:  # the problem is kept, so that its id is not given again
        FOUND[key] = problem, pn.max_margin(problem, norm, tol=1e-6)
    return FOUND[key][1]


def predict(problem, optimizer, batching=pn.batching.FullBatch(), step_size=None):
    """`pn.predict` with the margins of `best`."""
    find = functools.partial(best, problem)
    return predict_from(find, problem, optimizer, batching, step_size)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["binary", "several"])
@pytest.mark.parametrize("case", TABLE, ids=lambda case: repr(case[0]))
def test_table_of_algorithms(kind, case):
    optimizer, two, several, source = case
    problem = BINARY if kind == "binary" else SEVERAL
    norm = two if kind == "binary" else several
    if kind == "binary" and isinstance(optimizer, optimizers.Muon):
        source = "fan2025spectral"  # any polynomial of one column is a multiple of it
    if isinstance(source, tuple):
        source = source[kind == "several"]
    told = predict(problem, optimizer, step_size=POWER)
    assert told.source.startswith(source)
    json.dumps(told.to_dict(), allow_nan=False)
    if norm is None:
        assert told.norm is told.weights is told.margin is None
        assert told.to_dict()["norm"] is None
        assert len(told.statement) > 40
        return
    assert repr(told.norm) == repr(norm)
    assert told.to_dict()["norm"] == norm.label
    assert float(told.margin) == float(best(problem, norm).margin)
    for key in told.source.replace(",", "").replace(";", "").split():
        if key[-1].isalpha() and any(c.isdigit() for c in key):
            assert f"{{{key}," in pn.cite(told)


@pytest.mark.parametrize(
    ("optimizer", "norm"),
    [(optimizers.Signum(0.9), LINF), (optimizers.Muon(), SPECTRAL)],
    ids=name,
)
def test_the_solution_is_that_of_max_margin(optimizer, norm):
    told = pn.predict(SEVERAL, optimizer)
    found = pn.max_margin(SEVERAL, norm, tol=1e-6)
    assert float(told.margin) == float(found.margin)
    assert jnp.array_equal(told.weights, found.weights)


def test_a_source_without_a_key_is_refused():
    with pytest.raises(KeyError, match="no key of the bibliography"):
        pn.cite(predict(BINARY, optimizers.Lion()))


def test_newton_schulz_may_be_spectral_or_frobenius():
    told = predict(SEVERAL, optimizers.Muon(0.9, optimizers.NewtonSchulz()))
    assert [repr(other.norm) for other in told.alternatives] == ["Spectral()", "L2()"]
    for other in told.alternatives:
        assert float(other.margin) == float(best(SEVERAL, other.norm).margin)


def test_rules_of_optax_are_unknown():
    optax = pytest.importorskip("optax")
    told = predict(BINARY, optimizers.FromOptax(optax.sgd(0.1)))
    assert told.norm is None
    assert "not in the table" in told.statement


@pytest.mark.parametrize(
    "optimizer",
    [optimizers.SignDescent(), optimizers.Adam(eps=0.0), optimizers.Muon()],
    ids=name,
)
def test_batches_of_part_of_the_samples(optimizer):
    n = SEVERAL.samples
    for part in (pn.batching.Cyclic(4), pn.batching.WithReplacement(n)):
        told = predict(SEVERAL, optimizer, batching=part)
        assert told.norm is None
        assert told.regimes == ()
    for whole in (pn.batching.Cyclic(n), pn.batching.Shuffled(n)):
        told = predict(SEVERAL, optimizer, batching=whole)
        assert told.norm is not None
        assert verdict(told, "every update") == "holds"


def test_gradient_descent_has_one_limit_for_all_batches():
    told = predict(BINARY, optimizers.GradientDescent(), batching=pn.batching.Cyclic(2))
    assert repr(told.norm) == "L2()"
    assert told.source == "nacson2019stochastic"


def verdict(told, start):
    (found,) = [a for a in told.assumptions if a.statement.startswith(start)]
    return found.verdict.value


def why(told, start):
    return next(a.why for a in told.assumptions if a.statement.startswith(start))


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("step_size", "expected"),
    [
        (POWER, "holds"),
        (pn.schedules.power(0.1, 1.0), "holds"),
        (pn.schedules.power(0.1, 2.0), "fails"),
        (pn.schedules.power(0.1, 0.0), "fails"),
        (0.1, "fails"),
        (None, "unknown"),
        (lambda t: 0.1 / (jnp.asarray(t, float) + 1.0), "unknown"),
    ],
)
def test_decreasing_steps(step_size, expected):
    for optimizer in (optimizers.SignDescent(), optimizers.Adam(eps=0.0)):
        told = predict(BINARY, optimizer, step_size=step_size)
        assert verdict(told, "step sizes fall") == expected
        assert told.holds == (expected != "fails")


def test_constant_steps_are_held_against_the_longest_row():
    R = longest_row(BINARY, LINF)
    rows = np.abs(np.asarray(BINARY.X)).sum(1)
    assert np.isclose(R, rows.max(), rtol=1e-12)
    for step_size, said in ((0.19 / R, "below"), (0.21 / R, "above")):
        told = predict(BINARY, optimizers.SignDescent(), step_size=step_size)
        assert f"{said} the 0.2" in why(told, "step sizes fall")


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
def test_decays_of_adam(eps, b1, b2, expected, runs_away):
    told = predict(BINARY, optimizers.Adam(b1, b2, eps))
    assert verdict(told, "b1 is at most b2") == expected
    assert ("early steps run away" in why(told, "b1 is at most")) == runs_away
    if eps == 0:
        assert verdict(told, "ε is 0") == "holds"


def test_eps_inside_the_root_acts_like_its_root_outside():
    inside = optimizers.Adam(0.9, 0.99, 1e-16, eps_inside=True)
    outside = optimizers.Adam(0.9, 0.99, 1e-8)
    both = [predict(BINARY, rule, step_size=POWER) for rule in (inside, outside)]
    ends = [[r.end for r in told.regimes[:-1]] for told in both]
    assert ends[0] == pytest.approx(ends[1], rel=0.05)
    assert [r.name for r in both[0].regimes] == [r.name for r in both[1].regimes]
    assert both[0].regimes[-1].name == "below ε"


def test_coordinates_without_a_gradient():
    X = [[1.0, 2.0, 0.0], [1.0, -2.0, 0.0]]
    told = predict(
        pn.LinearClassification(X, [1, 1], loss=pn.losses.Exponential()),
        optimizers.Adam(eps=0.0),
    )
    # the second cancels; the third is no feature at all
    assert verdict(told, "no coordinate") == "fails"
    assert why(told, "no coordinate").startswith("1 of 2 are")


@pytest.mark.sampled
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
        told = predict(problem, rule, step_size=step_size)
        assert verdict(told, "step sizes are at most") == expected
    assert verdict(told, "the loss is exponential") == "holds"
    told = predict(binary(0, loss=pn.losses.Logistic()), rule)
    assert verdict(told, "the loss is exponential") == "unknown"
    with_memory = optimizers.SteepestDescent(norm, 0.9, normalized=False)
    assert verdict(predict(problem, with_memory), "there is no") == "unknown"


SMOOTH = [
    binary(0, loss=pn.losses.Logistic()),
    multiclass(1, k=3, d=4, n=12),
    multiclass(1, k=3, d=4, n=12, loss=pn.losses.PairLog()),
]


@pytest.mark.sampled
@pytest.mark.parametrize("problem", SMOOTH, ids=lambda p: f"{p.weight_shape} {p.loss}")
def test_smoothness_bounds_every_hessian(problem):
    def told(step_size):
        return predict(problem, optimizers.GradientDescent(), step_size=step_size)

    assert verdict(told(None), "the step size is below") == "unknown"
    size = math.prod(problem.weight_shape)
    loss = lambda v: jnp.exp(problem.log_loss(v.reshape(problem.weight_shape)))
    hessian = jax.jit(jax.hessian(loss))
    rng = np.random.default_rng(0)
    largest = 0.0
    for scale in (0.0, 0.1, 0.3, 1.0):
        H = np.asarray(hessian(jnp.asarray(scale * rng.normal(size=size))))
        largest = max(largest, float(np.linalg.eigvalsh(H)[-1]))
    # no step is called small that is not, and the bound is no idle one
    for share, expected in ((1.0001, "fails"), (0.3, "holds")):
        found = verdict(told(share * 2.0 / largest), "the step size is below")
        assert found == expected


def test_the_exponential_loss_is_not_smooth():
    told = predict(BINARY, optimizers.GradientDescent(), step_size=0.1)
    assert verdict(told, "the step size is below") == "unknown"
    assert verdict(told, "the step size is constant") == "holds"
    falling = predict(BINARY, optimizers.GradientDescent(), step_size=POWER)
    assert verdict(falling, "the step size is constant") == "unknown"


def test_data_that_no_weights_separate():
    problem = pn.LinearClassification(
        [[1.0, 2.0], [1.0, 2.0]], [1, -1], loss=pn.losses.Logistic()
    )
    for optimizer in (optimizers.SignDescent(), optimizers.AdaGrad()):
        with pytest.raises(pn.NotSeparableError):
            pn.predict(problem, optimizer)


def test_wrong_kinds_are_refused():
    problem, rule = BINARY, optimizers.SignDescent()
    with pytest.raises(TypeError, match="problem"):
        pn.predict(np.eye(2), rule)
    with pytest.raises(TypeError, match="optimizer"):
        pn.predict(problem, 3)
    with pytest.raises(TypeError, match="batching"):
        pn.predict(problem, rule, batching=4)
    with pytest.raises(ValueError, match="batch size must be at most"):
        pn.predict(problem, rule, batching=pn.batching.Cyclic(9))
    with pytest.raises(ValueError, match="step_size must be"):
        pn.predict(problem, rule, step_size=-1.0)
    with pytest.raises(TypeError, match="step_size must be"):
        pn.predict(problem, rule, step_size="fast")
