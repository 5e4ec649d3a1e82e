"""Two classes about ±μ: the mixtures of `cao2021mixtures`, with their exact risk."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy import special

from penchant._arrays import numbers
from penchant._checks import check_count, check_instance, check_number
from penchant._types import Numbers, Real
from penchant.datasets.noises import AbstractNoise, Gaussian
from penchant.problems import LinearClassification, read
from penchant.problems.losses import AbstractLoss, Logistic

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class MixtureSample:
    """Rows and labels drawn from a [`Mixture`][penchant.datasets.Mixture].

    `X, y = mixture.sample(…)` takes it apart. `y` `(n,)` are the labels to train on,
    `clean` those before any was flipped, `flipped` says which were.
    """

    X: Array
    y: Array
    clean: Array
    flipped: Array

    def __iter__(self) -> Iterator[Array]:
        return iter((self.X, self.y))

    def problem(
        self, loss: AbstractLoss | str = Logistic(), bias: bool = False
    ) -> LinearClassification:
        """A linear classifier on these rows.

        Args:
            loss: One of `penchant.losses`, or its name.
            bias: Append a feature that is 1.
        """
        made = read(self.X, self.y, loss=loss, bias=bias)
        assert isinstance(made, LinearClassification)
        return made

    def __repr__(self) -> str:
        n, d = self.X.shape
        return f"MixtureSample({n} rows of {d}, {int(self.flipped.sum())} flipped)"


@dataclass(frozen=True, eq=False, repr=False)
class Mixture:
    r"""Two classes of equal weight about $\pm\mu$: $x=y\mu+\Lambda^{1/2}u$.

    $y=\pm1$ with probability ½, $u$ has independent entries of mean 0 and variance 1,
    $\Lambda=\mathrm{Diag}$(spectrum) in the axes in which `mean` is given; a Gaussian
    mixture of any Σ is of this form in Σ's eigenvectors. Labels to train on are turned
    with probability `flip`, whatever x; risks are against clean labels. The model of
    `cao2021mixtures`, which has no flips.

    >>> import numpy as np
    >>> mixture = Mixture(mean=[3.0, 0.0, 0.0, 0.0], spectrum=1.0)
    >>> X, y = mixture.sample(5, seed=0)
    >>> X.shape
    (5, 4)
    >>> round(mixture.log_risk([1.0, 0.0, 0.0, 0.0]), 4)  # log Φ(-3)
    -6.6077

    Args:
        mean: μ, `(d,)`.
        spectrum: λ, positive: a number for $\lambda I$, or `(d,)`.
        flip: Probability that a training label is turned, from 0 to below ½.
        noise: The law of the entries of $u$, one of `datasets.noises`.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If shapes disagree, a number is not finite, a variance is not
            positive, or `flip` is out of bounds.
    """

    mean: Array
    spectrum: Array | float
    flip: float = 0.0
    noise: AbstractNoise = dataclasses.field(default_factory=Gaussian)

    def __init__(
        self,
        mean: Numbers,
        spectrum: Numbers | float = 1.0,
        flip: Real = 0.0,
        noise: AbstractNoise = Gaussian(),
    ):
        mu = numbers("mean", mean, "(d,)")
        if mu.ndim != 1 or not mu.size:
            raise ValueError(f"mean must have shape (d,), d >= 1; got {mu.shape}.")
        check_number("mean", mu, finite=True)
        check_number("spectrum", spectrum, above=0.0, finite=True)
        values = np.asarray(spectrum, dtype=float)
        if values.shape not in {(), mu.shape}:
            raise ValueError(
                f"spectrum must be a number or have shape {mu.shape}, as mean has; "
                f"got {values.shape}."
            )
        check_number("flip", flip, least=0.0, below=0.5)
        check_instance("noise", noise, AbstractNoise, "one of datasets.noises")
        put = lambda name, value: object.__setattr__(self, name, value)
        put("mean", mu)
        put("spectrum", values if values.ndim else float(values))
        put("flip", float(flip))
        put("noise", noise)

    @classmethod
    def rare_weak(
        cls,
        d: int,
        s: int,
        gamma: float,
        *,
        spectrum: Numbers | float = 1.0,
        flip: Real = 0.0,
        noise: AbstractNoise = Gaussian(),
    ) -> "Mixture":
        r"""A rare and weak mean: γ in the first $s$ of $d$ coordinates, 0 elsewhere.

        Max margin does not see that it is rare: in an isotropic spectrum all that
        counts is $\|\mu\|^2=s\gamma^2$.

        >>> Mixture.rare_weak(100, 4, 2.0)
        Mixture(d=100, ‖μ‖=4, isotropic λ=1, flip=0, Gaussian())

        Args:
            d: Number of features.
            s: How many of them have signal, 1 to d.
            gamma: The signal in each.
            spectrum: As of the mixture.
            flip: As of the mixture.
            noise: As of the mixture.

        Raises:
            TypeError: If an argument is of the wrong kind.
            ValueError: If `s` exceeds `d`, or a number is out of bounds.
        """
        d, s = check_count("d", d), check_count("s", s)
        if s > d:
            raise ValueError(f"s must be at most d = {d}; got {s}.")
        check_number("gamma", gamma, finite=True)
        mean = np.zeros(d)
        mean[:s] = gamma
        return cls(mean, spectrum, flip, noise)

    @property
    def dimension(self) -> int:
        """The number `d` of features."""
        return len(self.mean)

    @property
    def variances(self) -> Array:
        """λ as a vector `(d,)`."""
        return np.broadcast_to(np.asarray(self.spectrum, dtype=float), self.mean.shape)

    def sample(self, n: int, *, seed: int | np.random.Generator = 0) -> MixtureSample:
        """Independent rows: labels first, then noise, then flips.

        Args:
            n: Number of rows.
            seed: Of `numpy.random.default_rng`, or a generator to draw from.

        Raises:
            TypeError: If an argument is no whole number.
            ValueError: If it is out of bounds.
        """
        n = check_count("n", n)
        if not isinstance(seed, np.random.Generator):
            seed = np.random.default_rng(check_count("seed", seed, least=0))
        clean = 2 * seed.integers(0, 2, size=n) - 1
        X = self.noise.draw(seed, (n, self.dimension))
        if np.ndim(self.spectrum) or self.spectrum != 1.0:
            X = X * np.sqrt(self.spectrum)
        X += clean[:, None] * self.mean
        flipped = seed.random(n) < self.flip
        return MixtureSample(X, np.where(flipped, -clean, clean), clean, flipped)

    def rho(self, weights: Numbers) -> Array | float:
        r"""$\rho=\mu^\top w/\sqrt{w^\top\Sigma w}$, the mean margin in deviations.

        Whatever the noise. Of weights `(d,)` a number, of a batch `(m, d)` an array.

        Args:
            weights: `(d,)` or `(m, d)`, none of them all 0.

        Raises:
            TypeError: If they are no numbers.
            ValueError: If their shape is another, or they are 0 or not finite.
        """
        return self._rho(self._weights(weights)[0])

    def log_risk(
        self, weights: Numbers, *, bias: Numbers | float = 0.0
    ) -> Array | float:
        r"""Log of the probability that $y(\langle w,x\rangle+b)<0$, exact.

        Without a bias it is $\log\Phi(-\rho)$, as good at a risk of $e^{-10^6}$ as at
        ½: nothing is drawn, and nothing underflows. Free of the length of the weights.

        For Gaussian noise only. Other laws have no closed form: their risk, with its
        error, is [`tail_risk`][penchant.theory.risk.tail_risk].

        >>> far = Mixture(mean=[1000.0, 0.0], spectrum=1.0)
        >>> round(far.log_risk([1.0, 0.0]), 3)
        -500007.827

        Args:
            weights: `(d,)`, or `(m, d)` for an array of `m`.
            bias: What is added to $\langle w,x\rangle$; a number or `(m,)`.

        Raises:
            TypeError: If the noise is not Gaussian, or weights are no numbers.
            ValueError: If shapes disagree, or weights are 0 or not finite.
        """
        if not isinstance(self.noise, Gaussian):
            raise TypeError(
                f"log_risk is exact for Gaussian noise only; the noise is "
                f"{self.noise!r}. theory.risk.tail_risk(mixture, w) has its risk, with "
                "an error."
            )
        w, scale = self._weights(weights)
        rho = self._rho(w)
        check_number("bias", bias, finite=True)
        b = np.asarray(bias, dtype=float)
        if not b.any():
            return _as_given(special.log_ndtr(-np.asarray(rho)))
        if b.shape not in {(), np.shape(rho)}:
            raise ValueError(
                f"bias must be a number, or one a row of weights; got {b.shape}."
            )
        shift = b / scale / np.sqrt((w**2) @ self.variances)
        both = np.logaddexp(
            special.log_ndtr(-rho - shift), special.log_ndtr(-rho + shift)
        )
        return _as_given(both - np.log(2.0))

    def _weights(self, weights: Numbers) -> tuple[Array, Array]:
        """Weights over their largest entry, and that entry."""
        # a jax.Array is one of ours and costs a conversion only
        w = np.asarray(weights) if isinstance(weights, jax.Array) else weights
        w = numbers("weights", w, "(d,) or (m, d)")
        if w.ndim not in {1, 2} or w.shape[-1] != self.dimension:
            raise ValueError(
                f"weights must have shape ({self.dimension},) or (m, "
                f"{self.dimension}); got {w.shape}."
            )
        largest = np.abs(w).max(axis=-1, keepdims=True)
        if not (np.isfinite(largest).all() and (largest > 0).all()):
            raise ValueError("weights must be finite and not all 0.")
        # squares of what is scaled to 1 neither overflow nor vanish
        return w / largest, largest[..., 0]

    def _rho(self, w: Array) -> Array | float:
        return _as_given((w @ self.mean) / np.sqrt((w**2) @ self.variances))

    def __repr__(self) -> str:
        most, least = self.variances.max(), self.variances.min()
        kind = f"λ from {most:.3g} to {least:.3g}"
        if most == least:
            kind = f"isotropic λ={most:g}"
        return (
            f"Mixture(d={self.dimension}, ‖μ‖={np.linalg.norm(self.mean):.4g}, {kind}, "
            f"flip={self.flip:g}, {self.noise!r})"
        )


def _as_given(x: Any) -> Any:
    """A number as a number, an array as it is."""
    return float(x) if np.ndim(x) == 0 else x
