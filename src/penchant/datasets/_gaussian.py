import numpy as np

from penchant._checks import check_count
from penchant.datasets._dataset import Dataset


def gaussian(n: int = 10, d: int = 50, *, seed: int = 0) -> Dataset:
    r"""Rows from $N(0, I_d)$ with labels absorbed: every label is +1.

    The data of `baek2026persample`. With `n <= d` they are separable with probability
    1; much beyond `n = 2 d` they almost never are.

    >>> gaussian(n=3, d=5).X.shape
    (3, 5)

    Args:
        n: Number of rows.
        d: Number of features.
        seed: Of `numpy.random.default_rng`.

    Raises:
        TypeError: If an argument is no whole number.
        ValueError: If `n` or `d` is below 1, or `seed` below 0.
    """
    n, d = check_count("n", n), check_count("d", d)
    seed = check_count("seed", seed, least=0)
    return Dataset(
        X=np.random.default_rng(seed).normal(size=(n, d)),
        y=np.ones(n, dtype=np.int64),
        features=tuple(f"x{j}" for j in range(d)),
        classes=(),
        name=f"gaussian(n={n}, d={d}, seed={seed})",
    )
