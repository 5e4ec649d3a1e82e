import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_count, check_instance
from penchant._plain import plain
from penchant._types import Numbers, Parameters, Tree
from penchant.audits._attack import PGD, Attack, attack as run_attack
from penchant.audits._judge import Judge, Smooth, crossing, linear, read
from penchant.datasets import Clusters
from penchant.margins import NotSeparableError, UndecidedError, max_margin
from penchant.norms import L2, Linf
from penchant.problems import AbstractClassification, LinearClassification

SHARES = (0.01, 0.25, 0.5, 0.75, 0.99)

RADII = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Of attacks, over the ceiling."""

ALIGNED = 0.8
"""Cosine from which gradients count as class averages."""

FRAGILE, WEAK = 0.75, 0.5
"""Shares of the ceiling below which the universal radius, or an attack's, is small."""

ACCURATE = 0.9
"""Accuracy below which nothing is said of robustness."""


class Robustness(eqx.Module):
    r"""How far points may move before a classifier changes its mind, and along what.

    - `accuracy` of the points as they are; `zeros` the share whose output is exactly 0,
      which counts as wrong: no class is preferred.
    - `radii` `(n,)` at which points flip along one direction $\hat z$ a class, known
      from averages of the data alone: $x-ry\hat z$, $z=\sum_jy_j\hat\mu_j$.
      `universal_radius` is their median, `quantiles` the 1, 25, 50, 75 and 99 % ones;
      0 for points that are wrong, infinite for those that never flip.
    - `random_share` of right points that a random direction of length $\sqrt d$ flips,
      `random_error` its standard error over directions; `random_same` the share at the
      universal radius.
    - `linear_radius`: the same median for the linear classifier of the largest margin
      on the training points; NaN where none separates them.
    - `ceiling`: half the distance between means of different labels where clusters are
      known, else half the median distance from a point to the next of another label.
      No classifier that is right at both ends is robust beyond.
    - `predicted`: $\sqrt{d/k}$, where theory has the universal flip, NaN where clusters
      are unknown.
    - `attack`, `sup_attack`: accuracy under PGD in ℓ2 and ℓ∞, on these very outputs.
    - `averaging`: median cosine of the gradient in x of a point's margin with the
      average of its class; `own`: with the mean of its own cluster (NaN: unknown). A
      network that averages features has the first near 1, the second near
      $\sqrt{1/k_y}$.

    `verdict` says it in a sentence, `remedy` what to try, `notes` what was not done.
    Radii are what was found, upper bounds of the distance to the boundary; no number
    here certifies robustness.
    """

    accuracy: float
    zeros: float
    universal_radius: float
    quantiles: dict[str, float]
    radii: np.ndarray
    random_share: float
    random_error: float
    random_same: float
    linear_radius: float
    ceiling: float
    predicted: float
    attack: Attack
    sup_attack: Attack
    averaging: float
    own: float
    direction: np.ndarray
    samples: int
    features: int
    clusters: int | None
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The finding in a sentence."""
        if self.accuracy < ACCURATE:
            return (
                f"Only {self.accuracy:.0%} of the points are right as they are: radii "
                "are those of the rest, and say little of robustness."
            )
        at, top = self.universal_radius, self.ceiling
        share = f"{at / top:.0%} of the ceiling {top:.3g}" if top > 0 else "no ceiling"
        control = (
            f"a random direction of that length flips {self.random_same:.1%}"
            if math.isfinite(at)
            else f"a random direction of length √d flips {self.random_share:.1%}"
        )
        if at < FRAGILE * top:
            text = (
                f"Fragile: one direction a class, known from averages alone, flips "
                f"half of the points at {at:.3g} ({share}); {control}."
            )
            if math.isfinite(self.linear_radius):
                text += f" A linear classifier flips at {self.linear_radius:.3g}."
            return text
        if self.attack.half < WEAK * top:
            return (
                f"Fragile, but not along averages: an attack leaves half of the points "
                f"or fewer at {self.attack.half:.3g}, and the universal direction "
                f"flips half at {_number(at)}; {control}."
            )
        half = self.attack.half
        held = (
            f"the attack needs {half:.3g} for half of the points"
            if math.isfinite(half)
            else f"the attack left more than half at {self.attack.radii[-1]:.3g}"
        )
        return (
            f"No fragility found: the universal direction flips half of the points at "
            f"{_number(at)} (ceiling {top:.3g}) and {held}. No proof of robustness."
        )

    @property
    def remedy(self) -> str:
        """What to try next, in a sentence."""
        if self.accuracy < ACCURATE:
            return "Train to fit first, or audit points of the training set."
        if self.universal_radius < FRAGILE * self.ceiling:
            return (
                "It averages features, as gradient descent does on labels that lump "
                "clusters together: label the clusters apart, use powers of ReLU, or "
                "train adversarially; then audit the function you will use."
                if self.averaging >= ALIGNED
                else "Train adversarially, or label finer; then audit again."
            )
        if self.attack.half < WEAK * self.ceiling:
            return "Train adversarially; directions here hang on the point."
        return (
            "Use a stronger attack (more steps and starts, smoother gradients) or a "
            "certified method before relying on it."
        )

    @property
    def headline(self) -> str:
        """The verdict."""
        return self.verdict

    def to_dict(self) -> dict[str, Any]:
        """Everything but points and directions, in types that JSON has."""
        return plain({
            "verdict": self.verdict,
            "remedy": self.remedy,
            "accuracy": self.accuracy,
            "zeros": self.zeros,
            "universal_radius": self.universal_radius,
            "quantiles": self.quantiles,
            "random_share": self.random_share,
            "random_error": self.random_error,
            "random_same": self.random_same,
            "linear_radius": self.linear_radius,
            "ceiling": self.ceiling,
            "predicted": self.predicted,
            "attack": self.attack.to_dict(),
            "sup_attack": self.sup_attack.to_dict(),
            "averaging": self.averaging,
            "own": self.own,
            "samples": self.samples,
            "features": self.features,
            "clusters": self.clusters,
            "notes": self.notes,
        })

    def __repr__(self) -> str:
        lines = [f"Robustness({self.verdict}", f"  {self.remedy}"]
        told = ", ".join(f"{name}: {_number(r)}" for name, r in self.quantiles.items())
        lines.append(f"  universal flips {told}")
        if math.isfinite(self.predicted):
            lines.append(
                f"  √(d/k) = {self.predicted:.4g}, ceiling {self.ceiling:.4g}, linear "
                f"{_number(self.linear_radius)}"
            )
        lines += [f"  {self.attack!r}", f"  {self.sup_attack!r}"]
        own = "" if math.isnan(self.own) else f", with the own cluster {self.own:.3f}"
        lines.append(f"  cosine with the class average {self.averaging:.3f}{own}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)]) + ")"


class Told(NamedTuple):
    """What is known of the clusters: means, a label each, and each point's."""

    means: np.ndarray
    labels: np.ndarray
    cluster: np.ndarray | None


def robustness(
    model: AbstractClassification | Callable[..., Any],
    w: Parameters,
    X: Numbers | None = None,
    y: Numbers | None = None,
    *,
    clusters: Clusters | Numbers | None = None,
    radii: Numbers | None = None,
    attack: PGD = PGD(),
    points: int = 100,
    draws: int = 16,
    key: int = 0,
) -> Robustness:
    r"""Audit a classifier: is there one direction that flips nearly every point?

    For ReLU networks of two layers on clusters there is, though they generalise
    (`frei2023double`): any KKT point of the margin problem averages the means of a
    class. Two groups of aligned units with equal margins flip at $\sqrt{d/k}$ along
    $\sum_jy_j\mu_j$, exactly, where $\sqrt{d/2}$ is possible (derived). The audit needs
    no theory: it measures that direction, a random control, a linear baseline,
    and attacks on the very function.

    >>> import penchant as pn
    >>> data = pn.datasets.clusters(64, 4, 80, sigma=0.5)
    >>> problem = data.network(width=8, scale=1e-3)
    >>> w = pn.flows.rescaled_flow(problem, steps=400).last
    >>> found = robustness(problem, w, clusters=data)
    >>> round(found.universal_radius / found.predicted, 1), found.random_share
    (1.0, 0.0)

    Args:
        model: A `NetworkClassification` or `LinearClassification`, or any
            `apply(w, X)` that gives `(n,)`, `(n, 1)` or `(n, c)` scores, such as
            `pn.torch.apply` makes of a module.
        w: Its parameters.
        X: `(n, ...)` points to judge on; None for those of the problem. Held-out points
            are those that matter.
        y: `(n,)` labels.
        clusters: Which clusters there are: what `datasets.clusters` gave, or `(n,)`
            whole numbers, the cluster of each point. None: a cluster a class.
        radii: Of the ℓ2 attack, ascending; None for eighths of the ceiling. In ℓ∞ they
            are those over $\sqrt d$.
        attack: How to attack; its norm is set to ℓ2 and ℓ∞ in turn.
        points: How many points are attacked, the first ones.
        draws: Random directions of the control.
        key: Of the random directions and starts.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If shapes disagree, a value is NaN or infinite, averages of the
            classes coincide, or points of different labels do.
    """
    check_instance("attack", attack, PGD, "PGD(...)")
    points, draws = check_count("points", points), check_count("draws", draws)
    judge, here, trained = read(model, w, X, y)
    flat, labels = np.asarray(here.X), np.asarray(here.y)
    n, d = flat.shape
    told = _told(clusters, flat, labels)
    notes: list[str] = []
    direction, average = _directions(flat, labels, told)
    ceiling = _ceiling(flat, labels, told, clusters is not None)
    if ceiling == 0.0:
        raise ValueError(
            "X must keep labels apart: points (or means) of different labels coincide, "
            "so that no radius above 0 is possible."
        )
    wanted = np.asarray(RADII) * ceiling if radii is None else _radii(radii)

    x = jnp.asarray(flat)
    along = jnp.asarray(direction)
    begun = np.asarray(judge(x))
    right = begun > 0
    spread = np.linalg.norm(flat - flat.mean(axis=0), axis=1)
    far = max(2.0 * float(np.median(spread)), 1.2 * float(np.max(wanted)))
    flips = crossing(judge, x, along, far)
    median = float(np.median(flips))
    share, error = _random(judge, x, right, math.sqrt(d), draws, key)
    same = math.nan
    if math.isfinite(median) and right.any():
        same, _ = _random(judge, x, right, median, draws, key)
    base = _baseline(trained, here, along, far, notes)
    averaging, own = _cosines(judge, flat, labels, average, told)

    few = np.arange(min(points, n))
    some = judge.some(jnp.asarray(few))
    soft = Smooth(some, attack.smooth)
    keys = jax.random.split(jax.random.key(key), 2)
    found = []
    for norm, scale, sub in ((L2(), 1.0, keys[0]), (Linf(), 1 / math.sqrt(d), keys[1])):
        pgd = dataclasses.replace(attack, norm=norm)
        towards = -along[: len(few)]
        found.append(run_attack(some, soft, x[few], towards, wanted * scale, pgd, sub))
    if len(few) < n:
        notes.append(f"Attacks are on the first {len(few)} of {n} points.")
    if clusters is None:
        notes.append(
            "Clusters are unknown: averages are those of the classes, and no √(d/k) is "
            "foretold."
        )
    zeros = float(np.mean(np.all(np.asarray(judge.scores(x)) == 0, axis=1)))
    if zeros:
        notes.append(f"Outputs are exactly 0 at {zeros:.1%} of the points: wrong.")
    return Robustness(
        accuracy=float(right.mean()),
        zeros=zeros,
        universal_radius=median,
        quantiles={
            f"{s:.0%}": float(np.quantile(flips, s, method="lower")) for s in SHARES
        },
        radii=flips,
        random_share=share,
        random_error=error,
        random_same=same,
        linear_radius=base,
        ceiling=ceiling,
        predicted=_predicted(told, clusters is not None),
        attack=found[0],
        sup_attack=found[1],
        averaging=averaging,
        own=own,
        direction=direction,
        samples=n,
        features=d,
        clusters=None if clusters is None else len(told.means),
        notes=tuple(notes),
    )


def _told(
    clusters: Clusters | Numbers | None, flat: np.ndarray, labels: np.ndarray
) -> Told:
    n, d = flat.shape
    values = np.unique(labels)
    if isinstance(clusters, Clusters):
        if clusters.means.shape[1] != d:
            raise ValueError(
                f"clusters must have means of {d} features; got "
                f"{clusters.means.shape[1]}."
            )
        if not np.isin(values, clusters.labels).all():
            raise ValueError(
                f"clusters must have the labels of y, {values.tolist()}; got "
                f"{np.unique(clusters.labels).tolist()}."
            )
        # points may be others than those that came with the means
        off = ((flat[:, None] - clusters.means[None]) ** 2).sum(-1)
        off = np.where(clusters.labels[None] == labels[:, None], off, np.inf)
        return Told(clusters.means, clusters.labels, np.argmin(off, axis=1))
    if clusters is None:
        means = np.stack([flat[labels == value].mean(axis=0) for value in values])
        return Told(means, values, None)
    given = np.asarray(clusters)
    if given.shape != (n,) or given.dtype.kind not in "iu":
        raise ValueError(
            f"clusters must be {n} whole numbers, the cluster of each point; got "
            f"{given.dtype} of shape {given.shape}."
        )
    names, cluster = np.unique(given, return_inverse=True)
    own = [np.unique(labels[cluster == j]) for j in range(len(names))]
    mixed = [int(names[j]) for j, seen in enumerate(own) if len(seen) > 1]
    if mixed:
        raise ValueError(
            "clusters must have one label each; those of cluster "
            f"{mixed[0]} have several: clusters overlap, or their numbers are wrong."
        )
    means = np.stack([flat[cluster == j].mean(axis=0) for j in range(len(names))])
    return Told(means, np.array([int(seen[0]) for seen in own]), cluster)


def _directions(
    flat: np.ndarray, labels: np.ndarray, told: Told
) -> tuple[np.ndarray, np.ndarray]:
    """The unit direction away from each point's class, and the class's average."""
    away, average = np.empty_like(flat), np.empty_like(flat)
    known = told.cluster is not None
    for value in np.unique(labels):
        mine = told.labels == value
        # sums over clusters, each of which counts once; averages where a class is one
        combine = np.sum if known else np.mean
        ours, theirs = combine(told.means[mine], 0), combine(told.means[~mine], 0)
        if known and len(np.unique(told.labels)) > 2:
            theirs = theirs * mine.sum() / (~mine).sum()
        z = ours - theirs
        size = np.linalg.norm(z)
        if not size > 1e-12 * np.linalg.norm(told.means):
            raise ValueError(
                f"averages of the classes must differ; those of class {value} and of "
                "the rest coincide, so that they give no direction."
            )
        away[labels == value] = z / size
        average[labels == value] = ours
    return away, average


def _ceiling(flat: np.ndarray, labels: np.ndarray, told: Told, known: bool) -> float:
    if known:
        off = np.linalg.norm(told.means[:, None] - told.means[None], axis=2)
        return float(off[told.labels[:, None] != told.labels[None]].min()) / 2.0
    square = (flat**2).sum(axis=1)
    nearest = np.full(len(flat), np.inf)
    for value in np.unique(labels):
        mine, rest = labels == value, labels != value
        off = square[mine, None] + square[None, rest] - 2 * flat[mine] @ flat[rest].T
        nearest[mine] = np.sqrt(np.maximum(off.min(axis=1), 0.0))
        # the expansion loses digits: what is nearly 0 is looked at again
        for i in np.flatnonzero(mine & (nearest**2 < 1e-9 * square.max())):
            nearest[i] = np.linalg.norm(flat[rest] - flat[i], axis=1).min()
    return float(np.median(nearest)) / 2.0


def _predicted(told: Told, known: bool) -> float:
    if not known:
        return math.nan
    return math.sqrt(float(np.mean(np.sum(told.means**2, axis=1))) / len(told.means))


def _radii(given: Numbers) -> np.ndarray:
    radii = np.asarray(given, dtype=float)
    ascending = radii.ndim == 1 and radii.size > 0 and (np.diff(radii) > 0).all()
    if not ascending or not np.isfinite(radii).all() or not radii[0] > 0:
        raise ValueError(
            f"radii must be positive, finite and ascending; got {given!r:.100}."
        )
    return radii


def _random(
    judge: Judge, x: Tree, right: np.ndarray, length: float, draws: int, key: int
) -> tuple[float, float]:
    """The share of right points that random directions flip, and its error."""
    if not right.any():
        return math.nan, math.nan
    rng = np.random.default_rng(key)
    z = rng.normal(size=(draws, x.shape[1]))
    z *= length / np.linalg.norm(z, axis=1, keepdims=True)
    wrong = np.asarray(_shifted(judge, x, jnp.asarray(z)))
    shares = wrong[:, right].mean(axis=1)
    error = shares.std(ddof=1) / math.sqrt(draws) if draws > 1 else math.nan
    return float(shares.mean()), float(error)


@eqx.filter_jit
def _shifted(judge: Judge, x: Tree, z: Tree) -> Any:
    return jax.lax.map(lambda step: judge(x + step[None, :]) <= 0, z)


def _baseline(
    trained: LinearClassification,
    here: LinearClassification,
    along: Any,
    far: float,
    notes: list[str],
) -> float:
    try:
        best = max_margin(trained, L2(), tol=1e-6)
    except (NotSeparableError, UndecidedError):
        notes.append(
            "No linear classifier separates the training points, so that there is no "
            "linear baseline."
        )
        return math.nan
    judge = Judge(linear, best.weights, here.y, here.X.shape[1:], here.binary)
    return float(np.median(crossing(judge, here.X, along, far)))


def _cosines(
    judge: Judge, flat: np.ndarray, labels: np.ndarray, average: np.ndarray, told: Told
) -> tuple[float, float]:
    G = np.asarray(_slopes(judge, jnp.asarray(flat)))

    def cosine(A: np.ndarray) -> float:
        sizes = np.linalg.norm(G, axis=1) * np.linalg.norm(A, axis=1)
        there = sizes > 0
        if not there.any():
            return math.nan
        return float(np.median((G * A).sum(axis=1)[there] / sizes[there]))

    own = math.nan if told.cluster is None else cosine(told.means[told.cluster])
    return cosine(average), own


@eqx.filter_jit
def _slopes(judge: Judge, x: Tree) -> Any:
    return jax.grad(lambda x: jnp.sum(judge(x)))(x)


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.4g}"
