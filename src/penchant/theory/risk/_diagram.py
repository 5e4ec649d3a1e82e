"""Where overfitting is harmless: the plane of dimension and signal."""

from typing import Any

import equinox as eqx
import numpy as np

from penchant._checks import check_count, check_number
from penchant._types import Numbers
from penchant.theory.risk._equivalent import Axes
from penchant.theory.risk._mixture_risk import foretell_in_boxes
from penchant.training.executors import AbstractExecutor

Array = np.ndarray


class RiskDiagram(eqx.Module):
    r"""Risks of max margin at $d=n^p$, $\|\mu\|=n^q$, $\Sigma=I$, rows q, columns p.

    `log_risk`, `support` and `all_support` `(len(q), len(p))` are foretold at this n.
    The other three are what holds as $n\to\infty$: `benign`, the risk tends to 0
    though all labels are interpolated, $q>\max(0,(p-1)/4)$; `known_before`, what
    `chatterji2021finite` covers, $q>p/4$; `least_squares`, max margin is least
    squares, $p>\max(1,1+q)$ up to logarithms.
    """

    p: Array
    q: Array
    n: int = eqx.field(static=True)
    log_risk: Array
    support: Array
    all_support: Array

    @property
    def benign(self) -> Array:
        """Where the risk tends to 0."""
        return self.q[:, None] > np.maximum(0.0, 0.25 * (self.p - 1.0))

    @property
    def known_before(self) -> Array:
        """Where an earlier bound says so."""
        return self.q[:, None] > 0.25 * self.p

    @property
    def least_squares(self) -> Array:
        """Where max margin is least squares."""
        return self.p > np.maximum(1.0, 1.0 + self.q[:, None])

    def plot(self, *, size: tuple[float, float] = (6.4, 4.2), ax: Any = None) -> Any:
        """Log₁₀ risk over p and q, with the three boundaries.

        Args:
            size: Of a new figure, in inches.
            ax: Draw here instead.
        """
        from penchant import plotting

        with plotting.house_style():
            ax = plotting.own_axes(ax, size)
            shown = np.clip(self.log_risk / np.log(10.0), -12.0, np.log10(0.5))
            mesh = ax.pcolormesh(
                self.p, self.q, shown, cmap="viridis_r", shading="nearest"
            )
            bar = ax.figure.colorbar(mesh, ax=ax)
            bar.set_label("log₁₀ risk (12 and more digits alike)")
            p = np.linspace(self.p.min(), self.p.max(), 200)
            for y, style, name in (
                (np.maximum(0.0, 0.25 * (p - 1.0)), "-", "benign above"),
                (0.25 * p, "--", "known before above"),
                (p - 1.0, ":", "least squares below"),
            ):
                ax.plot(p, y, style, color="white", linewidth=3.2)
                ax.plot(p, y, style, color="black", linewidth=1.4, label=name)
            ax.set_xlim(self.p.min(), self.p.max())
            ax.set_ylim(self.q.min(), self.q.max())
            ax.set_xlabel(f"p: d = n^p, n = {self.n}")
            ax.set_ylabel("q: ‖μ‖ = n^q")
            ax.legend(
                loc="lower center",
                bbox_to_anchor=(0.5, 1.0),
                ncols=3,
                frameon=False,
                fontsize="small",
                columnspacing=1.0,
            )
        return ax

    def __repr__(self) -> str:
        return (
            f"RiskDiagram(n={self.n}, {len(self.p)} p by {len(self.q)} q, risk below "
            f"1 % at {np.mean(self.log_risk < np.log(0.01)):.0%} of them)"
        )


def risk_diagram(
    n: int, p: Numbers, q: Numbers, *, executor: AbstractExecutor | None = None
) -> RiskDiagram:
    r"""Risks of max margin over $d=n^p$ and $\|\mu\|=n^q$, isotropic, in one call.

    >>> import penchant as pn
    >>> pn.theory.risk.risk_diagram(60, p=[1.4, 2.0, 2.4], q=[0.3]).log_risk.round(1)
    array([[-5.4, -2.5, -1.4]])

    Args:
        n: How many rows to train on.
        p: Exponents of d, above 1, rising.
        q: Exponents of ‖μ‖, rising.
        executor: Where cells are computed, such as `executors.Ray()`; None for this
            process. The diagram has the same bits.

    Raises:
        TypeError: If they are no numbers, or `executor` is none.
        ValueError: If an exponent is out of bounds or not finite, or `n` is below 2.
        RuntimeError: If cells failed as often as the executor tries.
    """
    n = check_count("n", n, least=2)
    check_number("p", p, above=1.0, finite=True)
    check_number("q", q, finite=True)
    columns, rows = (
        np.atleast_1d(np.asarray(p, float)),
        np.atleast_1d(np.asarray(q, float)),
    )
    if columns.ndim != 1 or rows.ndim != 1:
        raise ValueError(
            f"p and q must be vectors; got shapes {columns.shape} and {rows.shape}."
        )
    Q, P = np.meshgrid(rows, columns, indexing="ij")
    flat = P.size
    axes = Axes(
        np.ones((flat, 1)),
        float(n) ** P.reshape(-1, 1),
        float(n) ** (2.0 * Q.reshape(-1, 1)),
    )
    samples = np.full(flat, float(n))
    told = foretell_in_boxes(executor, axes, samples, np.zeros(flat))
    shaped = {
        name: told[name].reshape(P.shape)
        for name in ("log_risk", "support", "all_support")
    }
    return RiskDiagram(p=columns, q=rows, n=n, **shaped)
