"""How fast full-batch Adam gains margin once its moments follow the gradient."""

import math

import numpy as np

from penchant._checks import check_number
from penchant._types import Real


def adam_growth(
    gamma: float, step_size: Real | np.ndarray, b1: float, b2: float
) -> np.ndarray:
    r"""Margin that full-batch Adam ($\varepsilon=0$) gains a step, $r(\eta)$.

    The positive root of

    $$r=\gamma_\infty\eta\;\frac{1-\beta_1}{1-\beta_1e^{r}}
      \sqrt{\frac{1-\beta_2e^{2r}}{1-\beta_2}} .$$

    Gradients fall by $e^{-r}$ a step, and the moments remember larger ones: steps
    shrink. Small steps gain $\gamma_\infty\eta$; no step gains more than
    $-\frac12\log\beta_2\approx(1-\beta_2)/2$, however large $\eta$ is.

    Args:
        gamma: The $\ell_\infty$ max margin.
        step_size: Step sizes $\eta$, a number or an array; the result has its shape.
        b1: $\beta_1$, with $\beta_1^2<\beta_2$, for else no such limit exists.
        b2: $\beta_2$, in (0, 1).

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_number("gamma", gamma, above=0.0)
    check_number("b2", b2, above=0.0, below=1.0)
    check_number("b1", b1, least=0.0, below=math.sqrt(b2))
    given = np.asarray(step_size, dtype=float)
    eta = np.atleast_1d(given)

    def excess(z: np.ndarray) -> np.ndarray:  # of the right side, at z = 1 - b2 e^2r
        r = 0.5 * np.log((1.0 - z) / b2)
        damped = (1.0 - b1) / (1.0 - b1 * np.sqrt((1.0 - z) / b2))
        return gamma * eta * damped * np.sqrt(z / (1.0 - b2)) - r

    # in z, not r: strong throttles sit at z -> 0, where r has lost its digits
    low = np.full(eta.shape, -700.0)
    high = np.full(eta.shape, np.log1p(-b2))
    for _ in range(80):
        middle = 0.5 * (low + high)
        over = excess(np.exp(middle)) > 0
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    r = 0.5 * (np.log1p(-np.exp(high)) - math.log(b2))
    return r.reshape(given.shape)
