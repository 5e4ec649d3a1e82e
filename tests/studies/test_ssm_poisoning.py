import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import studies
from penchant.studies import Preset
from penchant.studies.ssm_poisoning import _images, _open_set, _setup, _theorem1

STUDY = studies.find("ssm-poisoning")


def test_the_study_has_the_figures_of_the_paper_and_beyond():
    assert {"theorem1", "early-stopping", "official-rule", "with-mlp", "dynamics"} <= {
        *STUDY.figures
    }
    assert {"phases", "sizes", "optimizers", "defences", "images", "teachers"} <= {
        *STUDY.figures
    }


@pytest.mark.parametrize("length", [7, 9])
def test_the_authors_digits_by_their_call(length):
    setting = _setup.SMALL if length == 7 else _setup.LARGE
    printed = [x for pair in _theorem1.PRINTED[length] for x in pair]
    for k, seed in enumerate(setting.seeds):
        a = setting.poles(seed)
        for j, amplitude in ((0, None), (1, 1.0)):
            stop = _theorem1.TIMES[length][j]
            found = _theorem1._official(setting, a, amplitude, *stop)
            assert found == pytest.approx(printed[4 * j + k], rel=2e-6)


def test_the_authors_rule_has_the_gradient_of_all_of_a():
    problem = _setup.BEYOND[6].problem(200, 0, True)
    w, M = problem.start, np.asarray(problem.lags).T @ np.asarray(problem.lags)

    def loss(A):
        state, out = w.b, []
        for _ in range(6):
            out.append(w.c @ state)
            state = A @ state
        h = jnp.stack(out) - problem.teacher.impulse(6)
        return h @ jnp.asarray(M / problem.samples) @ h

    rule = _setup.Adaptive(problem)
    rho = rule.M @ w.impulse(6) - rule.target
    np.testing.assert_allclose(
        _setup._off_diagonal(w, rho),
        jax.grad(loss)(jnp.diag(w.a)),
        rtol=1e-10,
        atol=1e-18,
    )


def test_ratios_are_geometric_means_with_students_interval():
    at, words = _setup.ratios([2.0, 8.0, 4.0], [1.0, 1.0, 1.0])
    assert at == pytest.approx(4.0)
    logs = np.log([2.0, 4.0, 8.0])
    half = 4.302652729 * logs.std(ddof=1) / 3**0.5
    assert f"{np.exp(np.log(4.0) + half):.3g}" in words
    middle, between = _setup.median(np.arange(1.0, 61.0))
    assert middle == 30.5
    assert between == "95 % 23 to 38"  # order statistics 23 and 38 of 60


def test_rows_of_pictures_in_the_papers_layout():
    lines = _images._layout()
    assert [line.measured for line in lines] == [341, 682]
    X = np.arange(3 * 32 * 32).reshape(3, 32, 32)
    rows = X.reshape(32 * 32, 3)
    assert (rows[330:341, :].max(), X[0, -1].max()) == (1022, 1023)


def test_other_starts_have_their_gap_too():
    sizes = _open_set.Sizes(((7, 4, 1e-2),), 8)
    (line,) = _open_set.sizes(sizes, seed=3).lines
    assert line.passed, line


@pytest.mark.slow
def test_an_attack_turns_the_gradient_within_its_bounds():
    sizes = _images.Images(1, 60, 10, 4, 4)
    digits = pn.datasets.digits()
    X = np.asarray(digits.X, dtype=float).reshape(len(digits.y), -1) / 16.0
    base = _images.Pictures(X[:60], np.asarray(digits.y)[:60])
    w = _images._trained(_images._start(0), [base, base, base], sizes, 0).last
    goal = -_images._flat_gradient(w, X[60:70], np.asarray(digits.y)[60:70])
    late = (np.arange(64) >= 48).astype(float)
    Z = _images._attacked(w, base, goal, late, 6)
    assert np.abs(Z - base.X).max() <= _images.MOST + 1e-12
    assert (Z[:, :48] == base.X[:, :48]).all()
    assert Z.min() >= 0.0
    assert Z.max() <= 1.0
    assert _images._match(w, Z, base.y, goal) > _images._match(w, *base, goal) + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize("figure", STUDY.figures)
def test_quick_numbers_come_out(figure, seed):
    result = STUDY.run(seed=seed, preset=Preset.QUICK, figure=figure)
    assert [line for line in result.lines if not line.passed] == []
