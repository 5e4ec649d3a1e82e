"""Which samples an update sees: all, in turn, reshuffled, or drawn at random.

A batch is a function of the seed and of the step's number alone. Nothing is carried
from step to step, which is why runs resume bit by bit.
"""

import abc
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from penchant._checks import check_count
from penchant._pretty import pretty
from penchant._words import look_up
from penchant.optimizers import BATCHES

Step: TypeAlias = Int[Array, ""]


class Batches(eqx.Module):
    """The batches of consecutive steps, a step a row.

    `weights` is None where every batch is full: each row then counts 1/b. Else it
    holds the rows' factors, 0 for those that only pad a short batch.
    """

    rows: Int[Array, "t b"]
    weights: Float[Array, "t b"] | None


class AbstractBatching(eqx.Module):
    """A rule that assigns samples to steps."""

    @abc.abstractmethod
    def steps_per_epoch(self, samples: int) -> int:
        """Updates in which every sample is seen once (or, at random, on average)."""

    @abc.abstractmethod
    def batches(
        self, key: PRNGKeyArray, start: Step, length: int, samples: int
    ) -> Batches | None:
        """Batches of the steps `start, …, start + length - 1`; None for all samples."""

    def covers(self, samples: int) -> bool | None:
        """Whether every update sees each of so many samples; None if it is not known.

        Theorems on full batches hold where it does. A batching that does not say is
        not taken for one that does.
        """
        return None

    def size_of(self, samples: int) -> int:
        """How many samples an update sees, on average over an epoch, rounded up."""
        return -(-samples // self.steps_per_epoch(samples))

    def check(self, samples: int) -> None:
        """Refuse what can't be done with so many samples."""

    def __repr__(self) -> str:
        return pretty(self)


class FullBatch(AbstractBatching):
    """Every update sees every sample."""

    def steps_per_epoch(self, samples: int) -> int:
        return 1

    def covers(self, samples: int) -> bool:
        return True

    def batches(
        self, key: PRNGKeyArray, start: Step, length: int, samples: int
    ) -> Batches | None:
        return None


def _as_size(size: object) -> int:
    return check_count("size", size)


COUNTED = 64
"""Up to so many samples an order is drawn by counting ranks in place of sorting."""


class _Sized(AbstractBatching):
    size: eqx.AbstractVar[int]

    def steps_per_epoch(self, samples: int) -> int:
        return -(-samples // self.size)

    def covers(self, samples: int) -> bool:
        return self.size >= samples

    def size_of(self, samples: int) -> int:
        return min(self.size, samples)

    def check(self, samples: int) -> None:
        if self.size > samples:
            raise ValueError(
                f"The batch size must be at most the number of samples, {samples}; "
                f"got {self.size}. FullBatch() takes all."
            )

    def _fill(self, position: Array, samples: int) -> Array | None:
        """Row factors; None where the batch size divides the number of samples."""
        if samples % self.size == 0:
            return None
        within = (self._columns(position) < samples).astype(float)
        return within / jnp.sum(within, axis=1, keepdims=True)

    def _columns(self, position: Array) -> Array:
        """Places in the epoch's order that the batches at `position` take."""
        return position[:, None] * self.size + jnp.arange(self.size)[None, :]


class Cyclic(_Sized):
    """Samples in the order of the data, `b` at a time, over and over.

    Where `b` does not divide `n`, the last batch of an epoch is shorter, and its
    gradient the mean over what it holds, as data loaders do unless told to drop it.

    Args:
        size: `b`.
    """

    size: int = eqx.field(static=True, converter=_as_size)

    def batches(
        self, key: PRNGKeyArray, start: Step, length: int, samples: int
    ) -> Batches:
        position = (start + jnp.arange(length)) % self.steps_per_epoch(samples)
        rows = jnp.minimum(self._columns(position), samples - 1)
        return Batches(rows.astype(jnp.int32), self._fill(position, samples))


class Shuffled(_Sized):
    """A fresh random order every epoch, `b` samples at a time; last batch as `Cyclic`.

    Args:
        size: `b`.
    """

    size: int = eqx.field(static=True, converter=_as_size)

    def batches(
        self, key: PRNGKeyArray, start: Step, length: int, samples: int
    ) -> Batches:
        per_epoch = self.steps_per_epoch(samples)
        step = start + jnp.arange(length)
        first = start // per_epoch
        touched = (length - 2) // per_epoch + 2  # epochs that `length` steps may meet

        def order(epoch: Step) -> Array:
            return _drawn_order(jax.random.fold_in(key, epoch), samples)

        orders = jax.vmap(order)(first + jnp.arange(max(touched, 1)))
        position = step % per_epoch
        column = jnp.minimum(self._columns(position), samples - 1)
        rows = orders[(step // per_epoch - first)[:, None], column]
        return Batches(rows.astype(jnp.int32), self._fill(position, samples))


def _drawn_order(key: PRNGKeyArray, samples: int) -> Array:
    """A random order of the samples.

    Of a few by the ranks of random words, counted: sorting them, which runs one entry
    at a time, takes longer than a step of training.
    """
    if samples > COUNTED:
        return jax.random.permutation(key, samples)
    words = jax.random.bits(key, (samples,))
    place = jnp.arange(samples)
    earlier = (words[None, :] == words[:, None]) & (place[None, :] < place[:, None])
    ahead = (words[None, :] < words[:, None]) | earlier
    return jnp.sum(ahead, axis=1, dtype=jnp.int32)


class WithReplacement(_Sized):
    """`b` samples drawn uniformly and independently at every step.

    Args:
        size: `b`.
    """

    size: int = eqx.field(static=True, converter=_as_size)

    def check(self, samples: int) -> None:
        """Any size will do: samples may repeat within a batch."""

    def covers(self, samples: int) -> bool:
        return False

    def size_of(self, samples: int) -> int:
        return self.size

    def batches(
        self, key: PRNGKeyArray, start: Step, length: int, samples: int
    ) -> Batches:
        def draw(step: Step) -> Array:
            return jax.random.randint(
                jax.random.fold_in(key, step), (self.size,), 0, samples, jnp.int32
            )

        return Batches(jax.vmap(draw)(start + jnp.arange(length)), None)


ORDERS: dict[str, Callable[[int], AbstractBatching]] = {
    "cyclic": Cyclic,
    "shuffled": Shuffled,
    "replacement": WithReplacement,
}


def of_rule(
    optimizer: object, samples: int, order: str = "shuffled"
) -> AbstractBatching:
    """The batches that the name of a rule means: for `sgd` 32 samples, else all.

    >>> import penchant as pn
    >>> pn.batching.of_rule("sgd", samples=500), pn.batching.of_rule("adam", 500)
    (Shuffled(size=32), FullBatch())

    Args:
        optimizer: A name, or a rule, which says nothing about batches.
        samples: How many there are; no more than one batch of them is all of them.
        order: As for `read`.
    """
    # a rule itself prints as no name does
    size = BATCHES.get(str(optimizer).strip().lower(), samples)
    return read(None if size >= samples else size, order)


def read(size: int | None, order: str = "shuffled") -> AbstractBatching:
    """All samples where `size` is None; else `size` of them in an order by its name.

    Raises:
        ValueError: If there is no such order.
    """
    kind = look_up("order", order, ORDERS)
    return FullBatch() if size is None else kind(size)
