r"""The step that Adam makes on average, given how much each sample weighs.

On separable data what a sample adds to the gradient falls like $e^{-q_i}$, and only the
shares $c$ of the samples matter to Adam, which ignores the gradient's scale. Over a
stretch in which $c$ hardly changes the weights move along a mean step $\delta(c)$.
"""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from penchant._checks import check_count, check_instance, check_number
from penchant._pretty import pretty
from penchant._types import Examples, PerSample, Real, Scalar, Vector
from penchant.optimizers import AbstractOptimizer
from penchant.problems import LinearClassification
from penchant.training.batching import (
    AbstractBatching,
    Batches,
    Cyclic,
    FullBatch,
    Shuffled,
    WithReplacement,
)

DRAWS = 8192
"""Batches drawn by default where their order is random."""

GATHERED = 3e7
"""Numbers up to which batches are copied side by side, and not multiplied out."""


class Units(eqx.Module):
    """What single updates see: samples in order, or batches with their rows' factors.

    `rows` is None for the samples themselves, in the order of the data.
    """

    rows: Int[Array, "s b"] | None
    weights: Float[Array, "s b"] | None
    matrix: Float[Array, "s n"] | None

    @staticmethod
    def of(rows: Any, weights: Any, samples: int, features: int) -> "Units":
        """Batches as `batching.batches` gives them."""
        rows = np.asarray(rows)
        count, size = rows.shape
        if size == 1:
            if count == samples and (rows[:, 0] == np.arange(samples)).all():
                return Units(None, None, None)
            return Units(jnp.asarray(rows), None, None)
        w = np.full(rows.shape, 1.0 / size) if weights is None else np.asarray(weights)
        if rows.size * features <= GATHERED or size * features <= samples:
            return Units(jnp.asarray(rows), jnp.asarray(w), None)
        matrix = np.zeros((count, samples))
        np.add.at(matrix, (np.arange(count)[:, None], rows), w)
        return Units(None, None, jnp.asarray(matrix))

    def __call__(self, g: Examples) -> Float[Array, "s d"]:
        if self.matrix is not None:
            return self.matrix @ g
        if self.rows is None:
            return g
        if self.weights is None:
            return g[self.rows[:, 0]]
        return jnp.einsum("sb,sbd->sd", self.weights, g[self.rows])


class AbstractMeanStep(eqx.Module):
    r"""$\delta(c)$: the mean step of an adaptive method at sample weights $c$.

    A function of $\log c$ up to a constant, `(n,)`, of degree 0. Each feature looks at
    its own largest terms, so that features which only unimportant samples have keep
    their step: $0/0$ arises for features that no sample has, and is 0.

    `rows` are the signed examples $y_ix_i$.
    """

    rows: eqx.AbstractVar[Examples]

    @abc.abstractmethod
    def __call__(self, log_c: Float[Array, "n ..."]) -> Vector:
        """The mean step, `(d,)`; weights may also differ by feature, `(n, d)`."""

    @abc.abstractmethod
    def spread(self, log_c: PerSample) -> Vector:
        r"""$\sqrt V$, `(d,)`: the root mean square of what single updates see.

        In the frame of the largest weight: 0 where only samples of weight 0 have a
        feature.
        """

    def sensitivity(self, log_c: PerSample) -> tuple[Vector, Float[Array, "n d"]]:
        r"""$\delta$ and $\partial\delta_k/\partial\log c_j$, `(n, d)`.

        Feature $k$ of the step depends on column $k$ of the weights alone, so that one
        reverse pass gives all derivatives for the price of a few steps.
        """
        columns = jnp.broadcast_to(log_c[:, None], self.rows.shape)
        total = lambda weights: (jnp.sum(step := self(weights)), step)
        slopes, step = jax.grad(total, has_aux=True)(columns)
        return step, slopes

    def __repr__(self) -> str:
        return pretty(self)


class AdamProxy(AbstractMeanStep):
    r"""The limit $\beta_2\to1$: $\delta=\bar g/\sqrt V$, whatever $\beta_1$.

    $$V=\bar g^2+\rho\,\big(\overline{g^2}-\bar g^2\big)$$

    with $g_u$ what update $u$ sees and bars for means over `units`. $\rho$ (`noise`) is
    1 for samples or batches taken in turn, $1/b$ for `b` samples drawn with
    replacement, $(n-b)/(b(n-1))$ for reshuffled ones. For single samples this is
    AdamProxy of `baek2026persample` (Definition 4.2); other $\rho$ are derived here.
    $\rho=0$, full batches, is sign descent.
    """

    rows: Examples
    units: Units
    noise: Scalar

    def __call__(self, log_c: Float[Array, "n ..."]) -> Vector:
        mean, square = self._moments(log_c)
        return _ratio(mean, square)

    def spread(self, log_c: PerSample) -> Vector:
        return jnp.sqrt(self._moments(log_c)[1]) * _frame_of(self.rows, log_c)

    def _moments(self, log_c: Float[Array, "n ..."]) -> tuple[Vector, Vector]:
        G = self.units(_weighted(self.rows, log_c))
        mean = jnp.mean(G, axis=0)
        # around the mean: the difference of two close squares has lost its digits
        variance = jnp.mean((G - mean[None, :]) ** 2, axis=0)
        return mean, mean**2 + self.noise * variance


class AdamCycle(AbstractMeanStep):
    r"""The mean of $m/\sqrt v$ over one period of a sequence of batches.

    Both memories are in their periodic state, found from the recursion and not from an
    $s\times s$ table of lags. With one epoch of `Cyclic` batches it is Proposition
    2.5 of `baek2026persample`, for any $\beta_1,\beta_2$.

    `growth` $r$ is the margin gained a step where steps do not become small: what was
    seen a step ago counts $e^r$ more, so decays act as $\beta_1e^r,\beta_2e^{2r}$.
    Small steps have $r=0$.

    `control` is the proxy that a random sequence samples. Its moments are known, so
    $m/\sqrt v$ is sampled only beyond first order about them (a control variate), which
    leaves a small error where $\beta_2$ is near 1.
    """

    rows: Examples
    units: Units
    b1: Scalar
    b2: Scalar
    growth: Scalar
    control: AdamProxy | None

    def __call__(self, log_c: Float[Array, "n ..."]) -> Vector:
        return jnp.mean(self.parts(log_c), axis=0)

    def parts(self, log_c: Float[Array, "n ..."]) -> Float[Array, "s d"]:
        """What each of the batches contributes: the mean step is their mean."""
        G = self.units(_weighted(self.rows, log_c))
        m = _remembered(G, self.b1, self.b1 * jnp.exp(self.growth))
        v = _remembered(G**2, self.b2, self.b2 * jnp.exp(2.0 * self.growth))
        if self.control is None:
            return _ratio(m, v)
        mean, square = self.control._moments(log_c)
        lag = lambda b, power: (1.0 - b) / (1.0 - b * jnp.exp(power * self.growth))
        mean, square = mean * lag(self.b1, 1.0), square * lag(self.b2, 2.0)
        # m/√v to first order about the means, whose own mean is known to be mean/√V
        flat = _ratio(m, square[None, :])
        tilt = _ratio(mean, square)[None, :] * (_quotient(v, square) - 1.0) / 2.0
        return _ratio(mean, square)[None, :] + (_ratio(m, v) - flat + tilt)

    def spread(self, log_c: PerSample) -> Vector:
        if self.control is not None:
            return self.control.spread(log_c)
        G = self.units(_weighted(self.rows, log_c))
        return jnp.sqrt(jnp.mean(G**2, axis=0)) * _frame_of(self.rows, log_c)


def signed_rows(problem: LinearClassification) -> Examples:
    """$y_ix_i$ of a problem with two classes.

    Raises:
        TypeError: If `problem` is no `LinearClassification`.
        ValueError: If it has several classes.
    """
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    if not problem.binary:
        raise ValueError(
            "problem must have two classes, with labels -1 and +1; it has "
            f"{problem.classes} in the multi-class form."
        )
    return problem.X * problem.y[:, None].astype(problem.X.dtype)


def adam_proxy(
    problem: LinearClassification, batching: AbstractBatching = Cyclic(1)
) -> AdamProxy:
    r"""The mean step of Adam for $\beta_2\to1$, any batches.

    >>> import penchant as pn
    >>> problem = pn.datasets.gaussian(4, 6).problem()
    >>> import jax.numpy as jnp
    >>> adam_proxy(problem, pn.batching.WithReplacement(5))(jnp.zeros(4)).shape
    (6,)

    Args:
        problem: Two classes.
        batching: Which samples an update sees; not all of them.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `problem` has several classes, a batch more samples than there
            are, or every update sees all samples.
    """
    rows = signed_rows(problem)
    n = problem.samples
    _check_batching(batching, n)
    if isinstance(batching, Cyclic):
        return AdamProxy(rows, _one_epoch(batching, n, rows.shape[1]), jnp.asarray(1.0))
    samples = Units(None, None, None)
    return AdamProxy(rows, samples, jnp.asarray(_noise(batching, n)))


def adam_step(
    problem: LinearClassification,
    optimizer: AbstractOptimizer,
    batching: AbstractBatching = Cyclic(1),
    *,
    growth: Real = 0.0,
    draws: int = DRAWS,
    key: Any = 0,
) -> AdamCycle:
    r"""The mean step of Adam or RMSProp at their own $\beta_1,\beta_2$, any batches.

    Exact for `Cyclic` batches. Where the order is random it is a mean over `draws`
    batches, drawn once, around the known limit $\beta_2\to1$. $\varepsilon$ counts as 0
    and bias correction, which dies out, is left out.

    Args:
        problem: Two classes.
        optimizer: Its decays.
        batching: Which samples an update sees; not all of them.
        growth: Margin gained a step, $r\ge0$, with $\beta_2e^{2r}<1$.
        draws: Batches drawn where the order is random.
        key: An integer seed, or a JAX key, for them.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: As for `adam_proxy`; or if `growth` or `draws` is out of range, or
            $\beta_2=0$.
    """
    rows = signed_rows(problem)
    n = problem.samples
    first, second = running_decays(optimizer)
    _check_batching(batching, n)
    draws = check_count("draws", draws)
    b1, b2 = jnp.asarray(first, dtype=float), jnp.asarray(second, dtype=float)
    if float(b2) == 0.0:
        raise ValueError(
            "optimizer.b2 must be above 0: without memory v is the square of the last "
            "gradient alone, and every sample has a say whatever its weight. With "
            "b1 = 0 too the mean step is that of the signs of the batches' gradients."
        )
    check_number("growth", growth, least=0.0, below=growth_limit(float(b1), float(b2)))
    r = jnp.asarray(growth, dtype=float)
    if isinstance(batching, Cyclic):
        return AdamCycle(rows, _one_epoch(batching, n, rows.shape[1]), b1, b2, r, None)
    epochs = -(-draws // batching.steps_per_epoch(n))
    length = epochs * batching.steps_per_epoch(n)
    seed = jax.random.key(key) if isinstance(key, int) else key
    drawn = _draw(batching, seed, length, n)
    assert drawn is not None
    units = Units.of(drawn.rows, drawn.weights, n, rows.shape[1])
    return AdamCycle(rows, units, b1, b2, r, adam_proxy(problem, batching))


def running_decays(optimizer: AbstractOptimizer) -> tuple[float, float]:
    r"""$\beta_1$ and $\beta_2$ of a rule that divides by a running mean of squares.

    Raises:
        TypeError: If it is no such rule.
    """
    check_instance(
        "optimizer", optimizer, AbstractOptimizer, "one of penchant.optimizers"
    )
    what = optimizer.character()
    second = what.adaptive
    if second is None or second.kind != "mean" or what.decays:
        raise TypeError(
            "optimizer must be Adam or RMSProp, or a rule whose character is like "
            f"theirs; got {type(optimizer).__name__}: {what!r}."
        )
    return what.b1, float(np.asarray(second.decay))


def growth_limit(b1: float, b2: float) -> float:
    r"""No step gains more margin than this, $-\tfrac12\log\beta_2\approx(1-\beta_2)/2$.

    Gradients that fall faster than $v$ forgets leave $v$ to those of long ago: steps
    shrink until growth is below, whatever the step size. $-\log\beta_1$ where that is
    less ($\beta_1^2>\beta_2$), infinite where nothing is remembered.
    """
    slow = -0.5 * np.log(b2) if b2 > 0 else np.inf
    return float(min(slow, -np.log(b1) if b1 > 0 else np.inf))


def _weighted(rows: Examples, log_c: Float[Array, "n ..."]) -> Examples:
    """$c_ix_i$, each feature relative to the largest weight of a sample that has it."""
    columns = log_c[:, None] if log_c.ndim == 1 else log_c
    columns = jnp.broadcast_to(columns, rows.shape)
    frame = jax.lax.stop_gradient(_frame(rows, columns))
    # absent entries must not meet exp: what others weigh may be out of its range
    return jnp.exp(jnp.where(rows != 0, columns - frame[None, :], 0.0)) * rows


def _frame(rows: Examples, columns: Examples) -> Vector:
    """The largest log-weight of a sample that has a feature; 0 where none has it."""
    frame = jnp.max(jnp.where(rows != 0, columns, -jnp.inf), axis=0)
    return jnp.where(jnp.isfinite(frame), frame, 0.0)


def _frame_of(rows: Examples, log_c: PerSample) -> Vector:
    columns = jnp.broadcast_to(log_c[:, None], rows.shape)
    return jnp.exp(_frame(rows, columns) - jnp.max(log_c))


def _ratio(m: Array, v: Array) -> Array:
    positive = v > 0
    return jnp.where(positive, m / jnp.sqrt(jnp.where(positive, v, 1.0)), 0.0)


def _quotient(v: Array, square: Vector) -> Array:
    positive = (square > 0)[None, :]
    return jnp.where(positive, v / jnp.where(positive, square[None, :], 1.0), 1.0)


def _remembered(G: Float[Array, "s d"], b: Scalar, kept: Scalar) -> Float[Array, "s d"]:
    r"""The periodic state of $m\leftarrow\text{kept}\cdot m+(1-b)G_s$.

    In about $\sqrt s$ blocks of $\sqrt s$: matrix products within blocks and between
    their ends, in place of $s$ steps one after another.
    """
    s, d = G.shape
    size = math.isqrt(s - 1) + 1
    count = -(-s // size)
    padded = jnp.zeros((count * size, d)).at[:s].set((1.0 - b) * G)
    # places within a block first, so that both products are plain matrix products
    blocks = padded.reshape(count, size, d).transpose(1, 0, 2).reshape(size, -1)
    inside = (_decay(kept, size) @ blocks).reshape(size, count, d)
    ends = _decay(kept**size, count) @ inside[-1]
    before = jnp.concatenate([jnp.zeros((1, d)), ends[:-1]])
    fading = kept ** jnp.arange(1.0, size + 1.0)
    m = inside + fading[:, None, None] * before[None, :, :]
    m = m.transpose(1, 0, 2).reshape(count * size, d)[:s]
    # what a whole period leaves adds up as a geometric series
    period = -jnp.expm1(s * jnp.log(jnp.where(kept > 0, kept, 1e-300)))
    return m + (kept ** jnp.arange(1.0, s + 1.0))[:, None] * (m[-1] / period)[None, :]


def _decay(kept: Scalar, size: int) -> Float[Array, "k k"]:
    """kept^(i - j) for i >= j, else 0."""
    lag = jnp.arange(float(size))[:, None] - jnp.arange(float(size))[None, :]
    return jnp.where(lag >= 0, kept ** jnp.maximum(lag, 0.0), 0.0)


@eqx.filter_jit
def _draw(
    batching: AbstractBatching, key: Any, length: int, samples: int
) -> Batches | None:
    return batching.batches(key, jnp.asarray(0), length, samples)


def _one_epoch(batching: AbstractBatching, samples: int, features: int) -> Units:
    key = jax.random.key(0)  # nothing is random in a cycle
    epoch = _draw(batching, key, batching.steps_per_epoch(samples), samples)
    assert epoch is not None
    return Units.of(epoch.rows, epoch.weights, samples, features)


def _noise(batching: AbstractBatching, samples: int) -> float:
    r"""$\rho$: the variance of a batch's mean, over that of single samples."""
    assert isinstance(batching, (Shuffled, WithReplacement))
    b = batching.size
    if isinstance(batching, WithReplacement):
        return 1.0 / b
    sizes = np.full(-(-samples // b), b)
    sizes[-1] = samples - b * (len(sizes) - 1)  # the last batch may be shorter
    return float(np.mean((samples - sizes) / (sizes * max(samples - 1, 1))))


def _check_batching(batching: AbstractBatching, samples: int) -> None:
    kinds = (Cyclic, Shuffled, WithReplacement)
    if isinstance(batching, FullBatch):
        raise ValueError(
            "batching must leave samples out of an update; full batches make sign "
            "descent of Adam, whose limit is max_margin(problem, norms.Linf())."
        )
    check_instance("batching", batching, kinds, "Cyclic, Shuffled or WithReplacement")
    batching.check(samples)
    if batching.steps_per_epoch(samples) == 1 and samples > 1:
        if isinstance(batching, WithReplacement):
            return
        raise ValueError(
            f"batching must leave samples out of an update; {batching!r} takes all "
            f"{samples}, and the limit is max_margin(problem, norms.Linf())."
        )
