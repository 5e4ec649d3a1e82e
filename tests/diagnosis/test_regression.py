"""The diagnosis of a regression: as foretold, too early, and nothing to see."""

import functools
import json
from pathlib import Path

import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest

import penchant as pn

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/assets/result.schema.json").read_text()
)


def apply(w, X):
    return X[:, 0] * w[0] ** 2 * w[1]


@functools.cache
def problem(noise=1.0, start=(2.0, 0.3)):
    X = jnp.ones((1, 1))
    return pn.Regression(apply, jnp.array(start), X, [1.0], label_noise=noise)


def diagnose(rule, steps, eta, noise=1.0, start=(2.0, 0.3)):
    return pn.diagnose(problem(noise, start), rule, steps=steps, step_size=eta, key=3)


@pytest.fixture(scope="module")
def foretold():
    return diagnose(pn.optimizers.Adam(0.9, 0.9975, 1e-3), 40_000, 0.01)


@pytest.mark.slow
def test_a_run_that_follows_the_flow(foretold, tmp_path):
    says = foretold
    assert says.agrees is True, repr(says)
    assert says.winner == "tr Diag(H)^0.5"
    row = says.table["tr Diag(H)^0.5"]
    assert row.change < -0.05
    assert abs(row.after.value / row.flow - 1) < 0.02
    assert says.prediction.time == pytest.approx(4.0)
    assert np.all(np.diff(says.times) > 0)
    page = says.save(tmp_path).read_text()
    assert "on the slow clock" in page
    result = json.loads((tmp_path / "result.json").read_text())
    jsonschema.validate(result, SCHEMA)
    assert result["kind"] == "regression"
    assert result["run"]["least_margin"] is None
    assert pn.diagnosis.read(tmp_path)["predicted"] == "tr Diag(H)^0.5"


def test_too_early_says_how_much_longer():
    says = diagnose("gd", 300, 1e-3, start=(2.0, 0.252))
    assert says.agrees is None
    assert says.headline.startswith("Too early to say")
    (call,) = says.next
    # the call that is proposed does show the drift
    longer = int(call.partition("steps=")[2].partition(",")[0])
    assert longer > 300
    assert call == f"pn.diagnose(problem, 'gd', steps={longer}, step_size=0.001)"


def test_without_noise_nothing_is_foretold():
    says = diagnose("gd", 2_000, 0.02, noise=0.0)
    assert says.agrees is None
    assert says.regime == "no noise"
    assert {w.kind.value for w in says.warnings} >= {"assumptions", "no-flow"}


@pytest.mark.slow
def test_a_diagonal_network_whose_coordinates_die():
    rng = np.random.default_rng(3)
    X = rng.choice([-1.0, 1.0], size=(5, 12))
    start = {k: jnp.asarray(0.6 + 0.1 * rng.random(12)) for k in "uv"}
    dots = lambda w, X: X @ (w["u"] ** 2 - w["v"] ** 2)
    net = pn.Regression(dots, start, X, X[:, 0] - X[:, 1], label_noise=0.5)
    says = pn.diagnose(
        net, "gd", steps=25_000, step_size=0.02, batching=pn.batching.WithReplacement(1)
    )
    assert says.agrees is True, repr(says)
    row = says.table["tr H"]
    assert row.before.valid
    assert row.after.valid
    # the l1 interpolator: tr H = 4 |w|_1 of these features, so that it ends at 8
    assert row.after.value == pytest.approx(8.0, rel=0.1)
    assert "nan" not in repr(says)
    assert bool(says.flow.extinct.any())


def test_what_fits_nothing_has_no_minimisers():
    torn = pn.Regression(lambda w, X: X @ w, jnp.ones(1), [[1.0], [1.0]], [0.0, 9.0])
    says = pn.diagnose(torn, "gd", steps=200, step_size=0.1)
    assert says.regime == "convergence"
    assert "has not come to a manifold" in says.headline
    with pytest.raises(TypeError, match="steps must be given for a regression"):
        pn.diagnose(torn, "gd", step_size=0.1)
