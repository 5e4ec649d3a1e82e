"""Which samples a step sees: a function of the seed and the step's number alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.training.batching import Cyclic, FullBatch, Shuffled, WithReplacement
from tests.cases import binary, multiclass

KEY = jax.random.key(3)
TABLE = 64


@eqx.filter_jit
def draw(batching, key, start, length, samples):
    return batching.batches(key, start, length, samples)


def rows(batching, samples, start=0, length=1, key=KEY):
    """Row numbers of `length` steps from `start`, from tables of one length."""
    tables = [
        np.asarray(draw(batching, key, jnp.asarray(t), TABLE, samples).rows)
        for t in range(start, start + length, TABLE)
    ]
    return np.concatenate(tables)[:length]


def factors(batching, samples, length):
    weights = draw(batching, KEY, jnp.asarray(0), TABLE, samples).weights
    return None if weights is None else np.asarray(weights)[:length]


def epoch_orders(batching, samples, epochs, key=KEY):
    """The samples each epoch visits, in order, padding left out."""
    per_epoch = batching.steps_per_epoch(samples)
    seen = rows(batching, samples, 0, epochs * per_epoch, key)
    return seen.reshape(epochs, -1)[:, :samples]


@pytest.mark.slow
def test_cyclic_goes_through_the_data_in_order():
    assert rows(Cyclic(1), 5, 0, 12)[:, 0].tolist() == [*range(5), *range(5), 0, 1]
    assert rows(Cyclic(2), 6, 4, 3).tolist() == [[2, 3], [4, 5], [0, 1]]
    assert np.array_equal(epoch_orders(Cyclic(3), 7, 2), [range(7), range(7)])


def test_shuffled_visits_every_sample_once_an_epoch():
    orders = epoch_orders(Shuffled(3), 7, 6)
    assert np.array_equal(np.sort(orders, axis=1), np.tile(range(7), (6, 1)))
    assert len({tuple(order) for order in orders}) == 6


def test_shuffled_orders_are_uniform():
    # 3! orders, equally likely: chi-square with 5 degrees of freedom, 99.9 % point
    orders = epoch_orders(Shuffled(1), 3, 3000)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.sum((counts - 500) ** 2 / 500) < 20.5


def test_shuffled_depends_on_the_seed():
    a, b, c = (epoch_orders(Shuffled(3), 7, 3, jax.random.key(s)) for s in (0, 1, 0))
    assert not np.array_equal(a, b)
    assert np.array_equal(a, c)


@pytest.mark.sampled
@pytest.mark.parametrize("batching", [Cyclic(3), Shuffled(3), WithReplacement(9)])
def test_a_step_has_the_same_batch_wherever_a_table_starts(batching):
    whole = draw(batching, KEY, jnp.asarray(0), TABLE, 7)
    for start, length in [(0, 8), (1, 8), (5, 8), (56, 8), (63, 1)]:
        part = draw(batching, KEY, jnp.asarray(start), length, 7)
        inside = slice(start, start + length)
        assert np.array_equal(part.rows, whole.rows[inside])
        if whole.weights is None:
            assert part.weights is None
        else:
            assert np.array_equal(part.weights, whole.weights[inside])


def test_with_replacement_is_uniform():
    seen = rows(WithReplacement(9), 7, 0, 1400)
    counts = np.bincount(seen.ravel(), minlength=7)
    # chi-square with 6 degrees of freedom, 99.9 % point
    assert np.sum((counts - 1800) ** 2 / 1800) < 22.5
    # and the rows of one step are independent: a pair is equal one time in seven
    equal = np.mean(seen[:, 0] == seen[:, 1])
    assert abs(equal - 1 / 7) < 3 * np.sqrt(6 / 49 / 1400)


def test_with_replacement_takes_any_size():
    WithReplacement(9).check(7)
    seen = rows(WithReplacement(9), 7, 0, 3)
    assert seen.shape == (3, 9)
    assert set(seen.ravel()) <= set(range(7))


def test_steps_of_an_epoch():
    assert FullBatch().steps_per_epoch(7) == 1
    assert [Cyclic(b).steps_per_epoch(7) for b in (1, 3, 7)] == [7, 3, 1]


@pytest.mark.parametrize(
    "problem", [binary(0, n=7), multiclass(1, n=7)], ids=["binary", "classes"]
)
def test_a_short_last_batch_is_the_mean_of_what_it_holds(problem):
    gradient = eqx.filter_jit(problem.scaled_gradient)
    w = np.linspace(-1.0, 1.0, np.prod(problem.weight_shape))
    w = jnp.asarray(w.reshape(problem.weight_shape))
    for batching in (Cyclic(3), Shuffled(3)):
        weights = factors(batching, 7, 3)
        assert np.allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-15)
        assert weights[2].tolist() == [1.0, 0.0, 0.0]
        seen = rows(batching, 7, 0, 3)
        for j, held in [(0, 3), (2, 1)]:
            padded = gradient(w, jnp.asarray(seen[j]), jnp.asarray(weights[j]))
            alone = gradient(w, jnp.asarray(seen[j, :held]))
            assert padded.log_scale == alone.log_scale
            wanted = np.asarray(alone.direction)
            assert np.allclose(padded.direction, wanted, rtol=1e-13, atol=1e-15)
    assert factors(Cyclic(3), 9, 3) is None  # full batches need none


def test_padding_counts_for_nothing_where_its_loss_is_largest():
    # the sample that pads is misclassified by far: it must not set the frame
    X = np.vstack([np.eye(4), [[-900.0, 0.0, 0.0, 0.0]]])
    problem = pn.LinearClassification(X, np.ones(5), loss=pn.losses.Exponential())
    last = rows(Cyclic(2), 5, 0, 3)[2], factors(Cyclic(2), 5, 3)[2]
    gradient = eqx.filter_jit(problem.scaled_gradient)
    padded = gradient(jnp.ones(4), *map(jnp.asarray, last))
    alone = gradient(jnp.ones(4), jnp.array([4]))
    assert np.allclose(padded.direction, alone.direction)
    assert padded.log_scale == alone.log_scale == 900.0


@pytest.mark.parametrize("kind", [Cyclic, Shuffled, WithReplacement])
def test_sizes_are_whole_numbers_from_one(kind):
    with pytest.raises(ValueError, match="size must be at least 1; got 0"):
        kind(0)
    for strange in (2.5, "3", True):
        with pytest.raises(TypeError, match="size must be a whole number; got"):
            kind(strange)
    assert kind(2.0) == kind(np.int64(2)) == kind(2)
    assert repr(kind(2)) == f"{kind.__name__}(size=2)"


@pytest.mark.parametrize("kind", [Cyclic, Shuffled])
def test_a_batch_can_not_exceed_the_data(kind):
    problem = binary(0, n=8)
    wanted = r"at most the number of samples, 8; got 9. FullBatch\(\) takes all"
    with pytest.raises(ValueError, match=wanted):
        pn.train(
            problem,
            pn.optimizers.SignDescent(),
            steps=1,
            step_size=0.1,
            batching=kind(9),
        )
    kind(8).check(8)
