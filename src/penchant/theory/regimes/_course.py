"""The course of a run with a running second moment: one engine for all regimes."""

import enum
import math
from collections.abc import Callable

import equinox as eqx
import numpy as np

from penchant.theory.regimes._decays import Decays
from penchant.theory.regimes._growth import adam_growth
from penchant.training.schedules import Constant, Schedule, host_values

HORIZON = 10**9
"""No regime is looked for past this many steps."""

MEMORIES = 30.0
r"""Memories $1/(1-\beta_2)$ followed update by update: past them growth is steady."""

LONGEST = 200_000
"""Updates followed one by one; where memories ask for more, several go as one."""

GRID = 4000
"""Log-spaced steps at which steady growth is followed."""


class RegimeName(enum.StrEnum):
    """The one set of names for what a run is at a step."""

    THROTTLED = "throttled"
    SIGN_LIKE = "sign-like"
    DATA_ADAPTIVE = "data-adaptive"
    BELOW_EPS = "below ε"
    GRADIENT_DESCENT = "gradient descent"
    WEIGHTED = "weighted"

    def __repr__(self) -> str:
        return repr(self.value)


class Course(eqx.Module):
    r"""Nats $\log(1/\mathcal L)$ and $\log\sqrt v$ of a typical entry, step by step.

    `steps`, `nats`, `log_root` and `growth` are arrays at recorded steps; `pull` is the
    margin gained at the last of them per unit of step size. `crossover` is the step
    after which $\sqrt v<\varepsilon$, `throttled` that until which the moments are
    those of larger, earlier gradients; both may be infinite.
    """

    steps: np.ndarray
    nats: np.ndarray
    log_root: np.ndarray
    growth: np.ndarray
    pull: float = eqx.field(static=True)
    crossover: float = eqx.field(static=True)
    throttled: float = eqx.field(static=True)

    def reaches(self, nats: float) -> float:
        """The first step with so many nats; infinite where none has."""
        past = np.flatnonzero(self.nats >= nats)
        if not past.size:
            return math.inf
        i = past[0]
        if i == 0:
            return float(self.steps[0])
        a, b = self.nats[i - 1], self.nats[i]
        share = (nats - a) / (b - a) if b > a else 1.0
        return float(self.steps[i - 1] + share * (self.steps[i] - self.steps[i - 1]))


def course(
    decays: Decays,
    schedule: Schedule,
    steps: int,
    gamma: float,
    *,
    entry: float,
    nats: float = 0.0,
    degree: float = 1.0,
) -> Course:
    r"""Follow one entry through a run, of margins that grow like $\gamma\rho^L$.

    A typical gradient is $g=ae^{-m}$ with $a$ = `entry` and $m$ the nats, and a step
    gains $\gamma L\rho^{L-1}\eta\,M/(\sqrt V+\varepsilon)$ of them. The first
    `MEMORIES` are followed update by update: a run that is throttled keeps the size of
    its first gradients, $\sqrt{v_t}=\sqrt{1-\beta_2}\,|g_0|\beta_2^{t/2}$, and where
    that ends no steady law can tell. After that growth is the root of `adam_growth`,
    and past the crossover gradient descent's with $\eta/\varepsilon$.
    """
    b1, b2, eps = decays.b1, decays.b2, decays.eps
    log_eps = math.log(eps) if eps > 0 else -math.inf
    pull_at = _pull(gamma, degree)
    first = min(steps, math.ceil(MEMORIES / (1.0 - b2)))
    stride = max(1, -(-first // LONGEST))
    early = _update_by_update(
        decays, schedule, first // stride, stride, pull_at, entry, nats
    )
    t, m, log_root, r, crossed = early
    at = float(first // stride * stride)
    now, root = float(m[-1]), float(log_root[-1])
    rate = float(r[-1])
    rows = [(t, m, log_root, r)]
    edges = np.unique(
        np.rint(np.geomspace(at + 1.0, steps + 1.0, GRID)).astype(np.int64) - 1
    )
    edges = np.concatenate([[int(at)], edges[edges > at]])
    begins, widths = edges[:-1], np.diff(edges).astype(float)
    eta = host_values(schedule, begins)
    # all at once for linear models, whose pull does not depend on m
    rates = adam_growth(gamma, eta, b1, b2) if degree == 1 and len(begins) else eta
    late = []
    for i, (begin, step, width) in enumerate(zip(begins, eta, widths, strict=True)):
        pull = pull_at(now)
        steady = (
            float(rates[i]) if degree == 1 else float(adam_growth(pull, step, b1, b2))
        )
        rate = steady
        if math.isinf(crossed):
            ahead = 0.5 * math.log(
                (1.0 - b2) / max(-math.expm1(math.log(b2) + 2.0 * steady), 1e-300)
            )
            root = math.log(entry) - now + ahead
            gained = steady * width
            if root - gained < log_eps and steady > 0:
                crossed = float(begin) + max(0.0, (root - log_eps) / steady)
                share = min(1.0, (crossed - float(begin)) / width)
                beyond = (1.0 - share) * width
                gained = steady * share * width + math.log1p(steady * beyond)
        else:
            behind = math.exp(min(root - log_eps, 0.0))
            gained = math.log1p(steady * width * behind)
            root = math.log(entry) - now
        now += gained
        late.append((float(begin) + width, now, root - gained, rate))
    if late:
        a, b, c, d = (np.array(x) for x in zip(*late, strict=True))
        rows.append((a, b, c, d))
    t, m, log_root, r = (np.concatenate(x) for x in zip(*rows, strict=True))
    last = float(host_values(schedule, np.array([max(steps - 1, 0)]))[0])
    return Course(
        steps=t,
        nats=m,
        log_root=log_root,
        growth=r,
        pull=float(pull_at(now)),
        crossover=float(crossed),
        throttled=float(throttled_until(schedule, pull_at(now), b2, steps, last)),
    )


def _pull(gamma: float, degree: float) -> Callable[[float], float]:
    r"""$\gamma L\rho^{L-1}$ at the nats a run has: $\gamma$ for linear models."""

    def at(m: float) -> float:
        if degree == 1:
            return gamma
        rho = (max(m, 1e-300) / gamma) ** (1.0 / degree)
        return gamma * degree * rho ** (degree - 1.0)

    return at


def _update_by_update(
    decays: Decays,
    schedule: Schedule,
    count: int,
    stride: int,
    pull_at: Callable[[float], float],
    entry: float,
    nats: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    r"""The recursion itself, in logarithms; `stride` updates at once where asked."""
    b1, b2 = decays.b1**stride, decays.b2**stride
    eps = decays.eps
    log_eps = math.log(eps) if eps > 0 else -math.inf
    at = np.arange(count) * stride
    etas = (host_values(schedule, at) * stride).tolist()
    m = nats
    log_a = math.log(entry)
    # moments over the present gradient: M = mean e^{log g}, V = square e^{2 log g}
    mean = square = 0.0
    crossed = math.inf
    told = []
    gained = 0.0
    for i, eta in enumerate(etas):
        shrunk = math.exp(min(gained, 300.0))  # g_{i-1} / g_i
        mean = b1 * mean * shrunk + (1.0 - b1)
        square = b2 * square * shrunk * shrunk + (1.0 - b2)
        log_g = log_a - m
        log_root = log_g + 0.5 * math.log(square)
        if decays.eps_inside:
            log_below = 0.5 * _log_of_sum(2.0 * log_root, 2.0 * log_eps)
        else:
            log_below = _log_of_sum(log_root, log_eps)
        gained = pull_at(m) * eta * mean * math.exp(min(log_g - log_below, 300.0))
        if math.isinf(crossed) and log_root < log_eps:
            crossed = float(at[i])
        m += gained
        told.append((m, log_root, gained / stride))
    nats_at, roots, growth = np.array(told).reshape(-1, 3).T
    return at + float(stride), nats_at, roots, growth, crossed


def _log_of_sum(a: float, b: float) -> float:
    r"""$\log(e^a+e^b)$, of numbers of Python; b may be minus infinity."""
    if b == -math.inf:
        return a
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))


def throttled_until(
    schedule: Schedule, pull: float, b2: float, horizon: int, last: float
) -> float:
    r"""The first step with $\gamma\eta\le(1-\beta_2)/2$, or at which memory has faded.

    Frozen weights of constant steps are forgotten after $(\gamma\eta/r)^2$ memories,
    $r$ being the most that a step can gain.
    """
    bound = (1.0 - b2) / 2.0
    if isinstance(schedule, Constant):
        excess = pull * float(schedule.scale) / bound
        return 0.0 if excess <= 1 else min(excess, 1e150) ** 2 / (1.0 - b2)
    if pull * last > bound and horizon < HORIZON:
        horizon = HORIZON
    t = np.unique(np.rint(np.geomspace(1, horizon + 1, GRID)).astype(np.int64)) - 1
    eta = host_values(schedule, t)
    large = np.flatnonzero(pull * eta > bound)
    if large.size == 0:
        return 0.0
    return math.inf if large[-1] == len(t) - 1 else float(t[large[-1] + 1])
