import numpy as np

from penchant._checks import check_count, check_number
from penchant.datasets._dataset import Dataset


def class_centres(
    k: int = 10,
    d: int = 25,
    per_class: int = 50,
    sigma: float = 0.1,
    *,
    seed: int = 0,
) -> Dataset:
    r"""Classes scattered about random centres: $x = \mu_c + \sigma\xi$.

    Centres $\mu_c$ and noise $\xi$ are $N(0, I_d)$. The defaults are the synthetic data
    of `fan2025spectral`. Rows come class by class.

    >>> class_centres(k=3, d=4, per_class=2).y
    array([0, 0, 1, 1, 2, 2])

    Args:
        k: Number of classes, at least 2; two classes have labels -1 and +1.
        d: Number of features.
        per_class: Rows of each class.
        sigma: Standard deviation of the noise; at 0 all rows of a class coincide.
        seed: Of `numpy.random.default_rng`, which draws the centres, then the noise.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If an argument is out of bounds.
    """
    k = check_count("k", k, least=2)
    d, per_class = check_count("d", d), check_count("per_class", per_class)
    seed = check_count("seed", seed, least=0)
    check_number("sigma", sigma, least=0.0, below=np.inf)
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d))
    y = np.repeat(np.arange(k), per_class)
    X = centres[y] + sigma * rng.normal(size=(k * per_class, d))
    return Dataset(
        X=X,
        y=2 * y - 1 if k == 2 else y,
        features=tuple(f"x{j}" for j in range(d)),
        classes=tuple(str(c) for c in range(k)),
        name=f"class_centres(k={k}, d={d}, per_class={per_class}, "
        f"sigma={float(sigma):g}, seed={seed})",
    )
