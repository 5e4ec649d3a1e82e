import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import norms
from tests.cases import NORMS, binary, each, multiclass, name, random_weights

OF_ONE_SHAPE = (norms.Mahalanobis, norms.Blockwise)
ON_MULTI_CLASS = [n for n in NORMS if not isinstance(n, OF_ONE_SHAPE)]


@pytest.mark.sampled
@pytest.mark.parametrize("norm", each(ON_MULTI_CLASS), ids=name)
def test_brackets_the_largest_margin_whatever_the_weights(norm):
    problem = multiclass(2, k=3, d=4, n=20)
    best = float(pn.max_margin(problem, norm).margin)
    for seed in range(4):
        w = random_weights(problem.weight_shape, seed)
        found = pn.certify(problem, w, norm)
        assert found.margin <= best * (1 + 1e-6)
        assert found.upper_bound >= best * (1 - 1e-6)


def test_does_not_depend_on_the_length_of_the_weights():
    problem = binary(4)
    w = random_weights(problem.weight_shape)
    one, other = (pn.certify(problem, c * w, norms.L2()) for c in (1.0, 1e6))
    assert jnp.allclose(one.margin, other.margin)
    assert jnp.allclose(one.upper_bound, other.upper_bound)


def test_closes_as_training_goes_on():
    problem = binary(4, d=20, n=6)
    run = pn.train(
        problem, pn.optimizers.SteepestDescent(norms.L2()), steps=20_000, step_size=0.02
    )
    best = float(pn.max_margin(problem, norms.L2()).margin)
    gaps = []
    for t in (200, 2_000, 20_000):
        w = run.weights[int(jnp.argmin(jnp.abs(run.steps - t)))]
        found = pn.certify(problem, w, norms.L2())
        assert found.margin <= best * (1 + 1e-9) <= found.upper_bound * (1 + 2e-9)
        gaps.append(float(found.gap))
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]
    assert gaps[2] < 5e-3


def test_misclassifying_weights_have_a_gap_above_one():
    problem = binary(4)
    w = -pn.max_margin(problem, norms.L2()).weights
    assert pn.certify(problem, w, norms.L2()).gap > 1


@pytest.mark.parametrize("w", [np.zeros(12), np.full(12, np.nan), np.ones(3)])
def test_weights_that_bound_nothing_are_refused(w):
    with pytest.raises(ValueError, match="weights must"):
        pn.certify(binary(4), jnp.asarray(w), norms.L2())


@pytest.mark.parametrize("problem", [binary(4), multiclass(2)], ids=["two", "several"])
def test_bounds_along_a_run_are_those_of_each_record(problem):
    path = np.stack([random_weights(problem.weight_shape, seed) for seed in range(4)])
    path[1] = 0.0
    measured = [norms.L1(), norms.L2(), norms.Linf()]
    bounds = pn.margins.run_bounds(problem, measured, path)
    assert np.isinf(bounds[1]).all()
    for i in (0, 2, 3):
        for bound, norm in zip(bounds[i], measured, strict=True):
            alone = float(pn.certify(problem, path[i], norm).upper_bound)
            assert bound == pytest.approx(alone, rel=2e-6)
            assert bound >= float(pn.max_margin(problem, norm).margin) * (1 - 1e-12)
