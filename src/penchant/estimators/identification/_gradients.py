"""Synthetic gradients: generic ones, flat ones, and spectra as in training."""

import numpy as np


def generic(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Normal entries, none of them near 0: every test of entries sees each of them."""
    rng = np.random.default_rng(seed)
    g = rng.standard_normal(shape)
    return np.sign(g) * (0.2 + np.abs(g))


def spread(shape: tuple[int, ...], seed: int, decades: float = 2.0) -> np.ndarray:
    """Entries whose logarithms are uniform over so many decades, signs at random."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-decades, 0.0, shape)
    return size * rng.choice([-1.0, 1.0], shape)


def flat(shape: tuple[int, ...], seed: int, *, matrix: bool) -> np.ndarray:
    """Entries of size 1, or singular values that are all 1."""
    rng = np.random.default_rng(seed)
    if not matrix:
        return rng.choice([-1.0, 1.0], shape)
    U, _, Vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    return U @ Vt


def with_values(shape: tuple[int, ...], values: np.ndarray, seed: int) -> np.ndarray:
    """A matrix with these singular values in random directions."""
    rng = np.random.default_rng(seed)
    U, _, Vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    return (U * values) @ Vt


def as_in_training(shape: tuple[int, ...], seed: int) -> list[np.ndarray]:
    """A dozen gradients: of exactly low rank, low rank and noise, power-law spectra.

    Vectors have entries of such sizes instead.
    """
    rng = np.random.default_rng(seed)
    found = []
    for i in range(4):
        if len(shape) != 2:
            found += [generic(shape, seed + i), spread(shape, seed + i)]
            continue
        k = min(shape)
        rank = max(1, k // 4)
        low = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((
            rank,
            shape[1],
        ))
        noise = 0.05 * rng.standard_normal(shape)
        power = np.arange(1.0, k + 1) ** -(0.5 + 0.5 * i)
        found += [low, low + noise, with_values(shape, power, seed + i)]
    return found


def rotation(n: int, seed: int) -> np.ndarray:
    """A random orthogonal matrix."""
    Q, R = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    return Q * np.sign(np.diag(R))
