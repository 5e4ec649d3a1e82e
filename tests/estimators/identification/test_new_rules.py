"""Rules that tempt one to say more than their steps show."""

import numpy as np
import pytest

import penchant as pn
from tests.estimators.identification.cases import identify, zeros


def momentum(step):
    def update(g, m, w):
        m = 0.9 * m + 0.1 * g
        return step(m), m

    return zeros, update


def signs_of_loud_rows(m):
    length = np.linalg.norm(m, axis=1, keepdims=True)
    return -0.01 * np.where(length > 0.1, np.sign(m), m)


def bounded(m):
    length = np.linalg.norm(m)
    return -0.1 * m * (min(1.0, 1.0 / length) if length > 0 else 1.0)


def adam_in(dtype):
    """Adam whose second moments are kept in few digits."""

    def init(w):
        return 0.0 * w, np.zeros(w.shape, dtype), 0

    def update(g, state, w):
        m, v, t = state
        m, t = 0.9 * m + 0.1 * g, t + 1
        v = (0.99 * v.astype(g.dtype) + 0.01 * g**2).astype(dtype)
        root = np.sqrt(v.astype(g.dtype) / (1 - 0.99**t)) + 1e-8
        return -0.01 * m / (1 - 0.9**t) / root, (m, v, t)

    return init, update


def test_a_jump_is_no_clip():
    found = identify(momentum(signs_of_loud_rows))
    assert found.findings.threshold is None
    assert "clip" not in " ".join(found.told)
    assert found.steps == pn.norms.Linf()
    assert any(line.startswith("Below about |g| =") for line in found.told)


def test_clipped_steps_are_not_clipped_gradients():
    after = identify(momentum(bounded))
    before = identify((
        zeros,
        lambda g, m, w: (-0.1 * (m := 0.9 * m + np.clip(g, -0.5, 0.5)), m),
    ))
    assert after.findings.threshold.kind == "bound"
    assert "clips steps above" in after.headline
    assert before.findings.threshold.kind == "clip"
    assert before.findings.threshold.scale == pytest.approx(0.5, rel=1e-6)


def test_a_memory_that_underflows_hides_no_adam():
    found = identify(adam_in(np.float16))
    assert found.steps == pn.norms.Linf()
    assert found.findings.degree.degree == pytest.approx(0.0, abs=1e-6)
    first, second = (found.constants[f"{name} decay"] for name in ("first", "second"))
    assert abs(first.value - 0.9) <= 3.0 * first.error
    assert abs(second.value - 0.99) <= 3.0 * second.error
    below, above = (found.findings.degree.leaves(low=low) for low in (True, False))
    assert 1e-3 < below < 1.0 < 1e3 < above < 1e5


def test_what_holds_at_tiny_gradients_alone_is_no_descent():
    found = identify((zeros, lambda g, m, w: (-np.exp(np.abs(m := 3 * m + g)) * m, m)))
    assert found.findings.degree.degree is None
    assert "along the gradient" not in found.headline
    assert found.findings.rounding == 0.0  # it bends, in all digits


@pytest.mark.parametrize("step", [np.sign, lambda m: m], ids=["signs", "gradient"])
def test_up_is_no_descent(step):
    found = identify(momentum(step))
    assert "ascent" in found.headline
    assert "descent" not in found.headline
    assert found.steps is None
    assert found.why["steps"] == "it steps up the gradient"


def test_a_mask_with_a_seed_is_not_along_the_gradient():
    found = identify((
        lambda w: np.random.default_rng(3),
        lambda g, r, w: (-0.1 * g * (r.random(g.shape) < 0.5), r),
    ))
    assert found.steps is None
    assert "along the gradient" not in found.headline


def test_gains_of_rows_have_no_exponents():
    gain = np.arange(1, 17)[:, None]
    found = pn.identify(lambda g, s, w: (-gain[: len(g)] * g, s))
    assert found.between is None
    assert found.steps is None


def test_saturation_says_where_it_begins():
    found = identify(momentum(lambda m: -np.tanh(m / 1e-3)))
    assert found.steps == pn.norms.Linf()
    assert 3e-3 < found.findings.degree.leaves(low=True) < 3e-2


def test_what_overflows_in_single_precision_steps_below():
    def update(g, state, w):
        values, axes = np.linalg.eigh(g.T @ g)
        root = np.sqrt(np.maximum(values, 1e-30 * values[-1]))
        return -g @ (axes / root) @ axes.T, state

    single = identify(update).findings.formats[0]
    assert single.why == ""
    assert single.low < 1.0 < single.high < 1e20


def test_a_power_of_any_degree_names_its_norm():
    found = identify(lambda g, s, w: (-np.sign(g) * np.abs(g) ** 0.5, s))
    assert "along the steepest of ℓ3, of degree 0.5" in found.headline
