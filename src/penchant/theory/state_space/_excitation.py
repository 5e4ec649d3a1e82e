"""Which lags the inputs of a data set excite, and which they leave free."""

from typing import Any

import equinox as eqx
import numpy as np

from penchant._arrays import numbers
from penchant._plain import plain
from penchant._types import Numbers
from penchant.problems.models import ssm

SEEN = 1e-12
"""Share of the largest energy from which a lag, or a direction of lags, counts."""


class Excitation(eqx.Module):
    r"""How inputs excite the lags of a linear model, $M=X^\top X/n$.

    `energy` `(κ,)` is the mean square at each lag, lag 0 first: the diagonal of $M$.
    `rank` is that of $M$, `free` the κ − `rank` directions of lags that no example
    tells anything of, and that the start and the rule decide. `spectrum` `(κ,)` are the
    eigenvalues of $M$ from the largest, `condition` their ratio over the rank: gradient
    descent needs about so many steps to fit the weakest. `lag_one` is the share of the
    energy at lag 1, by which every pole is moved at one speed; 0 leaves the bias to few
    poles alone.

    A full rank is persistence of excitation of order κ: then the data alone decide the
    response up to lag κ−1. It says nothing of lags beyond.
    """

    energy: np.ndarray
    spectrum: np.ndarray
    rank: int = eqx.field(static=True)
    free: int = eqx.field(static=True)
    condition: float = eqx.field(static=True)
    lag_one: float = eqx.field(static=True)

    @property
    def unseen(self) -> tuple[int, ...]:
        """The lags at which every input is 0."""
        least = SEEN * self.energy.max()
        return tuple(int(l) for l in np.flatnonzero(self.energy <= least))

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        return plain({
            "length": len(self.energy),
            "rank": self.rank,
            "free": self.free,
            "condition": self.condition,
            "lag_one": self.lag_one,
            "unseen": list(self.unseen),
            "energy": self.energy.tolist(),
            "spectrum": self.spectrum.tolist(),
        })

    def __repr__(self) -> str:
        k = len(self.energy)
        if self.rank == 0:
            return f"Excitation(none of {k} lags: every input is 0)"
        free = "all of them are decided by the data"
        if self.free:
            are = "direction of lags is" if self.free == 1 else "directions of lags are"
            free = f"{self.free} {are} left to the start and the rule"
        silent = ""
        if self.unseen:
            silent = f"; lags {_ranges(self.unseen)} are never excited"
        return (
            f"Excitation(rank {self.rank} of {k} lags, condition {self.condition:.3g}: "
            f"{free}{silent}; {self.lag_one:.2%} of the energy is at lag 1)"
        )


def _ranges(lags: tuple[int, ...]) -> str:
    """Lags in words, as in 0, 2 to 5."""
    parts, first = [], lags[0]
    for lag, after in zip(lags, (*lags[1:], -2), strict=True):
        if after != lag + 1:
            parts.append(f"{first}" if first == lag else f"{first} to {lag}")
            first = after
    return ", ".join(parts)


def excitation(X: Numbers | ssm.SequenceRegression) -> Excitation:
    r"""Which lags the sequences excite, and in how many directions: $M=X^\top X/n$.

    >>> import penchant as pn
    >>> seen = pn.audits.excitation([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    >>> seen.rank, seen.energy.tolist()
    (2, [0.0, 2.0, 0.5])
    >>> seen.unseen
    (0,)

    Args:
        X: `(n, κ)` sequences in time order, the newest input (lag 0) last; or a problem
            that has them.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If the shape is another, or an entry is NaN or infinite.
    """
    given = X.X if isinstance(X, ssm.SequenceRegression) else X
    rows = numbers("X", given, "(n, κ)")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(
            "X must have shape (n, κ), sequences of length 1 or more in its rows; got "
            f"{rows.shape}."
        )
    if not np.isfinite(rows).all():
        raise ValueError("X must be finite; got NaN or infinite entries.")
    size = np.abs(rows).max()
    # squares of what is scaled to 1 neither overflow nor vanish
    lags = rows[:, ::-1] / (size if size > 0 else 1.0)
    energy = np.mean(lags**2, axis=0) * size**2
    values = np.linalg.svd(lags / np.sqrt(len(lags)), compute_uv=False)
    spectrum = np.zeros(lags.shape[1])
    spectrum[: len(values)] = values**2 * size**2
    rank = int(np.sum(values > np.sqrt(SEEN) * values[0])) if size > 0 else 0
    condition = float((values[0] / values[rank - 1]) ** 2) if rank else float("inf")
    share = np.mean(lags**2, axis=0)
    total = float(share.sum())
    return Excitation(
        energy=energy,
        spectrum=spectrum,
        rank=rank,
        free=lags.shape[1] - rank,
        condition=condition,
        lag_one=float(share[1] / total) if total > 0 and len(share) > 1 else 0.0,
    )
