"""The numbers under a picture, as HTML."""

import math
from html import escape

import numpy as np

from penchant.explorer._features import Features
from penchant.explorer._landscapes import Landscape
from penchant.explorer._weights import Weights
from penchant.pages import percent
from penchant.theory import Regime

LONGEST = 4
"""Weights that a cell writes out."""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr data-row="{escape(first)}"><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _vector(w: np.ndarray) -> str:
    rounded = np.round(np.ravel(w)[:LONGEST].astype(float), 4) + 0.0  # no minus zero
    return ", ".join(f"{v:.4f}".replace("-", "−") for v in rounded)


def features(shown: Features) -> str:
    """A row an optimum, and the run against them."""
    w = shown.now
    if not shown.best:
        rows = []
        if shown.minimiser is not None:
            least = np.asarray(shown.minimiser.weights)
            wrong = len(shown.wrong(least))
            rows.append(("minimiser", _vector(least), str(wrong)))
        rows.append(("run", _vector(w), str(len(shown.wrong(w)))))
        return f"<p>{escape(shown.why)}</p>" + _table(
            ("", "weights", "misclassified"), rows
        )
    rows = [
        (
            label,
            _vector(np.asarray(one.weights)),
            f"{float(one.margin):.4f}",
            percent(float(shown.shares[label][shown.record])),
        )
        for label, one in shown.best.items()
    ]
    size = np.abs(w).max() or 1.0
    rows.append(("run", _vector(w / size), "", ""))
    told = ""
    if shown.told is not None:
        told = f"<p>Theory foretells the largest {escape(shown.told)} margin.</p>"
    head = ("", "weights", "largest margin", "of it, the run has")
    now = _now(int(shown.steps[shown.record]))
    return told + _table(head, rows) + now + _phases(shown)


def _phases(shown: Features) -> str:
    """The phases that theory foretells, that of the slider's place in bold."""
    if not shown.phases:
        return ""
    named = [
        f"<b>{name}</b>" if phase is shown.phase else name
        for phase in shown.phases
        for name in [escape(_named(phase))]
    ]
    return f"<p data-row='phases'>By theory: {'; '.join(named)}.</p>"


def _named(phase: Regime) -> str:
    kind = "" if phase.norm is None else f" ({phase.norm.label})"
    end = "on" if math.isinf(phase.end) else f"to {phase.end:,.0f}"
    return f"{phase.name}{kind} from step {phase.start:,.0f} {end}"


def _now(step: int) -> str:
    return f"<p>The run after {int(step):,} steps, its largest weight set to 1.</p>"


def weights(shown: Weights) -> str:
    """A row a norm: margin, share, alignment, and who says otherwise."""
    held = shown.held is not None
    errors, flips, at = shown.errors, shown.flips, shown.record
    rows = []
    for label, one in shown.best.items():
        row = (
            label,
            f"{float(one.margin):.4f}",
            percent(float(shown.shares[label][at])),
            f"{float(shown.alignments[label][at]):.4f}",
        )
        if held:
            row = (*row, str(errors[label]), _numbers(flips[label]))
        rows.append(row)
    head = ("", "largest margin", "of it, the run has", "alignment")
    text = ""
    if held:
        assert shown.held is not None
        head = (*head, "held-out errors", "differs from the run on")
        text = (
            f"<p>Of {len(shown.held[1])} samples held out the run gets "
            f"{errors['run']} wrong.</p>"
        )
    return _table(head, rows) + text + f"<p>After {int(shown.steps[at]):,} steps.</p>"


def _numbers(rows: np.ndarray) -> str:
    if not len(rows):
        return "none"
    more = ", …" if len(rows) > 6 else ""
    return f"{len(rows)}: " + ", ".join(str(i) for i in rows[:6]) + more


def landscape(shown: Landscape) -> str:
    """Where each path ends, and why one is not there."""
    rows = [(name, _vector(end)) for name, end in shown.ends.items()]
    rows += [(name, _vector(np.array(at))) for name, at in shown.spots.items()]
    rows += [(f"limit {i + 1}", _vector(w)) for i, w in enumerate(shown.limits)]
    notes = "".join(f"<p>{escape(why)}</p>" for why in shown.missing.values())
    return _table(("", "ends at"), rows) + notes
