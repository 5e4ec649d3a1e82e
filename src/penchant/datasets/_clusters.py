import math
from typing import NamedTuple

import numpy as np

from penchant._checks import check_count, check_number
from penchant._types import Numbers, Real
from penchant.datasets._dataset import Dataset
from penchant.problems import NetworkClassification, networks
from penchant.problems.losses import AbstractLoss, Logistic


class Slack(NamedTuple):
    r"""By how much data meet an assumption: the ratio of its two sides.

    1 or more where it holds. `note` says where the assumption is from.
    """

    ratio: float
    note: str

    @property
    def holds(self) -> bool:
        """Whether the ratio is 1 or more."""
        return self.ratio >= 1.0


class Clusters:
    r"""Points scattered about `k` means, and what theory of robustness asks of them.

    `X` `(n, d)`, `y` `(n,)` labels (-1 and 1, or classes), `means` `(k, d)`, `labels`
    `(k,)` of the clusters, `cluster` `(n,)` the cluster of each point, `sigma` the
    noise a coordinate.
    """

    def __init__(
        self,
        means: np.ndarray,
        labels: np.ndarray,
        cluster: np.ndarray,
        X: np.ndarray,
        sigma: float,
        name: str,
    ):
        self.means, self.labels, self.cluster = means, labels, cluster
        self.X, self.y, self.sigma, self.name = X, labels[cluster], sigma, name

    @property
    def k(self) -> int:
        """The number of clusters."""
        return len(self.means)

    @property
    def radius(self) -> float:
        r"""$\sqrt{d/k}$: where theory has the universal flip of a trained network.

        With `d` the mean square length of the means. Two groups of aligned units with
        equal margins flip there exactly, whatever the balance of the classes (derived).
        """
        return math.sqrt(float(np.mean(np.sum(self.means**2, axis=1))) / self.k)

    @property
    def ceiling(self) -> float:
        """Half the least distance between means of different labels.

        No classifier that is right at all means is robust beyond it.
        """
        off = np.linalg.norm(self.means[:, None] - self.means[None], axis=2)
        return float(off[self.labels[:, None] != self.labels[None]].min()) / 2.0

    @property
    def slack(self) -> Slack:
        r"""How far the data are within the theorem's assumption of separation.

        $k(\max_{i\ne j}|\langle\mu_i,\mu_j\rangle|+4\sigma\sqrt d\ln d+1)
        \le(d-4\sigma\sqrt d\ln d+1)/10$ as recalled from `frei2023double`: the
        constants were not read in the paper. The ratio is right over left. It is far
        from holding at sizes that people train; what it implies is seen there all the
        same.
        """
        k, d = self.means.shape
        inner = self.means @ self.means.T
        most = float(np.abs(inner[~np.eye(k, dtype=bool)]).max())
        noise = 4.0 * self.sigma * math.sqrt(d) * math.log(d)
        left, right = k * (most + noise + 1.0), (d - noise + 1.0) / 10.0
        return Slack(
            right / left,
            "separation as recalled from frei2023double; constants not checked",
        )

    def draw(self, n: int, *, seed: int = 1) -> "Clusters":
        """Fresh points about the same means, such as to test on."""
        n, seed = check_count("n", n), check_count("seed", seed, least=0)
        rng = np.random.default_rng([seed, 1])
        return _scattered(self.means, self.labels, n, self.sigma, rng, self.name)

    def dataset(self) -> Dataset:
        """The points as a `Dataset`.

        Raises:
            DataError: If labels are not -1 and 1, nor 0..k-1 for more than two.
        """
        values = np.unique(self.y)
        return Dataset(
            self.X,
            self.y,
            tuple(f"x{j}" for j in range(self.X.shape[1])),
            tuple(str(value) for value in values),
            self.name,
        )

    def network(
        self,
        width: int,
        *,
        scale: Real = 1e-3,
        power: Real = 1.0,
        head: networks.AbstractHead = networks.Trained(),
        loss: AbstractLoss | str = Logistic(),
        key: int = 0,
    ) -> NetworkClassification:
        r"""A two-layer network on these points, from a small start.

        Args:
            width: Units.
            scale: Standard deviation of the first layer at the start; biases start at
                0, and a trained head at the size of the first layer (`balanced`).
            power: $p$ of pReLU. Above 1 there are no biases, and examples are scaled by
                $1/\sqrt d$.
            head: `networks.Trained()` or `networks.Frozen(size)`.
            loss: One of `penchant.losses`, or its name.
            key: Of the start.
        """
        classes = len(np.unique(self.labels))
        d = self.X.shape[1]
        plain = float(power) == 1.0
        network = networks.TwoLayer(
            d,
            width,
            outputs=1 if classes == 2 else classes,
            power=float(power),
            head=head,
            first_bias=plain,
            input_scale=1.0 if plain else 1.0 / math.sqrt(d),
        )
        params = network.balanced(key, scale=scale)
        return NetworkClassification(network, params, self.X, self.y, loss=loss)

    def __repr__(self) -> str:
        return f"Clusters({self.name}: n={len(self.X)}, radius={self.radius:.4g})"


def clusters(
    d: int,
    k: int,
    n: int,
    *,
    sigma: Real = 1.0,
    seed: int = 0,
    classes: Numbers | None = None,
    means: Numbers | None = None,
) -> Clusters:
    r"""Points about `k` means of length $\sqrt d$: $x=\mu_j+\sigma\xi$, $y=y_j$.

    The data of `frei2023double` and `li2025feature`: $j$ uniform on the clusters, $\xi$
    standard normal, means orthogonal in random directions unless given.

    >>> data = clusters(50, 4, 200)
    >>> data.X.shape, data.y[:4].shape, data.labels.tolist()
    ((200, 50), (4,), [1, 1, -1, -1])
    >>> round(data.radius, 3), round(data.ceiling, 3)
    (3.536, 5.0)

    Args:
        d: Features.
        k: Clusters, at least 2.
        n: Points.
        sigma: Standard deviation of a coordinate of the noise.
        seed: Of the means, the clusters and the noise.
        classes: `(k,)` labels of the clusters: -1 and 1 in any balance, or 0, 1, …;
            None for 1 in the first half and -1 in the rest.
        means: `(k, d)`; None for orthogonal ones. `random_means(d, k)` has others.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If one is out of bounds, labels are all the same, there are more
            clusters than features and no means, or a cluster has no point.
    """
    d, k = check_count("d", d, least=2), check_count("k", k, least=2)
    n, seed = check_count("n", n), check_count("seed", seed, least=0)
    check_number("sigma", sigma, least=0.0, below=np.inf)
    rng = np.random.default_rng(seed)
    if means is None:
        if k > d:
            raise ValueError(
                f"k must be at most d for orthogonal means, {d}; got {k}. Give means."
            )
        Q, R = np.linalg.qr(rng.normal(size=(d, k)))
        centres = math.sqrt(d) * (Q * np.sign(np.diag(R))).T
    else:
        centres = np.asarray(means, dtype=float)
        if centres.shape != (k, d) or not np.isfinite(centres).all():
            raise ValueError(
                f"means must be finite, of shape ({k}, {d}); got {centres.shape}."
            )
    if classes is None:
        labels = np.where(np.arange(k) < (k + 1) // 2, 1, -1)
    else:
        labels = np.asarray(classes)
    if labels.shape != (k,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"classes must be {k} whole numbers, a label a cluster; got "
            f"{labels.dtype} of shape {labels.shape}."
        )
    values = np.unique(labels).tolist()
    if values != [-1, 1] and (len(values) < 3 or values != list(range(len(values)))):
        raise ValueError(
            "classes must hold -1 and 1, or each of 0..c-1 for c > 2 classes; "
            f"got {values[:10]}."
        )
    name = f"clusters(d={d}, k={k}, sigma={float(sigma):g}, seed={seed})"
    return _scattered(centres, labels, n, float(sigma), rng, name)


def random_means(d: int, k: int, *, seed: int = 0) -> np.ndarray:
    r"""`k` random directions of length $\sqrt d$: nearly orthogonal where $k\ll d$.

    >>> import numpy as np
    >>> bool(np.allclose(np.linalg.norm(random_means(9, 4), axis=1), 3.0))
    True

    Args:
        d: Features.
        k: Means.
        seed: Of `numpy.random.default_rng`.

    Raises:
        TypeError: If an argument is no whole number.
        ValueError: If one is out of bounds.
    """
    d, k = check_count("d", d), check_count("k", k)
    rng = np.random.default_rng(check_count("seed", seed, least=0))
    G = rng.normal(size=(k, d))
    return math.sqrt(d) * G / np.linalg.norm(G, axis=1, keepdims=True)


def _scattered(
    means: np.ndarray,
    labels: np.ndarray,
    n: int,
    sigma: float,
    rng: np.random.Generator,
    name: str,
) -> Clusters:
    k, d = means.shape
    cluster = rng.integers(k, size=n)
    missing = np.setdiff1d(np.unique(labels), labels[cluster])
    if missing.size:
        raise ValueError(
            f"n must be large enough that every class has points; with {n} of {k} "
            f"clusters class {missing[0]} has none."
        )
    X = means[cluster] + sigma * rng.normal(size=(n, d))
    return Clusters(means, labels, cluster, X, sigma, name)
