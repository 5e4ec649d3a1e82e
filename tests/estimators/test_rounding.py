"""What a format does to numbers, against other libraries and PyTorch's steps."""

import ml_dtypes
import numpy as np
import pytest

from penchant.estimators import rounding

OTHERS = {"float16": np.float16, "float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("name", OTHERS)
def test_rounding_is_that_of_another_library(name):
    draws = np.random.default_rng(0)
    small = {"float16": -30, "float32": -155, "bfloat16": -140}[name]
    x = draws.normal(size=4000) * 2.0 ** draws.integers(small, 18, 4000)
    x = x.astype(np.float32).astype(float) if name != "float32" else x  # one rounding
    with np.errstate(over="ignore"):
        told = x.astype(OTHERS[name]).astype(float)
    np.testing.assert_array_equal(rounding.read(name).round(x), told)


def test_ties_go_to_even_and_overflow_to_infinity():
    half = rounding.read("bfloat16")
    assert half.round([1 + 2**-8, 1 + 3 * 2**-8]).tolist() == [1.0, 1 + 2**-6]
    assert rounding.read("float16").round([70000.0, -1e9]).tolist() == [
        np.inf,
        -np.inf,
    ]
    with pytest.raises(ValueError, match="float64, float32, bfloat16, float16"):
        rounding.read("int8")


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(1e-5, 1.001), (1e-6, 1.016), (1e-7, 1.13), (5e-8, 1.69), (3e-8, 2.8), (2e-8, 0)],
)
def test_decay_of_single_precision_is_that_of_200_steps(rate, expected):
    """What was measured is the median weight's; of the norm it is 2.87 at 3e-8."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    w = torch.nn.Parameter(torch.randn(4000))
    start = w.detach().double().numpy().copy()
    optimizer = torch.optim.AdamW([w], lr=rate / 0.01, weight_decay=0.01)
    w.grad = torch.zeros_like(w)
    for _ in range(200):
        optimizer.step()
    end = w.detach().double().numpy()
    median = float(np.median(1.0 - end / start)) / (200 * rate)
    assert median == pytest.approx(expected, abs=0.01 * max(expected, 0.1))
    # all weights shrink at a rate: the sum's logarithm is linear in steps
    measured = -float(np.log(start @ end / (start @ start))) / (200 * rate)
    told = rounding.kept_decay(start, rate, "float32")
    assert told == pytest.approx(measured, abs=0.002)


@pytest.mark.parametrize(
    ("name", "edge"), [("bfloat16", 2.0**-9), ("float16", 2.0**-12)]
)
def test_half_precision_has_no_decay_below_half_a_digit(name, edge):
    w = rounding.read(name).round(np.random.default_rng(0).normal(size=2000))
    assert rounding.read(name).unseen == edge
    assert rounding.kept_decay(w, 0.99 * edge, name) == 0.0
    assert rounding.kept_decay(w, 2.5 * edge, name) > 0.5
    with pytest.raises(ValueError, match="rate must be > 0"):
        rounding.kept_decay(w, 0.0, name)
    assert np.isnan(rounding.kept_decay(np.zeros(3), 0.1, name))


@pytest.mark.parametrize(("lr", "expected"), [(1e-4, 0.534), (1e-5, 0.937)])
def test_swallowed_steps_of_half_precision(lr, expected):
    torch = pytest.importorskip("torch")
    made = torch.Generator().manual_seed(0)
    w = (0.05 * torch.randn(400_000, generator=made)).bfloat16()
    step = lr * torch.randn(400_000, generator=made).sign()
    moved = (w.float() + step).bfloat16()
    measured = float((moved == w).float().mean())
    told = rounding.swallowed(w.double().numpy(), step.double().numpy(), "bfloat16")
    assert measured == pytest.approx(expected, abs=0.003)
    assert told == pytest.approx(measured, abs=0.002)
    assert rounding.swallowed(w.double().numpy(), step.numpy(), "float64") == 0.0


def test_a_second_moment_in_half_precision_cannot_forget():
    torch = pytest.importorskip("torch")
    for name, forgets in (("bfloat16", False), ("float32", True)):
        v = torch.ones(4, dtype=getattr(torch, name))
        g = torch.full((4,), 1e-2, dtype=v.dtype)
        for _ in range(8000):
            v.mul_(0.999).addcmul_(g, g, value=0.001)
        assert (float(v[0]) < 0.01) is forgets
        assert rounding.never_forgets(0.999, name) is not forgets
    assert not rounding.never_forgets(1.0, "bfloat16")


def test_small_gradients_leave_no_second_moment():
    torch = pytest.importorskip("torch")
    least = rounding.least_seen(0.999, "float16")
    assert least == pytest.approx(5.46e-3, rel=1e-3)
    for side, stays in ((0.98, 0.0), (1.02, 2.0**-24)):
        square = 0.001 * (side * least) ** 2
        assert float(torch.tensor(square).half()) == stays
    made = np.random.default_rng(0).normal(size=200_000)
    for rms, share in ((1e-2, 0.416), (1e-3, 1.0)):
        v = 0.001 * (rms * made) ** 2
        assert rounding.underflows(v) == pytest.approx(share, abs=0.003)


def test_nothing_asked_is_not_a_share():
    assert np.isnan(rounding.swallowed([1.0], [0.0], "float32"))
    assert np.isnan(rounding.underflows([0.0]))


def test_what_is_swallowed_of_the_way_is_little_where_dead_weights_stay():
    rng = np.random.default_rng(3)
    w = rng.normal(size=4000)
    steps = np.full(4000, 1e-3)
    steps[:800] = 1e-12  # moments of weights without a gradient fade like this
    assert rounding.swallowed(w, steps, "float32") == pytest.approx(0.2)
    assert rounding.swallowed_length(w, steps, "float32") < 1e-8
    same = np.full(4000, 1e-5)
    share = rounding.swallowed(w, same, "bfloat16")
    assert rounding.swallowed_length(w, same, "bfloat16") == pytest.approx(share)
    assert np.isnan(rounding.swallowed_length(w, 0.0 * w, "bfloat16"))
