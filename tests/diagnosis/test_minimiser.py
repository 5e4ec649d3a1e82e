import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import penchant as pn
from penchant import optimizers
from tests.diagnosis.cases import SIGN, noisy, overlapping, undecided

LOGISTIC, EXPONENTIAL = pn.losses.Logistic(), pn.losses.Exponential()
GD = optimizers.GradientDescent()


def check(says, attained=True):
    """What makes a minimiser right, whatever found it."""
    problem, found = says.trajectory.rule.problem, says.minimiser
    assert says.separable is False
    assert len(says.table) == 0
    assert says.winner is says.predicted is says.agrees is says.prediction is None
    loss = lambda w: jnp.exp(problem.log_loss(w))
    slope = jax.grad(loss)
    first = jnp.linalg.norm(slope(jnp.zeros(problem.weight_shape)))
    left = float(jnp.linalg.norm(slope(found.weights)) / first)
    assert left < (1e-9 if attained else 1e-6)
    assert float(jnp.min(found.excess)) >= 0
    assert found.attained is attained
    # no step of the run is below it
    least = float(jnp.min(says.trajectory.log_loss))
    assert found.log_loss <= least + (1e-12 if attained else 1e-6)
    # and the proof that there is no margin holds
    q = np.asarray(found.certificate)
    assert q.min() >= 0
    assert np.isclose(q.sum(), 1.0)
    assert found.residual < 1e-9
    assert 1 <= found.misclassified <= problem.samples


def test_overlapping_classes_have_one_minimiser():
    says = overlapping()
    check(says)
    found = says.minimiser
    assert found.free == 0
    assert found.unique is True
    assert found.excess[-1] < 1e-9
    assert found.distance[-1] < 1e-4
    assert np.all(np.diff(np.asarray(found.excess)) <= 1e-12)
    assert "The loss has one minimiser" in says.explanation


def test_agrees_with_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    problem = noisy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how "no penalty" is spelt keeps changing
        peer = LogisticRegression(
            C=np.inf, fit_intercept=False, tol=1e-12, max_iter=10_000
        ).fit(np.asarray(problem.X), np.asarray(problem.y))
    found = overlapping().minimiser
    assert np.allclose(found.weights, peer.coef_[0], atol=1e-5)
    right = peer.score(np.asarray(problem.X), np.asarray(problem.y))
    assert found.misclassified == round(60 * (1 - right))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "loss",
    [
        LOGISTIC,
        pytest.param(EXPONENTIAL, marks=SLOW),
        pytest.param(pn.losses.PairLog(), marks=SLOW),
    ],
    ids=repr,
)
def test_several_classes(loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), np.arange(60) % 3
    problem = pn.LinearClassification(X, y, loss=loss)
    check(pn.diagnose(problem, GD, steps=200))


@pytest.mark.slow
def test_features_that_add_nothing_are_free():
    says = pn.diagnose(noisy(extra=True), GD, steps=200)
    check(says)
    assert says.minimiser.free == 2
    assert says.minimiser.unique is False
    assert says.minimiser.log_loss == pytest.approx(overlapping().minimiser.log_loss)
    assert "2 directions of the weights change no margin" in says.explanation


@pytest.mark.parametrize(
    "loss", [LOGISTIC, pytest.param(EXPONENTIAL, marks=SLOW)], ids=repr
)
@pytest.mark.slow
def test_partly_separable_data_have_no_minimiser(loss):
    # the first feature separates two samples, the second overlaps on four
    X = [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [0.0, -2.0]]
    problem = pn.LinearClassification(X, [1, 1, 1, -1, 1, -1], loss=loss)
    says = pn.diagnose(problem, GD, steps=500)
    check(says, attained=False)
    assert says.minimiser.unique is False
    assert "the loss has no minimiser" in says.explanation
    # the four that overlap decide the infimum
    scalar = {"Logistic()": lambda q: np.logaddexp(0.0, -q).sum()}.get(
        repr(loss), lambda q: np.exp(-q).sum()
    )
    rest = minimize_scalar(lambda w: scalar(w * np.array([1.0, -1.0, -1.0, 2.0])))
    assert np.isclose(np.exp(says.minimiser.log_loss), rest.fun / 6, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, pytest.param(3, marks=SLOW)])
def test_features_that_are_all_zero(classes):
    y = np.tile([1, -1], 3) if classes == 2 else np.arange(6) % 3
    problem = pn.LinearClassification(np.zeros((6, 2)), y, loss=LOGISTIC)
    says = pn.diagnose(problem, SIGN, steps=50)
    check_zero = says.minimiser
    assert says.separable is False
    assert check_zero.free == (2 if classes == 2 else 4)
    assert check_zero.unique is False
    assert check_zero.log_loss == pytest.approx(np.log(np.log(classes)))
    assert check_zero.misclassified == 6
    assert check_zero.excess[-1] == 0


@pytest.mark.slow
def test_one_sample_under_two_labels():
    X = [[1.0, 2.0], [1.0, 2.0], [-3.0, 1.0]]
    problem = pn.LinearClassification(X, [1, -1, 1], loss=LOGISTIC)
    says = pn.diagnose(problem, GD, steps=200)
    check(says, attained=False)  # the third can be pushed away at no cost
    q = np.asarray(says.minimiser.certificate)
    assert np.allclose(q, [0.5, 0.5, 0.0])


@pytest.mark.slow
def test_sign_descent_ends_at_the_same_place():
    steps = pn.schedules.power(0.1, 0.8)
    says = pn.diagnose(noisy(), SIGN, steps=20_000, step_size=steps)
    assert says.minimiser.excess[-1] < 1e-5


@pytest.mark.slow
def test_data_separable_by_a_hair_are_separable_in_every_norm():
    # 1e-8 of the rows' length in l2, and 4e-10 of it in the max norm
    X = np.c_[[1e-8, -1e-8], np.ones((2, 25))]
    problem = pn.LinearClassification(X, [1, -1], loss=LOGISTIC)
    assert float(pn.max_margin(problem, pn.norms.L2()).margin) > 0
    says = pn.diagnose(problem, SIGN, steps=50)
    assert says.separable is True
    assert says.minimiser is None
    assert all(row.best >= 0.99e-8 for row in says.table)


@pytest.mark.slow
def test_what_a_solver_could_not_decide_is_left_open(monkeypatch):
    says = undecided(monkeypatch)
    assert says.separable is None
    assert says.regime == "undecided"
    assert says.minimiser is None
    assert "not decided whether any weights do" in says.headline
    assert says.to_dict()["separable"] is None
