r"""Step sizes: $\eta_t$ counts from $t=0$."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import penchant as pn
from penchant.training.schedules import as_schedule, cumulative, table
from tests.cases import binary

cosine = optax.cosine_decay_schedule(0.3, 70_000)
SCHEDULES = {
    "number": 0.25,
    "constant": pn.schedules.constant(0.25),
    "power": pn.schedules.power(0.1, 0.5),
    "power, offset": pn.schedules.power(2.0, 0.8, offset=1),
    "optax": lambda t: cosine(jnp.asarray(t, float)),  # it mixes kinds of numbers
    "function": lambda t: 0.1 / (1.0 + jnp.asarray(t, float)) ** 0.3,
    "function of no t": lambda t: 0.5,
}
every_schedule = pytest.mark.parametrize("case", SCHEDULES, ids=str)


def test_power_by_its_formula():
    t = np.array([0.0, 1.0, 2.0, 98.0, 1e6])
    for scale, exponent, offset in [(0.1, 0.5, 2.0), (3.0, 1.0, 1.0), (1.0, 0.0, 5.0)]:
        seen = pn.schedules.power(scale, exponent, offset)(jnp.asarray(t))
        assert np.allclose(seen, scale * (t + offset) ** -exponent, rtol=1e-14)


def test_offsets_are_those_of_the_papers():
    # (t + 2)^-a of zhang2024adam from t = 0; t^-a of fan2025spectral from t = 1
    assert float(pn.schedules.power(1.0, 1.0)(jnp.asarray(0.0))) == 0.5
    assert float(pn.schedules.power(1.0, 1.0, offset=1)(jnp.asarray(0.0))) == 1.0
    assert (
        repr(pn.schedules.power(0.1, 0.5)) == "Power(scale=0.1, exponent=0.5, offset=2)"
    )


@pytest.mark.sampled
@every_schedule
@pytest.mark.parametrize("start", [0, 1, 1000])
def test_a_table_holds_the_values_one_by_one(case, start):
    schedule = as_schedule(SCHEDULES[case])
    seen = table(schedule, jnp.asarray(start), 17)
    alone = [float(schedule(jnp.asarray(float(t)))) for t in range(start, start + 17)]
    assert seen.shape == (17,)
    assert seen.dtype == jnp.float64
    # optax computes in float32 where it is given whole steps
    assert np.allclose(seen, alone, rtol=1e-6 if case == "optax" else 1e-14)


@every_schedule
def test_cumulative_is_the_plain_sum(case):
    # across the blocks of 65 536 in which it is summed
    at = np.array([0, 1, 7, 65_535, 65_536, 65_537, 70_000, 140_000])
    seen = cumulative(SCHEDULES[case], at)
    etas = np.asarray(table(as_schedule(SCHEDULES[case]), jnp.asarray(0), 140_000))
    plain = np.concatenate([[0.0], np.cumsum(etas)])[at]
    assert np.allclose(seen, plain, rtol=1e-11)
    assert seen[0] == 0.0


@every_schedule
def test_training_takes_steps_of_that_length(case):
    # sign descent on one feature whose sign never changes: w_T is the sum of the steps
    problem = pn.LinearClassification(
        np.array([[1.0]]), np.array([1]), loss=pn.losses.Exponential()
    )
    run = pn.train(
        problem, pn.optimizers.SignDescent(), steps=50, step_size=SCHEDULES[case]
    )
    total = cumulative(SCHEDULES[case], np.asarray(run.steps))
    assert np.allclose(run.weights[:, 0], total, rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pn.schedules.power(0.0, 0.5), "scale must be > 0; got 0.0"),
        (lambda: pn.schedules.power(-1.0, 0.5), "scale must be > 0; got -1.0"),
        (lambda: pn.schedules.power(0.1, -0.5), "exponent must be >= 0; got -0.5"),
        (lambda: pn.schedules.power(0.1, 0.5, 0.0), "offset must be > 0; got 0.0"),
        (lambda: pn.schedules.power(float("nan"), 0.5), "scale .* got NaN"),
        (lambda: pn.schedules.constant(-0.1), "step_size must be > 0; got -0.1"),
        (lambda: as_schedule(0), "step_size must be > 0; got 0.0"),
        (lambda: as_schedule(float("nan")), "step_size .* got NaN"),
    ],
)
def test_values_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("strange", ["fast", "0.1", None, [0.1, 0.2], jnp.ones(2)])
def test_what_is_no_step_size_is_refused(strange):
    wanted = r"step_size must be a positive number, .*power\(...\) or a function"
    with pytest.raises(TypeError, match=wanted):
        pn.train(binary(0), pn.optimizers.SignDescent(), steps=1, step_size=strange)
    with pytest.raises(TypeError, match="must be a number"):
        pn.schedules.power("fast", 0.5)


@pytest.mark.parametrize(
    "schedule",
    [0.3, pn.schedules.power(0.1, 0.5), lambda t: 0.1 / jnp.exp(jnp.asarray(t, float))],
    ids=["number", "power", "function"],
)
def test_a_schedule_goes_on_where_it_was(schedule):
    t = jnp.arange(6)
    whole = pn.schedules.values(pn.schedules.as_schedule(schedule), t + 4)
    later = pn.schedules.later(schedule, 4)
    assert np.allclose(pn.schedules.values(later, t), whole, rtol=1e-14)
    again = pn.schedules.later(pn.schedules.later(schedule, 3), 1)
    assert np.allclose(pn.schedules.values(again, t), whole, rtol=1e-14)


def test_a_loss_based_schedule_is_what_it_was_later():
    rate = pn.schedules.loss_based(0.2)
    assert pn.schedules.later(rate, 5) is rate
    with pytest.raises(ValueError, match="begin must be"):
        pn.schedules.later(rate, -1)
