"""What can be said of a run, and what can't: one sentence a question."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from penchant._plain import plain
from penchant.diagnosis.probe._findings import (
    AT_THE_EDGE,
    CERTAIN,
    FELT,
    OFF,
    bracket_of,
    in_play,
    lags,
    rounds,
)
from penchant.diagnosis.probe._growth import FEWEST, margin_growth
from penchant.diagnosis.probe._recording import Line, Recording
from penchant.flows.modified import ENOUGH, VALID
from penchant.measures import Estimate

GAP = 0.5
"""Of an endpoint: a penalty is read off a gradient only where it accounts for it."""

SHORT = 0.1
"""Slow time up to which the drift along minimisers has hardly begun."""

RULED = ("edge", "memory")
"""Read-outs whose verdicts go by the rule's decays."""

HALF = 0.5
"""Of singular values: a step whose median is above it moves along all directions."""

BAND = 0.1
"""Spread of the degree, relative to it, up to which a model counts as homogeneous."""


@dataclasses.dataclass(frozen=True)
class Said:
    """A verdict: the read-out it is of, a sentence, and its number where there is one.

    `valid` is False where the answer is that there is none.
    """

    readout: str
    sentence: str
    number: Estimate | None = None
    valid: bool = True

    def __str__(self) -> str:
        return self.sentence

    def to_dict(self) -> Line:
        """In types that JSON has."""
        number = self.number
        return plain({
            "readout": self.readout,
            "sentence": self.sentence,
            "number": None if number is None else [number.value, number.error],
            "valid": self.valid,
        })


def verdicts(seen: Recording) -> list[Said]:
    """All that the records answer."""
    found: list[Said] = []
    for name in seen.groups:
        found += _regime(seen, name)
        found += _polar(seen, name)
        found += _horizon(seen, name)
    for side in seen.run.get("sides", [None]):
        for question in (
            _edge,
            _sharpness,
            _noise,
            _memory,
            _endpoint,
            _masks,
            _margins,
            _wins,
        ):
            found += question(seen, side)
    if any(g.get("known") == "measured" for g in seen.run.get("groups", ())):
        # the threshold and memory's term are of decays that were identified
        found = [_by_measured(s) if s.readout in RULED else s for s in found]
    return found


def _by_measured(said: Said) -> Said:
    sentence = f"{said.sentence[:-1]} (measured: by the rule that was identified)."
    return dataclasses.replace(said, sentence=sentence)


def _regime(seen: Recording, name: str) -> Iterator[Said]:
    signal, noise = seen.late("signal", name), seen.last("noise_signal", name)
    if signal is not None and noise:
        if signal.value > 0.75:
            what = "gradients hardly change: steps are sign-like"
        elif signal.value < noise - CERTAIN * signal.error:
            what = (
                "below pure noise, for ε is part of the divisor" if in_play(seen, name)
                else "below pure noise: the second moment remembers larger gradients"
            )  # fmt: skip
        elif signal.value < 1.5 * noise:
            what = "that of noise: what a step has of the gradient's mean is small"
        else:
            what = "between noise and a clean gradient"
        yield Said(
            "regime",
            f"{name}: |m̂|/(√v̂ + ε) is {signal.value:.2g} (1 without noise, {noise:.2g} "
            f"for noise alone): {what}.",
            signal,
        )
    half = seen.late("underflow_half", name)
    about = {g["name"]: g for g in seen.run.get("groups", ())}.get(name, {})
    if half is not None and half.value > 0.01 and about.get("state") == "float32":
        yield Said(
            "rounding",
            f"{name}: in float16 {half.value:.0%} of the second moments would be 0.",
            half,
        )


def _polar(seen: Recording, name: str) -> Iterator[Said]:
    values = seen.last("update_singular", name)
    if not isinstance(values, list) or None in values:
        return
    least, median, largest = values
    share = seen.last("update_below_half", name) or 0.0
    n = seen.last("update_directions", name)
    about = {g["name"]: g for g in seen.run.get("groups", ())}.get(name, {})
    polar = about.get("known") == "Muon"
    unit = "an exact polar factor's" if polar else "their root mean square"
    text = (
        f"{name}: the step of its first matrix has {n} singular values from "
        f"{least:.2g} to {largest:.2g} of {unit}, median {median:.2g}, "
        f"{share:.0%} of them below a half."
    )
    rank = seen.last("momentum_rank", name)
    if rank is not None:
        text += (
            f" The buffer carries about {rank:.2g} directions; the step moves along "
            f"{'all of them alike' if share < HALF and median > HALF else 'few'}."
        )
    yield Said("regime", text, Estimate(median, math.nan, how=f"{n} singular values"))


def _horizon(seen: Recording, name: str) -> Iterator[Said]:
    applied, lr = seen.late("applied_decay", name), seen.late("lr", name)
    asked, steps = seen.late("decay", name), seen.run.get("last_step")
    if applied is None or lr is None or asked is None or not asked.value or not steps:
        return
    nominal = asked.value  # over the steps that the applied one is of
    if not (applied.valid and applied.value > 2 * applied.error and lr.value > 0):
        return
    kept = seen.late("kept_decay", name)
    off = kept is not None and abs(kept.value - 1.0) > max(OFF, 3 * kept.error)
    if kept is not None and off and rounds(kept, applied, nominal):
        yield Said(
            "rounding",
            f"{name}: steps as stored shrink weights as a decay of {applied.value:.4g} "
            f"± {applied.error:.1g} would (asked: {nominal:g}, of which "
            f"{kept.value:.2g} is kept): the rest is rounding of the steps themselves.",
            applied,
        )
        return
    horizon = 1.0 / (lr.value * applied.value)
    ratio = steps / horizon
    what = (
        "the run is too short to feel it" if ratio < 0.1
        else "it shapes the weights" if ratio > 1
        else "it begins to matter"
    )  # fmt: skip
    yield Said(
        "rounding",
        f"{name}: weight decay {applied.value:.4g} ± {applied.error:.1g} was applied "
        f"(asked: {nominal:.4g}); it forgets over 1/(ηλ) = {horizon:,.0f} steps of "
        f"{steps:,}: {what}.",
        applied,
    )


def _edge(seen: Recording, side: str | None) -> Iterator[Said]:
    top, threshold = (
        bracket_of(seen.last("largest", side)),
        seen.last("threshold", side),
    )
    if top is None:
        return
    if not threshold:
        why = seen.last("threshold_why", side) or "no threshold is known"
        yield Said("edge", f"Edge of stability: {why}.", valid=False)
        return
    low, high = top.lower / threshold, top.upper / threshold
    if low > AT_THE_EDGE:
        what = "at the edge: curvature is held at the threshold by the step size"
    elif high < FELT:
        what = "not at the edge: the step size is not what limits curvature here"
    elif high > AT_THE_EDGE:
        what = "undecided: the bracket is too wide"
    else:
        what = "not at the edge, though the step size is felt"
    yield Said(
        "edge",
        f"The curvature is {max(low, 0.0):.2g} to {high:.2g} of the largest stable "
        f"one: {what}.",
        Estimate(0.5 * (low + high), 0.5 * (high - low), how="bracket"),
        valid="undecided" not in what,
    )


def _sharpness(seen: Recording, side: str | None) -> Iterator[Said]:
    for name, words in (("root_trace", "tr Diag(G)^½"), ("trace", "tr G")):
        steps, x, e = seen.series(name, side)
        if steps.size < 2 or not np.isfinite(e[[0, -1]]).all():
            continue
        change, error = float(x[-1] - x[0]), float(np.hypot(e[0], e[-1]))
        if abs(change) > CERTAIN * error:
            what = "rose" if change > 0 else "fell"
            text = (
                f"{words} {what} from {x[0]:.4g} ± {e[0]:.2g} to {x[-1]:.4g} ± "
                f"{e[-1]:.2g} between steps {steps[0]:,} and {steps[-1]:,}."
            )
        else:
            text = (
                f"{words} is {x[-1]:.4g} ± {e[-1]:.2g}; no trend beyond {CERTAIN:g} "
                "standard errors."
            )
        yield Said("sharpness", text, Estimate(float(x[-1]), float(e[-1])))
    groups = seen.groups
    if groups and seen.last("root_trace", side) is not None:
        steps, rates, _ = seen.series("lr", groups[0])
        if steps.size > 1:
            time = float(
                np.sum(0.5 * (rates[1:] ** 2 + rates[:-1] ** 2) * np.diff(steps))
            )
            if time < SHORT:
                yield Said(
                    "sharpness",
                    f"The slow time Σ η² is {time:.2g}: the drift along minimisers, "
                    "which lowers one sharpness or another, has hardly begun.",
                )


def _noise(seen: Recording, side: str | None) -> Iterator[Said]:
    ratio = seen.last("noise_to_signal", side)
    least = seen.last("noise_to_signal_least", side)
    steps = [
        line["step"]
        for line in seen.records
        if line["group"] == side
        and ("noise_to_signal" in line or "noise_to_signal_least" in line)
    ]
    newest = max(steps, default=0)
    if seen.series("noise_to_signal", side)[0][-1:].tolist() == [newest]:
        value, error = ratio
        if value > 1:
            what = "steps, preconditioner and implicit penalty are mostly of noise"
        else:
            what = "a batch's gradient is mostly signal"
        yield Said(
            "memory",
            f"Noise over signal of a batch's gradient is {value:.2g} ± {error:.1g}: "
            f"{what}.",
            Estimate(value, math.nan if error is None else error),
        )
    elif least is not None:
        yield Said(
            "memory",
            f"Noise over signal of a batch's gradient is above {least:.2g}: the "
            "gradient itself is not resolved by this probe set.",
        )


def _memory(seen: Recording, side: str | None) -> Iterator[Said]:
    first, share = seen.last("validity_first", side), seen.last("share_valid", side)
    adaptive = any(g.get("second") is not None for g in seen.run.get("groups", ()))
    none = seen.last("memory_why", side)
    if isinstance(none, str):
        yield Said(
            "memory",
            f"Memory's first-order term is 0: {none}. How often a sign turns it does "
            "not say.",
        )
    remembers = any(g.get("first") != 0.0 for g in seen.run.get("groups", [{}]))
    if first is not None and remembers:
        inside = first < VALID
        what = (
            "the first moment's correction may be quoted" if inside
            else "outside the perturbative regime"
        )  # fmt: skip
        yield Said(
            "memory",
            f"First moment: V^m = {first:.2g} ({'below' if inside else 'above'} "
            f"{VALID}): {what}.",
            Estimate(first, math.nan),
            valid=inside,
        )
    if isinstance(share, list) and None not in share:
        inside = share[0] >= ENOUGH
        part = "Second moment" if adaptive else "Correction"
        if inside:
            ratio = seen.last("correction_ratio", side)
            up = seen.last("anti_penalised", side) or 0.0
            what = (
                f"on these the correction is {ratio:.2g} of the step, and "
                f"anti-penalises the gradient's size in {up:.0%} of them"
            )
        else:
            what = (
                "outside the perturbative regime, so no norm of a correction is quoted"
            )
        yield Said(
            "memory",
            f"{part}: {share[0]:.2g} ± {share[1]:.1g} of the weights have V < {VALID}: "
            f"{what}.",
            Estimate(*share),
            valid=inside,
        )
    moved, told = seen.last("memory_moved", side), seen.last("memory_foretold", side)
    if moved is not None:
        text = (
            f"The momentum differs from that of the same batches at the weights of now "
            f"by {moved:.2g} of the latter"
        )
        if isinstance(told, list) and None not in told:
            text += (
                f"; the first-order term foretells this with cosine {told[0]:.2f} and "
                f"{told[1]:.2g} times its size"
            )
        yield Said("memory", text + ".", Estimate(moved, 0.0, how="replayed"))
    measured = [
        (lag, value)
        for lag in lags(seen, side)
        if (value := seen.last(f"stale_{lag}", side)) and value[0] is not None
    ]
    if measured:
        told = ", ".join(f"{value[0]:.2g} after {lag}" for lag, value in measured)
        yield Said("memory", f"A gradient has changed, of itself, by {told} steps.")


def _endpoint(seen: Recording, side: str | None) -> Iterator[Said]:
    gap, ridge = seen.last("gap", side), seen.last("endpoint_ridge", side)
    if gap is None or not isinstance(ridge, list):
        return
    value, error = ridge
    if gap >= GAP or error >= abs(value):
        yield Said(
            "decay",
            f"A ridge penalty read off the last gradient: not identifiable, since the "
            f"run is not stationary (gap {gap:.2f}; it must be below {GAP}).",
            Estimate(math.nan, math.nan, valid=False, why="the run is not stationary"),
            valid=False,
        )
        return
    yield Said(
        "decay",
        f"The last gradient is that of a ridge penalty of {value:.4g} ± {error:.1g} "
        f"(gap {gap:.2g}).",
        Estimate(value, error, how="bound by the stationarity gap"),
    )


def _masks(seen: Recording, side: str | None) -> Iterator[Said]:
    """What dropout is: a ridge penalty, another step size, or neither."""
    resolved = seen.last("intervention_resolved", side)
    if resolved is None:
        return
    ridge, share = (
        seen.last(f"intervention_{name}", side) for name in ("ridge", "ridge_share")
    )
    if resolved < HALF or not isinstance(ridge, list) or not isinstance(share, list):
        yield Said(
            "decay",
            "What dropout adds to the gradient: not resolved by the masks drawn.",
            valid=False,
        )
        return
    c, along = (
        seen.last(f"intervention_{name}", side)
        for name in ("gradient", "gradient_share")
    )
    text = (
        f"What dropout adds to the gradient is to {share[0]:.1%} ± {share[1]:.1%} "
        f"along the weights and to {along[0]:.1%} ± {along[1]:.1%} along the gradient "
        f"itself, {c[0]:+.2g} of it"
    )
    is_ridge = share[0] - 2 * share[1] > HALF and ridge[0] > 0
    if is_ridge:
        text += f": a ridge penalty of {ridge[0]:.3g} ± {ridge[1]:.1g}."
    elif along[0] - 2 * along[1] > HALF and c[0] < 0:
        text += f": not ridge; it acts as a gradient that is {-c[0]:.0%} smaller."
    else:
        text += ": not ridge."
    yield Said("decay", text, Estimate(*(ridge if is_ridge else share)), valid=is_ridge)


def _margins(seen: Recording, side: str | None) -> Iterator[Said]:
    wrong, degree = seen.last("misclassified", side), seen.last("degree", side)
    if wrong is None:
        return
    if isinstance(degree, list):
        low, middle, high = degree
        if high - low > BAND * abs(middle):
            yield Said(
                "margins",
                f"A normalised margin is not defined for this model: Euler's degree is "
                f"{low:.2g} to {high:.2g} over examples, and not one number.",
                valid=False,
            )
        else:
            yield Said(
                "margins",
                f"The model is homogeneous of degree {middle:.3g} to {BAND:.0%}.",
                Estimate(middle, 0.5 * (high - low), how="10 to 90 % of the examples"),
            )


def _wins(seen: Recording, side: str | None) -> Iterator[Said]:
    """Which norm's margin grows; one is named only where the others lag by 3 SE."""
    wrong, degree = seen.last("misclassified", side), seen.last("degree", side)
    if wrong is None:
        return
    asked = "Which norm's margin grows"
    if wrong > 0:
        yield Said(
            "margins",
            f"{asked}: too early, {wrong:.1%} of the probe set is misclassified.",
            valid=False,
        )
        return
    if not isinstance(degree, list) or degree[2] - degree[0] > BAND * abs(degree[1]):
        return  # no margin can be normalised, which is said already
    found = margin_growth(seen, side, degree[1])
    if found is None:
        yield Said(
            "margins",
            f"{asked}: too early, there are fewer than {FEWEST} looks without an error "
            "in the last third of the run.",
            valid=False,
        )
        return
    slopes = ", ".join(f"{n} {x.value:.2g} ± {x.error:.1g}" for n, x in found.each)
    text = f"{asked}, by the slope of log min margin/‖·‖^L against −log loss: {slopes}"
    if found.winner is None:
        yield Said("margins", text + ": undecided, none is ahead by 3 SE.", valid=False)
        return
    number = dict(found.each)[found.winner]
    yield Said("margins", f"{text}: that in {found.winner}.", number)
