"""Samples that training does not see."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penchant.datasets import split
from penchant.problems import LinearClassification


@dataclasses.dataclass(frozen=True)
class Held:
    """Samples held out: their rows in the data given, and a problem of them alone."""

    rows: np.ndarray
    problem: LinearClassification
    share: float
    seed: int

    @property
    def said(self) -> str:
        """For a report's settings."""
        return f"{len(self.rows)} samples, drawn class by class, seed {self.seed}"


def hold_out(problem: object, share: Any, key: object) -> tuple[Any, "Held | None"]:
    """The problem to train on, and the samples held out; all and None without a share.

    Raises:
        TypeError: If the problem is not linear, or the share no number.
        ValueError: If it is not between 0 and 1, or a class would vanish.
    """
    if share is None:
        return problem, None
    if not isinstance(problem, LinearClassification):
        raise TypeError(
            "holdout is for linear classifiers, whose optima are known in every norm; "
            f"got it with {type(problem).__name__}."
        )
    seed = seed_of(key)
    y = np.asarray(problem.y)
    if problem.names:
        y = np.array(problem.names)[(y + 1) // 2 if problem.binary else y]
    parts = split(y, share, seed)
    return problem.take(parts.train), Held(
        parts.held, problem.take(parts.held), share, seed
    )


def seed_of(key: object) -> int:
    """A whole number for draws outside JAX, from a seed or a key of JAX."""
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return abs(int(key))
    data = jax.random.key_data(key) if _is_key(key) else key  # type: ignore[arg-type]
    return int(np.asarray(data).ravel()[-1])


def _is_key(key: object) -> bool:
    kind = getattr(key, "dtype", None)
    return kind is not None and jnp.issubdtype(kind, jax.dtypes.prng_key)
