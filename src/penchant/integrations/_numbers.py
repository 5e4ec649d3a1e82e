"""Records from samples: the same numbers for every framework."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from penchant import estimators, measures
from penchant._arrays import inner
from penchant._types import Numbers
from penchant.estimators import MemoryTerm, rounding
from penchant.integrations._rules import Adapter, Seen
from penchant.measures import Estimate

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of margins."""

EXAMPLES = 64
"""Most margins whose degree is looked at."""

OLD = 40.0
"""Lengths of a memory after which what is in it is below rounding: e^-40."""

WITHOUT_STEP = ("unknown", "measured", "Muon", "Adafactor")
"""Rows that do not say what step follows from gradients."""


def numbers_of(row: Adapter, pairs: Sequence[tuple[str, Seen]]) -> dict[str, Any]:
    """The records of a group from its tensors' samples."""
    entry = pairs[0][1]
    b1, _ = row.decays(entry.group)
    moments = [row.moments(seen) for _, seen in pairs]
    w = join(seen.before for _, seen in pairs)
    g = join(seen.gradient for _, seen in pairs)
    d = join(seen.after for _, seen in pairs) - w
    asked = [m.step for m in moments if m.step is not None]
    stepped = len(asked) == len(pairs)
    # memory moves weights whose gradient is 0 now
    of = _of_step(w, g, d, join(asked) if stepped else g)
    out: dict[str, Any] = {"lr": entry.step_size, "decay": entry.decay, **of}
    entered = [row.entered(seen) for _, seen in pairs]
    told = [e for e in entered if e is not None]
    if len(told) == len(pairs):
        out["applied_decay"] = _pair(estimators.applied_decay(join(told), w))
    elif row.name in WITHOUT_STEP and entry.step_size > 0:
        # all of the step, regressed on the weights: what else it holds is in the error
        out["applied_decay"] = _pair(estimators.applied_decay(-d / entry.step_size, w))
    rate = entry.step_size * entry.decay
    beside = row.decoupled(entry.group) and 0 < rate < 1
    kept: list[tuple[float, float, float]] = []
    lost: list[tuple[float, int]] = []
    way: list[tuple[float, float]] = []
    for dtype in sorted({dtype for dtype, _ in pairs}):
        at = [i for i, (other, _) in enumerate(pairs) if other == dtype]
        before = join(pairs[i][1].before for i in at)
        size = inner(before, before)
        steps = None
        if stepped:
            steps = -entry.step_size * join(asked[i] for i in at)
        if beside and not row.added:
            kept.append((rounding.kept_decay(before, rate, dtype), 0.0, size))
            # decay that multiplies comes first, and is rounded by itself
            before = rounding.after_decay(before, rate, dtype)
        elif beside and steps is not None:
            share = rounding.kept_added_decay(before, steps, rate, dtype)
            kept.append((share.value, share.error, size))
            steps = steps - rate * before
        if steps is not None:
            share, length = rounding.losses(before, steps, dtype)
            lost.append((share, len(before)))
            way.append((length, float(np.abs(steps).sum())))
    if kept:
        values, errors, sizes = zip(*kept, strict=True)
        out["kept_decay"] = _mean(values, sizes)
        if row.added:  # where it falls is chance, and it has an error
            error = math.sqrt(_mean(np.square(errors), sizes) / len(sizes))
            out["kept_decay"] = [out["kept_decay"], error]
    if lost:
        out["swallowed"] = _mean(*zip(*lost, strict=True))
        out["swallowed_length"] = _mean(*zip(*way, strict=True))
    roots = [m.root for m in moments if m.root is not None]
    if roots:
        r, eps = join(roots), moments[0].eps
        found = estimators.divisors(r, eps)
        out |= {
            "eps": eps,
            "dead": _pair(found.dead),
            "throttled": _pair(found.throttled),
            "throttle_loss": found.loss,
            "median_root": found.median,
            "spread": found.spread,
        }
        second = [
            seen.state[row.second] for _, seen in pairs if row.second in seen.state
        ]
        if second:
            out["underflow_half"] = rounding.underflows(join(second))
        both = [
            (m.first, m.root)
            for m in moments
            if m.root is not None and m.first is not None
        ]
        if both:
            first = join(m for m, _ in both)
            found = estimators.signal(first, join(r for _, r in both), eps)
            out["signal"] = _pair(found)
            out["noise_signal"] = estimators.noise_signal(b1)
    return out


def noise_of(gram: np.ndarray, factor: float) -> dict[str, Any]:
    r"""$\operatorname{tr}\operatorname{Cov}(g_B)/\|g\|^2$ and $\|g\|$.

    Args:
        gram: Products of the gradients of parts.
        factor: Examples of a part over those of the run's batches.
    """
    k = len(gram)

    def ratio(keep: list[int]) -> tuple[float, float]:
        A, n = gram[np.ix_(keep, keep)], len(keep)
        square = float(A.sum()) / n**2
        cov = (float(np.trace(A)) - n * square) / (n - 1)
        clean = square - cov / n  # the square of a mean overshoots by its noise
        return factor * cov, clean

    top, below = ratio(list(range(k)))
    values: dict[str, Any] = {"gradient_norm": math.sqrt(max(float(gram.mean()), 0.0))}
    if k < 3:
        return values
    each = [ratio([j for j in range(k) if j != i]) for i in range(k)]
    spread = math.sqrt((k - 1) / k * sum((b - below) ** 2 for _, b in each))
    if below <= 2.0 * spread:
        # the gradient is not resolved: at least so much noise
        values["noise_to_signal_least"] = top / max(below + 2.0 * spread, 1e-300)
        return values
    parts = [a / b if b > 0 else math.inf for a, b in each]
    if all(map(math.isfinite, parts)):
        found = measures.jackknife(top / below, parts)
        values["noise_to_signal"] = [top / below, found.error]
    return values


def intervention_of(gram: np.ndarray) -> dict[str, Any]:
    r"""What masks add to the gradient: a ridge, or a share of the gradient itself?

    $r$ is the mean of masked less plain gradients. Products of different blocks of
    masks are free of their noise, so that $\|P_ur\|^2/\|r\|^2$ of a direction $u$ is
    made of these alone; its error is the jackknife's over blocks.

    Args:
        gram: Products of the blocks' $r$, of the weights and of the plain gradient,
            in this order: `(k + 2, k + 2)`.
    """
    k = len(gram) - 2
    if k < 3 or not (np.diag(gram)[k:] > 0).all():
        return {}

    def shares(keep: list[int]) -> tuple[float, list[tuple[float, float]]]:
        A, n = gram[np.ix_(keep, keep)], len(keep)
        pairs = n * (n - 1)
        square = (float(A.sum()) - float(np.trace(A))) / pairs
        told = []
        for u in (k, k + 1):
            c = gram[keep, u]
            both = (float(c.sum()) ** 2 - inner(c, c)) / pairs / gram[u, u]
            told.append((float(c.mean()) / gram[u, u], both / square))
        return square, told

    everything = list(range(k))
    square, told = shares(everything)
    size = float(np.mean(gram[:k, :k]))  # of the mean, noise included
    found: dict[str, Any] = {"intervention_resolved": square / size}
    if square <= 0:
        return found
    each = [shares([j for j in everything if j != i])[1] for i in everything]
    for place, name in enumerate(("ridge", "gradient")):
        for part, what in enumerate(("", "_share")):
            parts = [e[place][part] for e in each]
            error = measures.jackknife(told[place][part], parts).error
            found[f"intervention_{name}{what}"] = [told[place][part], error]
    return found


def of_term(term: MemoryTerm) -> dict[str, Any]:
    """What is recorded of memory's term."""
    return {
        "validity": list(term.quantiles),
        "share_valid": [term.share_valid.value, term.share_valid.error],
        "penalised": term.penalised,
        "anti_penalised": term.anti_penalised,
        "correction_ratio": term.ratio,
        "correction_cosine": term.cosine,
    }


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Norms of weights: of all, and of each matrix, inputs flattened."""

    l2: float
    linf: float
    spectral: list[float]
    frobenius: list[float]


def margins_of(
    m: np.ndarray, slopes: np.ndarray, of: np.ndarray, sizes: Sizes
) -> dict[str, Any]:
    r"""Quantiles of margins, norms of the weights, and Euler's degree.

    The degree is $\langle\theta,\nabla m\rangle/m$ an example: the same number for all
    where the model is homogeneous, and only there margins can be normalised.

    Args:
        m: Margins of the probe set.
        slopes: $\langle\theta,\nabla m\rangle$ of some of its examples.
        of: Margins of these.
        sizes: Of the weights.
    """
    out: dict[str, Any] = {
        "margin_least": float(m.min()),
        "margins": [float(q) for q in np.quantile(m, LEVELS)],
        "misclassified": float(np.mean(m < 0)),
        "norm_l2": sizes.l2,
        "norm_linf": sizes.linf,
    }
    if sizes.spectral:
        out["norm_spectral"] = max(sizes.spectral)
        pairs = zip(sizes.frobenius, sizes.spectral, strict=True)
        out["stable_rank"] = float(np.mean([(f / s) ** 2 for f, s in pairs if s > 0]))
    slopes, of = slopes[:EXAMPLES], of[:EXAMPLES]
    some = np.abs(of) > 1e-6 * np.max(np.abs(of), initial=0.0)
    if some.any():
        degrees = np.quantile(slopes[some] / of[some], (0.1, 0.5, 0.9))
        out["degree"] = [float(q) for q in degrees]
    return out


def first_vector(size: int, key: int) -> np.ndarray:
    """Where Lanczos begins: the same vector in every framework, `(size,)`."""
    return np.random.default_rng(key + 3).normal(size=size)


def past_of(
    rates: Sequence[tuple[int, float]], n: int, decay: float
) -> np.ndarray | None:
    """Step sizes of the updates that a memory looks back on; None if all are one.

    Args:
        rates: Updates made before, and the step size of the next, as they were seen;
            between them it is taken to be a straight line.
        n: Updates made.
        decay: Of the memory.
    """
    if len({rate for _, rate in rates}) < 2 or n < 1:
        return None
    longest = math.ceil(OLD / max(1.0 - decay, 1e-9))
    steps = np.arange(max(0, n - longest), n)
    known, values = np.asarray(rates, float).T
    return np.interp(steps, known, values)


def spectrum_of(
    step: np.ndarray, memory: np.ndarray | None, unit: float | None
) -> dict[str, Any]:
    r"""Singular values of a matrix's step, and how many directions its memory has.

    Args:
        step: The change of the matrix, decay apart, over the step size.
        memory: The momentum, or None.
        unit: What a singular value of an exact polar factor would be; None if unknown:
            then they are over their root mean square.
    """
    s = np.linalg.svd(step, compute_uv=False)
    scale = math.sqrt(float(np.mean(s * s))) if unit is None else unit
    if not scale > 0 or not np.isfinite(s).all():
        return {}
    s = s / scale
    found: dict[str, Any] = {
        "update_singular": [float(s[-1]), float(np.median(s)), float(s[0])],
        "update_below_half": float(np.mean(s < 0.5)),
        "update_directions": len(s),
    }
    if memory is not None:
        top = float(np.linalg.norm(memory, 2))
        if top > 0:
            found["momentum_rank"] = float(np.linalg.norm(memory)) ** 2 / top**2
    return found


def _pair(x: Estimate) -> list[float]:
    return [x.value, x.error]


def _mean(values: Numbers, weights: Numbers) -> float:
    v, w = np.asarray(values, float), np.asarray(weights, float)
    fine = np.isfinite(v) & (w > 0)
    return float(np.average(v[fine], weights=w[fine])) if fine.any() else math.nan


def join(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """End to end; one array alone is handed on."""
    several = list(arrays)
    return several[0] if len(several) == 1 else np.concatenate(several)


def _of_step(
    w: np.ndarray, g: np.ndarray, d: np.ndarray, told: np.ndarray
) -> dict[str, Any]:
    r"""Sizes of weights, gradients and steps, and how a step lies to its gradient.

    `sign_likeness` is $\|d\|_1/(\sqrt p\|d\|_2)$: 1 for steps of one size. `told` is
    what the rule asks for: `unmoved` is a share of where that is not 0.
    """
    n, moved = w.size, int(np.count_nonzero(d))
    asked = moved if moved == n else int(np.count_nonzero((told != 0) | (d != 0)))
    square = inner(d, d)
    size, slope = math.sqrt(square), math.sqrt(inner(g, g))
    fine = math.isfinite(square) or bool(np.isfinite(d).all())
    ratio = lambda a, b: a / b if b > 0 else math.nan
    return {
        "gradient_rms": slope / math.sqrt(n) if n else math.nan,
        "weight_rms": math.sqrt(inner(w, w) / n) if n else math.nan,
        "step_rms": size / math.sqrt(n) if n else math.nan,
        "unmoved": 1.0 - moved / asked if asked else math.nan,
        "nonfinite": 0.0 if fine else float(np.mean(~np.isfinite(d))),
        "cosine": ratio(-inner(d, g), size * slope),
        "sign_likeness": ratio(float(np.abs(d).sum()), size * math.sqrt(n)),
    }
