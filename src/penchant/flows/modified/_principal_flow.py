import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Parameters, Real, Scalar, Tree
from penchant.flows.modified._algebra import flat_gradient
from penchant.problems import AbstractProblem

MOST = 2000
"""Most parameters whose Hessian is decomposed at every step."""

SMALL = 0.05
"""Below this the functions of an exponential step are summed as series."""


class NoSlowModeError(ValueError):
    """Heavy ball oscillates in a direction: no first-order flow follows it."""


def slow_root(curvature: Real, momentum: Real = 0.0) -> complex:
    r"""$\mu$ of heavy ball on a quadratic: a step multiplies its slow mode by it.

    The larger root of $\mu^2-(1+\beta-h\lambda)\mu+\beta=0$, $1-h\lambda$ without
    momentum. It is real for $h\lambda\le(1-\sqrt\beta)^2$ (.0026 at .9 for the sum form
    $b\leftarrow\beta b+g$); beyond, both roots have modulus $\sqrt\beta$ and steps
    oscillate. $-\log\mu=\sum_k\frac{(h\lambda)^k}{k}\frac{N_k(\beta)}
    {(1-\beta)^{2k-1}}$ with $N_k=\sum_jC_{k-1,j}^2\beta^j$ of
    binomial coefficients $C$, which
    `test_the_slow_root_has_narayana_like_coefficients` derives to $k=4$.

    >>> import penchant as pn
    >>> pn.flows.slow_root(0.5)
    (0.5+0j)

    Args:
        curvature: $h\lambda$, step size times curvature.
        momentum: $\beta\in[0,1)$.

    Raises:
        ValueError: If `momentum` is outside [0, 1).
    """
    check_number("momentum", momentum, least=0.0, below=1.0)
    check_number("curvature", curvature, finite=True)
    beta, x = float(momentum), float(curvature)
    if beta == 0.0:
        return complex(1.0 - x)
    half = 0.5 * (1.0 + beta - x)
    return half + complex(half * half - beta) ** 0.5


def principal_flow(
    problem: AbstractProblem,
    *,
    step_size: Real,
    steps: int,
    momentum: Real = 0.0,
    init: Parameters | None = None,
) -> Parameters:
    r"""$\dot w=\sum_i\frac{\log\mu(h\lambda_i)}{h\lambda_i}\,u_iu_i^\top g$, the
    principal flow of `rosca2023continuous`, with $\lambda_i,u_i$ the Hessian's.

    $\mu=1-h\lambda$ for gradient descent; with `momentum` the slow root of heavy ball
    (`cattaneo2025momentum`), $b\leftarrow\beta b+g$. On quadratics it passes through
    the steps exactly, at any $h$: where $h\lambda>1$ the logarithm is complex, so is
    the path, and at the times of steps it is real again. On other losses it has the
    order of the modified flow and no higher one. Beyond reals a gradient is continued
    to first order, $g(x+iy)=g(x)+iH(x)y$; what is returned is the real part.

    It starts on heavy ball's slow mode: a run that starts with an empty memory is
    behind it by $\frac{h\beta}{(1-\beta)^2}g(w_0)$ to first order.

    >>> import jax.numpy as jnp, penchant as pn
    >>> bowl = pn.Objective(lambda w, a: (a @ w) ** 2 / 2, jnp.ones(1), jnp.eye(1))
    >>> path = pn.flows.principal_flow(bowl, step_size=1.5, steps=2)
    >>> path.round(12).ravel().tolist()
    [1.0, -0.5, 0.25]

    Args:
        problem: Data, model and loss, with at most 2 000 parameters.
        step_size: $h$.
        steps: How many.
        momentum: $\beta$ of heavy ball.
        init: Where to start; None for the problem's start.

    Returns:
        Weights at the times of steps 0 to `steps`: a leading axis of `steps + 1`.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
        NoSlowModeError: If $h\lambda>(1-\sqrt\beta)^2$ on the way, with momentum.
    """  # noqa: D205
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    check_number("step_size", step_size, above=0.0, finite=True)
    check_number("momentum", momentum, least=0.0, below=1.0)
    steps = check_count("steps", steps)
    w = problem.start if init is None else problem.read(init, "init")
    if problem.parameters > MOST:
        raise ValueError(
            f"problem must have at most {MOST} parameters, whose Hessian is decomposed "
            f"at every step; it has {problem.parameters}."
        )
    x = problem.flat(w)
    path, largest = _follow(
        problem, x, jnp.asarray(step_size, float), jnp.asarray(momentum, float), steps
    )
    beta = float(np.asarray(momentum))
    if beta > 0.0:
        limit = (1.0 - math.sqrt(beta)) ** 2
        worst = np.asarray(largest)
        if np.any(worst > limit * (1.0 + 1e-9)):
            first = int(np.argmax(worst > limit * (1.0 + 1e-9)))
            raise NoSlowModeError(
                f"step_size times curvature must be at most (1 - √momentum)² = "
                f"{limit:.3g} for heavy ball to have a slow mode; it is "
                f"{worst[first]:.3g} at step {first}. Beyond, it oscillates."
            )
    return jax.vmap(problem.unflat)(jnp.concatenate([x[None], path]))


@eqx.filter_jit
def _follow(
    problem: AbstractProblem,
    x: Float[Array, " p"],
    h: Scalar,
    beta: Scalar,
    steps: int,
) -> tuple[Float[Array, "t p"], Float[Array, " t"]]:
    def gradient(x: Array) -> Array:
        return flat_gradient(problem, x)

    def hessian(x: Array) -> Array:
        H = jax.jacfwd(gradient)(x)
        return 0.5 * (H + H.T)

    def rate(lam: Array) -> Array:
        r"""$\log\mu(h\lambda)/h\lambda$, $-1/(1-\beta)$ at 0."""
        v = h * lam
        tiny = jnp.abs(v) < 1e-12
        safe = jnp.where(tiny, 1e-12, v).astype(complex)
        # mu = 1 - d, where d is the smaller root of d^2 - (1 - beta + v) d + v = 0,
        # written so that nothing cancels
        b = (1.0 - beta).astype(complex) + safe
        root = jnp.sqrt(b**2 - 4.0 * safe)
        d = jnp.where(beta == 0.0, safe, 2.0 * safe / (b + root))
        flat = (-1.0 / (1.0 - beta)).astype(complex)
        # at hλ = 1 a step ends at the minimum: e^-700 of the way is left, not e^-inf
        ends = d == 1.0
        slow = jnp.where(ends, -700.0, jnp.log1p(-jnp.where(ends, 0.5, d)))
        return jnp.where(tiny, flat, slow / safe)

    def field(z: Complex[Array, " p"]) -> Array:
        lam, U = jnp.linalg.eigh(hessian(z.real))
        g = gradient(z.real)
        turned = jax.lax.complex(U.T @ g, lam * (U.T @ z.imag))
        return U.astype(complex) @ (rate(lam) * turned)

    def step(z: Array, _: Tree) -> Any:
        # exponential Runge-Kutta of fourth order (Cox and Matthews): exact where the
        # field is linear, in the eigenbasis of the Hessian at the step's start
        lam, U = jnp.linalg.eigh(hessian(z.real))
        size = h.astype(complex)
        L = rate(lam) * (h * lam).astype(complex)
        into = lambda v: U.T.astype(complex) @ v
        out = lambda a: U.astype(complex) @ a
        rest = lambda a: into(field(z + out(a))) * size - L * a
        half = jnp.exp(0.5 * L)
        q = 0.5 * _phi(0.5 * L, 1)
        p1, p2, p3 = (_phi(L, k) for k in (1, 2, 3))
        n0 = into(field(z)) * size
        a = q * n0
        na = rest(a)
        b = q * na
        nb = rest(b)
        c = half * a + q * (2.0 * nb - n0)
        nc = rest(c)
        moved = (
            (p1 - 3.0 * p2 + 4.0 * p3) * n0
            + (2.0 * p2 - 4.0 * p3) * (na + nb)
            + (4.0 * p3 - p2) * nc
        )
        z = z + out(moved)
        return z, (z.real, h * jnp.max(lam))

    _, (path, largest) = jax.lax.scan(step, x.astype(complex), None, length=steps)
    return path, largest


def _phi(z: Array, k: int) -> Array:
    r"""$\varphi_k(z)=\sum_jz^j/(j+k)!$."""
    near = jnp.abs(z) < SMALL
    safe = jnp.where(near, 1.0, z)
    far = jnp.expm1(safe)
    far = far / safe
    for j in range(1, k):
        far = (far - 1.0 / math.factorial(j)) / safe
    series = sum(z**j / math.factorial(j + k) for j in range(10))
    return jnp.where(near, series, far)
