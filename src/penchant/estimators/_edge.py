"""The curvature beyond which a rule's steps on a quadratic grow."""

from penchant._checks import check_number


def edge_threshold(
    step_size: float,
    *,
    momentum: float = 0.0,
    gain: float = 1.0,
    look: tuple[float, float] = (0.0, 1.0),
    decoupled: float = 0.0,
    coupled: float = 0.0,
) -> float:
    r"""The largest stable curvature of full-batch steps on a quadratic.

    With $m\leftarrow\beta m+\gamma g$ and $w\leftarrow(1-\eta\lambda)w-\eta(ag+bm)$ the
    characteristic polynomial has the root $-1$ at

    $$h^*=\frac{(1+\beta)(2-\eta\lambda)}{\eta\,(a(1+\beta)+b\gamma)}-\mu.$$

    `look` is $(a,b)$: $(0,1)$ where the memory is the step, $(\gamma,\beta)$ with
    Nesterov's look ahead, which gives $\frac{2(1+\beta)}{\eta\gamma(1+2\beta)}$.
    $\mu$ is decay within the gradient. A mean has $\gamma=1-\beta$, so that Adam has
    $\frac{2(1+\beta_1)}{\eta(1-\beta_1)}$, of the curvature $P^{-1/2}HP^{-1/2}$ in the
    geometry of its divisor (`cohen2025central`). Batches do not obey it on the full
    loss.

    >>> import penchant as pn
    >>> round(pn.estimators.edge_threshold(0.001, momentum=0.9, gain=0.1))
    38000

    Args:
        step_size: $\eta>0$.
        momentum: $\beta\in[0,1)$.
        gain: $\gamma$: 1 for a sum, $1-\beta$ for a mean.
        look: $(a,b)$, the weights of gradient and memory in the step.
        decoupled: $\lambda$ of decoupled decay.
        coupled: $\mu$ of decay within the gradient.

    Raises:
        ValueError: If a number is out of its range.
    """
    check_number("step_size", step_size, above=0.0)
    check_number("momentum", momentum, least=0.0, below=1.0)
    check_number("gain", gain, above=0.0)
    reach = (1.0 + momentum) * (2.0 - step_size * decoupled)
    weight = look[0] * (1.0 + momentum) + look[1] * gain
    return reach / (step_size * weight) - coupled
