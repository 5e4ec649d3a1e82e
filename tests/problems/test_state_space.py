import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import ssm

rng = np.random.default_rng(0)
TEACHER = ssm.StateSpace([1.0, 0.5], [1.0, 1.0], [1.0, 2.0])
X = rng.normal(size=(30, 6))
A, B, C = rng.normal(size=(3, 4))


def student(trained="abc", head=None):
    return ssm.regression(TEACHER, X, a=A, b=B, c=C, trained=trained, head=head)


HEADS = {"linear": None, "relu": jax.nn.relu, "tanh": jnp.tanh}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("trained", ["abc", "a", "bc"])
def test_the_gradient_is_that_of_proposition_1(head, trained):
    problem = student(trained, head)
    w = problem.start
    gradient, velocity = problem.gradient(w), ssm.velocity(problem, w)
    for name in "abc":
        by_autodiff = np.asarray(getattr(gradient, name))
        np.testing.assert_allclose(
            -by_autodiff, getattr(velocity, name), rtol=1e-12, atol=1e-12
        )
        assert by_autodiff.any() == (name in trained)


def test_outputs_are_those_of_the_recurrence():
    a, b, c = TEACHER.a, TEACHER.b, TEACHER.c
    s = np.zeros((len(X), 2))
    for x in X.T:
        s = np.asarray(a) * s + np.asarray(b) * x[:, None]
    np.testing.assert_allclose(TEACHER(X), s @ np.asarray(c), rtol=1e-13)
    np.testing.assert_allclose(student().y, s @ np.asarray(c), rtol=1e-13)


def test_the_loss_is_its_form_by_lags():
    problem = student()
    w = problem.start
    M = np.asarray(problem.lags.T @ problem.lags) / problem.samples
    e = np.asarray(w.impulse(6) - TEACHER.impulse(6))
    assert float(problem.loss(w)) == pytest.approx(e @ M @ e, rel=1e-12)
    F, _, floor = problem.lag_form()
    np.testing.assert_allclose(F.T @ F, M, rtol=0, atol=1e-13)
    assert floor == 0.0
    few = problem.compressed()
    assert few.samples == 6
    assert float(few.loss(w)) == pytest.approx(float(problem.loss(w)), rel=1e-12)
    np.testing.assert_allclose(
        few.gradient(w).a, problem.gradient(w).a, rtol=1e-11, atol=1e-11
    )


def test_labels_of_ones_own_leave_a_floor_that_no_model_removes():
    y = rng.normal(size=30)
    problem = ssm.regression(TEACHER, X, a=A, y=y)
    assert problem.clean is False
    assert student().clean is True
    F, f, floor = problem.lag_form()
    h, *_ = np.linalg.lstsq(np.asarray(problem.lags), y, rcond=None)
    assert floor == pytest.approx(np.mean((np.asarray(problem.lags) @ h - y) ** 2))
    e = F @ np.asarray(problem.start.impulse(6)) - f
    assert e @ e + floor == pytest.approx(float(problem.loss(problem.start)))


def test_memory_pulls_are_the_terms_of_gamma_0():
    problem = student()
    w = problem.start
    pulls = ssm.memory_pulls(problem, w)
    want = ssm.gamma(problem, w)[0] * jnp.sum(w.a * w.b * w.c)
    assert float(jnp.sum(pulls)) == pytest.approx(float(want), rel=1e-12)


def selective(u=0.0, r=0.0, d=3):
    r0 = np.random.default_rng(1)
    rate, b, c = r0.normal(size=(3, d))
    gate, reading = np.full(d, u), np.full(d, r)
    return ssm.SelectiveStateSpace(rate, gate, np.zeros(d), b, c, reading)


def test_a_selective_model_without_selection_is_linear():
    model = selective()
    width = np.log(2.0)  # softplus of 0
    a = np.exp(-width * np.exp(np.asarray(model.log_rate)))
    linear = ssm.StateSpace(a, width * np.asarray(model.b), model.c)
    np.testing.assert_allclose(
        model(jnp.asarray(X)), linear(jnp.asarray(X)), rtol=1e-12
    )
    one = ssm.regression(TEACHER, X, model=model)
    other = ssm.regression(TEACHER, X, model=linear)
    np.testing.assert_allclose(
        ssm.memory_pulls(one, model), ssm.memory_pulls(other, linear), rtol=1e-11
    )


def test_memory_pulls_of_a_selective_model_by_differences():
    model = selective(u=0.7, r=0.3)
    problem = ssm.regression(TEACHER, X, model=model)
    eps = 1e-6
    slope = (
        model.readout(problem.X, eps) - model.readout(problem.X, -eps)
    ) / (2 * eps)  # fmt: skip
    want = 2.0 * problem.residuals(model) * slope / problem.samples
    np.testing.assert_allclose(ssm.memory_pulls(problem, model), want, atol=1e-8)


def test_complex_models_with_conjugate_poles_are_real_recurrences():
    a, g = 0.9 * np.exp(0.4j), 0.3 - 0.2j
    model = ssm.ComplexStateSpace([a, np.conj(a)], [g, np.conj(g)], [1.0, 1.0])
    h = np.asarray(model.impulse(50))
    # h_l = 2 Re(a) h_{l-1} - |a|² h_{l-2}
    np.testing.assert_allclose(
        h[2:], 2 * a.real * h[1:-1] - abs(a) ** 2 * h[:-2], atol=1e-13
    )
    real = ssm.ComplexStateSpace(A, B, C)
    np.testing.assert_allclose(
        real.impulse(8), ssm.StateSpace(A, B, C).impulse(8), rtol=1e-12
    )
    gradient = pn.ssm.regression(TEACHER, X, model=real).gradient(real)
    np.testing.assert_allclose(
        gradient.a_re, student().gradient(student().start).a, rtol=1e-10
    )


@pytest.mark.parametrize("how", [ssm.ZeroOrderHold(), ssm.Bilinear()])
def test_discretisations_tend_to_the_integral(how):
    # s' = λs + bx with x = 1 has s(T) = b (e^{λT} - 1)/λ
    errors = []
    for n in (200, 400):
        model = ssm.ContinuousStateSpace(
            [0.0], [2.0], [np.log(1.0 / n)], [1.0], [1.0], how
        )
        got = float(model(jnp.ones((1, n)))[0])
        rate = -1.0 + 2.0j
        errors.append(abs(got - (np.expm1(rate) / rate).real))
    if isinstance(how, ssm.ZeroOrderHold):
        assert max(errors) < 1e-12  # exact for inputs that are steps
    else:
        assert errors[0] < 1e-4
        assert 1.5 < errors[0] / errors[1] < 4.5


def test_bounded_poles_stay_below_one():
    model = ssm.BoundedStateSpace([-50.0, 0.0, 3.0], [1.0] * 3, [1.0] * 3)
    assert float(jnp.max(model.modes()[0])) <= 1.0
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        ssm.BoundedStateSpace.of([1.5], [1.0], [1.0])


def test_a_stack_of_one_channel_is_its_model():
    ones = ssm.StateSpace(*np.ones((3, 1, 2)))
    stack = ssm.Stack([1.0], [(ones, [[2.0]])], [1.0])
    x = np.abs(X)
    want = x[:, -1] + 2.0 * 2.0 * x.sum(axis=1)
    np.testing.assert_allclose(stack(jnp.asarray(x)), want, rtol=1e-12)


def test_heads_map_labels_and_are_trained():
    top = ssm.MLP.teacher(5)
    z = rng.normal(size=7)
    np.testing.assert_allclose(top(z), 2.5 * np.maximum(z, 0), rtol=1e-13)
    model = ssm.Headed(ssm.StateSpace(A, B, C), ssm.MLP.normal(5, 0.3, key=1))
    problem = ssm.regression(ssm.Headed(TEACHER, top), X, model=model)
    assert float(jnp.abs(problem.gradient(model).top.second).max()) > 0
    run = pn.train(problem, pn.optimizers.Adam(), steps=50, step_size=0.01)
    assert float(run.loss[-1]) < float(problem.loss(model))


def test_errors_by_lag_overflow_to_infinity_and_never_to_nan():
    big = ssm.StateSpace([3.0, -3.0], [1.0, 1.0], [1.0, 1.0])
    assert float(big.extrapolation_error(TEACHER, 2000)) == np.inf
    assert not bool(jnp.isnan(big.lag_errors(TEACHER, 2000)).any())
    gone = ssm.StateSpace([1e200, 0.0], [0.0, 1.0], [1.0, 0.0])
    assert float(gone.extrapolation_error(TEACHER, 9)) == pytest.approx(3.0)
    # opposite poles whose powers cancel beyond the range of floats
    pair = ssm.StateSpace([2.0, 2.0], [1.0, -1.0], [1.0, 1.0])
    still = ssm.StateSpace([0.0], [1.0], [0.0])
    assert float(pair.extrapolation_error(still, 3000)) == 0.0
    many = ssm.StateSpace(
        *np.stack([np.tile(A, (3, 1)), np.tile(B, (3, 1)), np.tile(C, (3, 1))])
    )
    one = ssm.StateSpace(A, B, C).extrapolation_error(TEACHER, 40)
    np.testing.assert_allclose(many.extrapolation_error(TEACHER, 40), [one] * 3)


def test_effective_rank_counts_poles():
    assert float(ssm.effective_rank(np.ones(7))) == pytest.approx(7.0)
    assert float(ssm.effective_rank([0.0, 0.0])) == 0.0
    assert float(ssm.effective_rank([1.0, 1e-9])) == pytest.approx(1.0, abs=1e-6)
    p = np.array([0.5, 0.3, 0.2])
    want = np.exp(-np.sum(p * np.log(p)))
    assert float(ssm.effective_rank(-7.0 * p)) == pytest.approx(want)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((TEACHER, np.zeros((3, 4))), {"a": A}, "excite some lag"),
        ((TEACHER, np.zeros((3, 0))), {"a": A}, "length 1 or more"),
        ((TEACHER, [[np.nan, 1.0]]), {"a": A}, "X must be finite"),
        ((TEACHER, X), {"a": A, "b": [1.0]}, "must have one shape"),
        ((TEACHER, X), {"a": []}, "at least one"),
        ((TEACHER, X), {"a": A, "trained": "ad"}, "trained must name"),
        ((TEACHER, X), {"a": A, "trained": ""}, "trained must name"),
        ((TEACHER, X), {"a": A, "y": [1.0]}, "one label a row"),
        ((ssm.StateSpace([1e300], [1.0], [1.0]), X), {"a": A}, "finite labels"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ssm.regression(*arguments, **options)


def test_wrong_kinds_are_refused():
    with pytest.raises(TypeError, match="teacher must label"):
        ssm.regression(None, X, a=A)
    with pytest.raises(TypeError, match="either a or model"):
        ssm.regression(TEACHER, X)
    with pytest.raises(TypeError, match="head"):
        ssm.regression(TEACHER, X, a=A, head=3)


def test_sequences_of_length_one_have_no_pole():
    problem = ssm.regression(TEACHER, [[2.0]], a=A)
    assert not np.asarray(problem.gradient(problem.start).a).any()
    assert np.asarray(problem.gradient(problem.start).b).any()
    with pytest.raises(ValueError, match="no pole in it"):
        ssm.flow(ssm.regression(TEACHER, [[2.0]], a=A, trained="a"))


class Moving(ssm.AbstractSequenceModel):
    """A stranger's model: a moving average of two inputs."""

    weight: jax.Array

    def readout(self, X, memory=1.0):
        return self.weight[0] * X[:, -1] + memory * self.weight[1] * X[:, -2]


def test_a_strangers_model_goes_through():
    model = Moving(jnp.array([0.1, 0.2]))
    problem = ssm.regression(TEACHER, X, model=model)
    run = pn.train(problem, pn.optimizers.GradientDescent(), steps=500, step_size=0.3)
    x = np.asarray(problem.lags)[:, :2]
    want, *_ = np.linalg.lstsq(x, np.asarray(problem.y), rcond=None)
    np.testing.assert_allclose(run.last.weight, want, atol=1e-8)
    scores = pn.audits.poison_scores(problem, model)
    assert scores.sum() == pytest.approx(1.0)
