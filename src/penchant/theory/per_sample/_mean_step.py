r"""The step that Adam makes on average, given how much each sample weighs.

On separable data what a sample adds to the gradient falls like $e^{-q_i}$, and only the
shares $c$ of the samples matter to Adam, which ignores the gradient's scale. Over a
stretch in which $c$ hardly changes the weights move along a mean step $\delta(c)$.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from penchant._checks import check_count, check_instance, check_number
from penchant._pretty import pretty
from penchant._types import Examples, Key, Numbers, PerSample, Real, Scalar, Vector
from penchant.optimizers import AbstractOptimizer
from penchant.problems import LinearClassification
from penchant.theory.per_sample._memories import means_over, memories, periodic
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

CHAINS, FEWEST = 16, 4
"""Independent chains of random batches: as many, and at least so many."""

RECENT = 64
"""Batches before each chain that count as they fall, at least."""

GATHERED = 3e7
"""Numbers up to which batches are copied side by side, and not multiplied out."""


ORDERS = (Cyclic, Shuffled, WithReplacement)
"""Batchings of which it is known which samples meet, and how often."""


class Units(eqx.Module):
    """What single updates see: samples in order, or batches with their rows' factors.

    `rows` is None for the samples themselves, in the order of the data.
    """

    rows: Int[Array, "s b"] | None
    weights: Float[Array, "s b"] | None
    matrix: Float[Array, "s n"] | None

    @staticmethod
    def of(
        rows: Numbers | None, weights: Numbers | None, samples: int, features: int
    ) -> "Units":
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

    @property
    def count(self) -> int:
        """How many batches, where they are not the samples themselves."""
        given = self.matrix if self.rows is None else self.rows
        assert given is not None
        return given.shape[0]

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
    """

    rows: Examples
    units: Units
    b1: Scalar
    b2: Scalar
    growth: Scalar

    def __call__(self, log_c: Float[Array, "n ..."]) -> Vector:
        G = self.units(_weighted(self.rows, log_c))
        first, second = memories(self.b1, self.b2, self.growth)
        m, v = periodic(G, *first), periodic(G**2, *second)
        return means_over(G, m, v, *first, *second)[0]

    def spread(self, log_c: PerSample) -> Vector:
        G = self.units(_weighted(self.rows, log_c))
        return jnp.sqrt(jnp.mean(G**2, axis=0)) * _frame_of(self.rows, log_c)


class AdamSampled(AbstractMeanStep):
    r"""The mean of $m/\sqrt v$ over random orders: independent chains of batches.

    Each of the `chains` draws batches of its own. It starts from memories as they are
    after infinitely many steps: of the latest batches of its `past` as they fall, of
    older ones with deviations from the known means enlarged by
    $\kappa=1/\sqrt{1-\beta^{2B}}$, where $B$ of them were drawn, which gives $m$ and
    $v$ the variance that an infinite past has, and never a negative $v$. Closing the
    draws into a period would not: $v$ would be their mean, however long its memory.

    The means of $m$ and $v$ are known, so $m/\sqrt v$ is sampled only beyond first
    order about them (a control variate), which leaves a small error where $\beta_2$ is
    near 1. `noise` $\rho$ `(e,)` is that of `AdamProxy`, for each place in an epoch.
    `growth` is that of `AdamCycle`.
    """

    rows: Examples
    past: Units
    units: Units
    b1: Scalar
    b2: Scalar
    growth: Scalar
    noise: Float[Array, " e"]
    chains: int = eqx.field(static=True)
    old: int = eqx.field(static=True)

    def __call__(self, log_c: Float[Array, "n ..."]) -> Vector:
        return jnp.mean(self.means(log_c), axis=0)

    def means(self, log_c: Float[Array, "n ..."]) -> Float[Array, "r d"]:
        """What each of the chains tells: the mean step is their mean."""
        g = _weighted(self.rows, log_c)
        first, second = memories(self.b1, self.b2, self.growth)
        mean = jnp.mean(g, axis=0)
        # around the mean: the difference of two close squares has lost its digits
        variance = jnp.mean((g - mean[None, :]) ** 2, axis=0)
        square = mean**2 + jnp.mean(self.noise) * variance
        start_m, start_v = self._starts(g, mean, variance)
        G = self.units(g).reshape(self.chains, -1, g.shape[1]).transpose(1, 0, 2)
        ratio, m, v = means_over(G, start_m, start_v, *first, *second)
        # m/√v to first order about the means, whose own mean is known to be mean/√V
        lag = lambda kept, gain: gain / (1.0 - kept)
        mean, square = mean * lag(*first), square * lag(*second)
        flat = _ratio(m, square[None, :])
        tilt = _ratio(mean, square)[None, :] * (_quotient(v, square) - 1.0) / 2.0
        return _ratio(mean, square)[None, :] + (ratio - flat + tilt)

    def _starts(
        self, g: Examples, mean: Vector, variance: Vector
    ) -> tuple[Float[Array, "r d"], Float[Array, "r d"]]:
        """The memories that each chain starts from."""
        first, second = memories(self.b1, self.b2, self.growth)
        drawn, known = self._factors(*first)
        m = self._folded(drawn, g) + (jnp.sum(known) * mean)[None, :]
        drawn, known = self._factors(*second)
        noise = known @ jnp.tile(self.noise, self.old // len(self.noise))
        v = jnp.sum(known) * mean**2 + noise * variance
        return m, self._folded(drawn, g, squared=True) + v[None, :]

    def _factors(
        self, kept: Scalar, gain: Scalar
    ) -> tuple[Float[Array, " s"], Float[Array, " o"]]:
        """Of what the past's batches saw, and of the means of its older part."""
        count = self.past.count // self.chains
        drawn = gain * kept ** jnp.arange(count - 1.0, -1.0, -1.0)
        faded = self.old * jnp.log(kept)  # log of what is left after the older part
        enlarged = 1.0 / jnp.sqrt(-jnp.expm1(2.0 * faded))
        # never below 0: 1/(1 - u) is at least 1/√(1 - u²)
        known = jnp.maximum(-1.0 / jnp.expm1(faded) - enlarged, 0.0)
        return drawn.at[: self.old].multiply(enlarged), known * drawn[: self.old]

    def _folded(
        self, factors: Float[Array, " s"], g: Examples, squared: bool = False
    ) -> Float[Array, "r d"]:
        """The sum over each chain's past of what its batches saw."""
        rows = self.past.rows
        if rows is not None and self.past.weights is None:
            # single samples: how much each of them counts, which is far fewer numbers
            rows = rows.reshape(self.chains, -1)
            chain = jnp.arange(self.chains)[:, None]
            counts = (
                jnp
                .zeros((self.chains, g.shape[0]))
                .at[chain, rows]
                .add(jnp.broadcast_to(factors, rows.shape))
            )
            return counts @ (g**2 if squared else g)
        G = self.past(g).reshape(self.chains, -1, g.shape[1])
        return jnp.einsum("s,rsd->rd", factors, G**2 if squared else G)

    def spread(self, log_c: PerSample) -> Vector:
        g = _weighted(self.rows, log_c)
        mean = jnp.mean(g, axis=0)
        variance = jnp.mean((g - mean[None, :]) ** 2, axis=0)
        square = mean**2 + jnp.mean(self.noise) * variance
        return jnp.sqrt(square) * _frame_of(self.rows, log_c)


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
    return AdamProxy(rows, samples, jnp.asarray(_noise(batching, n).mean()))


def adam_step(
    problem: LinearClassification,
    optimizer: AbstractOptimizer,
    batching: AbstractBatching = Cyclic(1),
    *,
    growth: Real = 0.0,
    draws: int = DRAWS,
    key: Key = 0,
) -> AdamCycle | AdamSampled:
    r"""The mean step of Adam or RMSProp at their own $\beta_1,\beta_2$, any batches.

    Exact for `Cyclic` batches. Where the order is random it is a mean over about
    `draws` batches (whole epochs), drawn once, around the known limit $\beta_2\to1$.
    $\varepsilon$ counts as 0 and bias correction, which dies out, is left out.

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
        return AdamCycle(rows, _one_epoch(batching, n, rows.shape[1]), b1, b2, r)
    return _sampled(rows, batching, b1, b2, r, draws, key)


def _sampled(
    rows: Examples,
    batching: AbstractBatching,
    b1: Scalar,
    b2: Scalar,
    growth: Scalar,
    draws: int,
    key: Any,
) -> AdamSampled:
    """Chains of whole epochs, and before each a past of which the older part."""
    n, d = rows.shape
    noise = _noise(batching, n)
    epoch = len(noise)
    chains = int(np.clip(draws // epoch, FEWEST, CHAINS))
    whole = lambda least: -(-least // epoch) * epoch
    length = epoch * max(round(draws / (chains * epoch)), 1)
    recent = whole(int(np.clip(4.0 / (1.0 - float(b1)), RECENT, 8 * RECENT)))
    old = whole(RECENT)
    seed = jax.random.key(key) if isinstance(key, int) else key
    drawn = _draw(batching, seed, chains * (old + recent + length), n)
    assert drawn is not None
    of = lambda x, a, b: (
        None
        if x is None
        else np
        .asarray(x)
        .reshape(chains, old + recent + length, -1)[:, a:b]
        .reshape(chains * (b - a), -1)
    )
    cut = lambda a, b: Units.of(of(drawn.rows, a, b), of(drawn.weights, a, b), n, d)
    start = old + recent
    return AdamSampled(
        rows,
        cut(0, start),
        cut(start, start + length),
        b1,
        b2,
        growth,
        jnp.asarray(noise),
        chains,
        old,
    )


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


def _noise(batching: AbstractBatching, samples: int) -> np.ndarray:
    r"""$\rho$ `(e,)`: the variance of a batch's mean, over that of single samples.

    For each place in an epoch, since the last batch may be shorter.
    """
    assert isinstance(batching, (Shuffled, WithReplacement))
    b = batching.size
    if isinstance(batching, WithReplacement):
        return np.array([1.0 / b])
    sizes = np.full(-(-samples // b), b)
    sizes[-1] = samples - b * (len(sizes) - 1)
    return (samples - sizes) / (sizes * max(samples - 1, 1))


def _check_batching(batching: AbstractBatching, samples: int) -> None:
    if isinstance(batching, FullBatch):
        raise ValueError(
            "batching must leave samples out of an update; full batches make sign "
            "descent of Adam, whose limit is max_margin(problem, norms.Linf())."
        )
    check_instance("batching", batching, ORDERS, "Cyclic, Shuffled or WithReplacement")
    batching.check(samples)
    if batching.steps_per_epoch(samples) == 1 and samples > 1:
        if isinstance(batching, WithReplacement):
            return
        raise ValueError(
            f"batching must leave samples out of an update; {batching!r} takes all "
            f"{samples}, and the limit is max_margin(problem, norms.Linf())."
        )
