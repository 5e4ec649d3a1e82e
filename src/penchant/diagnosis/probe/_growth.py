"""Which norm's normalised margin grows fastest, from the records of a run."""

import dataclasses

import numpy as np

from penchant.diagnosis.probe._recording import Recording
from penchant.measures import Estimate

NORMS = {"ℓ2": "norm_l2", "ℓ∞": "norm_linf", "spectral": "norm_spectral"}
"""Norms by their records; the spectral one is the largest of all matrices."""

FEWEST = 4
"""Looks of which a slope has an error worth the name."""

AHEAD = 3.0
"""Standard errors by which the winner's slope is above each of the others."""


@dataclasses.dataclass(frozen=True)
class Growth:
    """Slopes by norm, the steepest first, and the winner's name if there is one."""

    each: list[tuple[str, Estimate]]
    winner: str | None


def margin_growth(seen: Recording, side: str | None, degree: float) -> Growth | None:
    r"""Slopes of $\log(\min m/\|\theta\|^L)$ against $-\log\mathcal L$.

    Over the looks of the run's last third at which nothing is misclassified. Slopes of
    two norms share the margin, so that their difference is that of
    $L\log(\|\theta\|_b/\|\theta\|_a)$, with an error of its own.

    Args:
        seen: The records.
        side: Of which optimizer.
        degree: $L$, of a homogeneous model.

    Returns:
        None where there are too few looks.
    """
    lines: dict[int, dict[str, float]] = {}
    for line in seen.records:
        if line["group"] != side:
            continue
        own = lines.setdefault(line["step"], {})
        for name in ("margin_least", "misclassified", *NORMS.values()):
            if line.get(name) is not None:
                own[name] = float(line[name])
        if isinstance(line.get("loss"), list) and line["loss"][0] is not None:
            own["loss"] = float(line["loss"][0])
    last = max(lines, default=0)
    wanted = {"margin_least", "misclassified", "loss", *NORMS.values()}
    rows = [
        own
        for step, own in sorted(lines.items())
        if step >= 2 * last / 3 and wanted <= own.keys()
    ]
    rows = [r for r in rows if r["misclassified"] == 0 and r["margin_least"] > 0]
    rows = [r for r in rows if r["loss"] > 0]
    if len(rows) < FEWEST:
        return None
    of = lambda name: np.log([r[name] for r in rows])
    x, m = -of("loss"), of("margin_least")
    if np.ptp(x) == 0:
        return None
    norms = {name: degree * of(key) for name, key in NORMS.items()}
    each = [(name, _slope(x, m - size)) for name, size in norms.items()]
    each.sort(key=lambda pair: -pair[1].value)
    best = each[0][0]
    leads = [_slope(x, norms[name] - norms[best]) for name in norms if name != best]
    ahead = all(lead.value > AHEAD * lead.error for lead in leads)
    return Growth(each, best if ahead else None)


def _slope(x: np.ndarray, y: np.ndarray) -> Estimate:
    """By least squares, with its standard error."""
    x, y = x - x.mean(), y - y.mean()
    below = float(x @ x)
    slope = float(x @ y) / below
    rest = y - slope * x
    error = float(np.sqrt(rest @ rest / (len(x) - 2) / below))
    return Estimate(slope, error, n=len(x), how=f"{len(x)} looks")
