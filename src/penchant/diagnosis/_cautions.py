"""What a reader of a diagnosis must know besides its verdict."""

import enum

import equinox as eqx

from penchant.training import Outcome, Trajectory

WALLS = {"float32": (16.3, 87.3), "float64": (36.8, 708.4)}
"""Margins past which a framework's gradients freeze (cross-entropy as
softmax minus one-hot, true class rounded to 1) and vanish (the exponential loss
itself below the smallest normal number)."""


class Kind(enum.StrEnum):
    """What a warning is about: one vocabulary for every kind of problem."""

    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"
    NOT_SEPARATED = "not-separated"
    STALLED = "stalled"
    TIE = "tie"
    NOT_CONVERGED = "not-converged"
    STILL_TURNING = "still-turning"
    NO_LIMIT = "no-limit"
    NO_FLOW = "no-flow"
    EPS = "eps"
    PRECISION = "precision"
    ASSUMPTIONS = "assumptions"
    BOUNDS = "bounds"
    FROZEN = "frozen"
    UPCAST = "upcast"
    NO_BIAS = "no-bias"
    DECAY = "decay"
    SWALLOWED = "swallowed"
    SECOND_MOMENT = "second-moment"
    EDGE = "edge"
    STALE = "stale"
    PROBE_SIZE = "probe-size"
    CHANGED = "changed"
    SHARED = "shared"
    ORPHAN = "orphan"

    def __repr__(self) -> str:
        return repr(self.value)


class Caution(eqx.Module):
    """One warning: a `kind` for programs, a `headline`, and the `detail`."""

    kind: Kind = eqx.field(static=True)
    headline: str = eqx.field(static=True)
    detail: str = eqx.field(static=True)

    def __repr__(self) -> str:
        return f"{self.headline} {self.detail}"


def cut_short(what: str) -> Caution:
    """The diagnosis was interrupted after the run: what is not in it."""
    return Caution(
        Kind.INTERRUPTED,
        "The diagnosis was interrupted after its run was made.",
        f"It lacks {what}. The same command, or the same call with the same checkpoint "
        "folder, takes the run as it is and computes the rest.",
    )


def ended_early(run: Trajectory, steps: int) -> list[Caution]:
    """The run was interrupted or blew up."""
    if run.outcome is Outcome.COMPLETE:
        return []
    reached = int(run.steps[-1])
    if run.outcome is Outcome.DIVERGED:
        headline = f"The run diverged at step {reached:,}."
        detail = run.advice
    else:
        headline = f"The run was interrupted at step {reached:,} of {steps:,}."
        detail = (
            "This is what it had reached. The same command, or the same call with the "
            "same checkpoint folder, goes on from here."
        )
    return [Caution(Kind[run.outcome.name], headline, detail)]
