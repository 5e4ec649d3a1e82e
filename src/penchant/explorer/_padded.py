"""Rooms of a fixed size for samples, so that what is compiled for one picture serves.

A compiled loop is one for each number of samples, batch size and order. Here the number
of samples and the batch size are numbers that it is given, so that points can be added,
and sliders moved, without compiling anything anew.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from penchant import LinearClassification
from penchant.explorer._state import Point
from penchant.problems import losses
from penchant.training.batching import AbstractBatching, Batches, Step

Steps = Int[Array, " t"]

ROOMS = (32, 128)
"""Numbers of samples for which programs are compiled."""


def room_for(samples: int) -> int:
    """The smallest room that holds so many samples."""
    return next(room for room in ROOMS if room >= samples)


class Padded(AbstractBatching):
    """`Cyclic`, `Shuffled` or `WithReplacement` on the first `count` of the samples.

    Draws what these draw. A batch as large as `count` in the order of the data is
    the full one.

    Args:
        size: Samples in a batch, a number that is not compiled in.
        count: Samples that there are; those after them only pad.
        order: `cyclic`, `shuffled` or `replacement`.
    """

    size: Int[Array, ""]
    count: Int[Array, ""]
    order: str = eqx.field(static=True)

    def steps_per_epoch(self, samples: int) -> int:
        """1, which makes tables as wide as a batch can be."""
        return 1

    def batches(
        self, key: PRNGKeyArray, start: Step, length: int, samples: int
    ) -> Batches:
        step = start + jnp.arange(length)
        place = jnp.arange(samples)[None, :]
        if self.order == "replacement":
            column, orders = place, self._drawn(key, step, samples)
        else:
            per_epoch = -(-self.count // self.size)
            column = (step % per_epoch)[:, None] * self.size + place
            orders = self._orders(key, step // per_epoch, samples)
        inside = place < self.size
        if self.order != "replacement":
            inside = inside & (column < self.count)
        # what pads is the batch's own first sample: another's loss would set the scale
        column = jnp.where(inside, column, column[:, :1])
        column = jnp.broadcast_to(column, (length, samples))
        rows = jnp.take_along_axis(orders, column, axis=1)
        within = jnp.broadcast_to(inside, (length, samples)).astype(float)
        share = within / jnp.sum(within, axis=1, keepdims=True)
        return Batches(rows.astype(jnp.int32), share)

    def _orders(self, key: PRNGKeyArray, epoch: Steps, samples: int) -> Array:
        """The order of the samples in each step's epoch, `(t, n)`."""
        if self.order == "cyclic":
            return jnp.broadcast_to(jnp.arange(samples), (len(epoch), samples))
        return jax.vmap(lambda e: self._order(jax.random.fold_in(key, e), samples))(
            epoch
        )

    def _order(self, key: PRNGKeyArray, samples: int) -> Array:
        """As `Shuffled` draws it: ranks of random words, of those there are."""
        words = jax.random.bits(key, (samples,))
        place = jnp.arange(samples)
        earlier = (words[None, :] == words[:, None]) & (place[None, :] < place[:, None])
        ahead = (words[None, :] < words[:, None]) | earlier
        return jnp.sum(ahead & (place < self.count)[None, :], axis=1)

    def _drawn(self, key: PRNGKeyArray, step: Steps, samples: int) -> Array:
        """As `WithReplacement` draws them."""
        return jax.vmap(
            lambda t: jax.random.randint(
                jax.random.fold_in(key, t), (samples,), 0, self.count, jnp.int32
            )
        )(step)


def padded(points: Sequence[Point], loss: str, bias: bool) -> LinearClassification:
    """A classifier with rows of zeros after its samples, up to a room's size.

    They have no gradient, so that minimisers are those of the samples, and `Padded`
    does not draw them.
    """
    return _filled(points, loss, bias, repeat=False)


def repeated(points: Sequence[Point], loss: str, bias: bool) -> LinearClassification:
    """The same with copies of the first sample, which leave largest margins alone."""
    return _filled(points, loss, bias, repeat=True)


def _filled(
    points: Sequence[Point], loss: str, bias: bool, repeat: bool
) -> LinearClassification:
    table = np.array(points, dtype=float)
    X = np.hstack([table[:, :2], np.ones((len(table), 1))]) if bias else table[:, :2]
    short = room_for(len(X)) - len(X)
    first = np.repeat(X[:1], short, axis=0)
    X = np.vstack([X, first if repeat else 0.0 * first])
    y = np.concatenate([table[:, 2], np.repeat(table[:1, 2], short)])
    return LinearClassification(X, y.astype(int), loss=losses.read(loss))
