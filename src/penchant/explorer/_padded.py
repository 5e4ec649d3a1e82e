"""Rooms of a fixed size for samples, so that what is compiled for one picture serves.

A compiled loop is one for each number of samples, batch size and order. Here the number
of samples and the batch size are numbers that it is given, so that points can be added,
and sliders moved, without compiling anything anew.
"""

import functools
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from penchant import LinearClassification
from penchant.explorer._state import Point
from penchant.problems import losses
from penchant.training import batching
from penchant.training.batching import AbstractBatching, Batches, Step

Steps = Int[Array, " t"]

ROOMS = (32, 128)
"""Numbers of samples for which programs are compiled."""


ORDERS = tuple(batching.ORDERS)
"""Orders of the samples, by the numbers that a compiled loop is given."""


def room_for(samples: int) -> int:
    """The smallest room that holds so many samples."""
    return next(room for room in ROOMS if room >= samples)


def _number_of(order: str | Array) -> Array:
    return jnp.asarray(ORDERS.index(order)) if isinstance(order, str) else order


class Padded(AbstractBatching):
    """`Cyclic`, `Shuffled` or `WithReplacement` on the first `count` of the samples.

    Draws what these draw. A batch as large as `count` in the order of the data is
    the full one.

    Args:
        size: Samples in a batch, a number that is not compiled in.
        count: Samples that there are; those after them only pad.
        order: Its number in `ORDERS`, which is not compiled in either.
    """

    size: Int[Array, ""]
    count: Int[Array, ""]
    order: Int[Array, ""] = eqx.field(converter=_number_of)

    def steps_per_epoch(self, samples: int) -> int:
        """1, which makes tables as wide as a batch can be."""
        return 1

    def batches(
        self, key: PRNGKeyArray, start: Step, length: int, samples: int
    ) -> Batches:
        step = start + jnp.arange(length)
        place = jnp.arange(samples)[None, :]
        per_epoch = -(-self.count // self.size)
        within_epoch = (step % per_epoch)[:, None] * self.size + place
        drawn = self.order == ORDERS.index("replacement")
        column = jnp.where(drawn, place, within_epoch)
        ways = self._cyclic, self._shuffled, self._drawn
        orders = jax.lax.switch(
            self.order, [functools.partial(way, key, step, samples) for way in ways]
        )
        inside = (place < self.size) & (drawn | (column < self.count))
        # what pads is the batch's own first sample: another's loss would set the scale
        column = jnp.where(inside, column, column[:, :1])
        rows = jnp.take_along_axis(orders, column, axis=1)
        share = inside.astype(float)
        return Batches(rows, share / jnp.sum(share, axis=1, keepdims=True))

    def _cyclic(self, key: PRNGKeyArray, step: Steps, samples: int) -> Array:
        """The order of the samples in each step's epoch, `(t, n)`."""
        del key
        order = jnp.arange(samples, dtype=jnp.int32)
        return jnp.broadcast_to(order, (len(step), samples))

    def _shuffled(self, key: PRNGKeyArray, step: Steps, samples: int) -> Array:
        """The same, as `Shuffled` draws it."""
        epoch = step // -(-self.count // self.size)
        order = lambda e: self._order(jax.random.fold_in(key, e), samples)
        return jax.vmap(order)(epoch)

    def _order(self, key: PRNGKeyArray, samples: int) -> Array:
        """As `Shuffled` draws it: ranks of random words, of those there are."""
        words = jax.random.bits(key, (samples,))
        place = jnp.arange(samples)
        earlier = (words[None, :] == words[:, None]) & (place[None, :] < place[:, None])
        ahead = (words[None, :] < words[:, None]) | earlier
        rank = jnp.sum(ahead & (place < self.count)[None, :], axis=1)
        return rank.astype(jnp.int32)

    def _drawn(self, key: PRNGKeyArray, step: Steps, samples: int) -> Array:
        """Samples as `WithReplacement` draws them."""
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
