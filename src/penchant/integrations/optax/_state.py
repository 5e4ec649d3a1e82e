"""What the state of an optax optimizer says of a step: its rule, samples, moments."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from penchant._types import Tree
from penchant.integrations._numbers import numbers_of, past_of
from penchant.integrations._record import Recorder
from penchant.integrations._rules import UNKNOWN, Adapter, Seen, measured
from penchant.integrations.optax._curvature import Moment, raveled
from penchant.integrations.optax._probe import ProbeState, moments, sample
from penchant.integrations.optax._rules import (
    believed,
    group_of,
    rows_of,
    settings_of,
)
from penchant.optimizers import Character

GROUP = "all"


class States:
    """The state tier of a loop in JAX.

    Args:
        recorder: Where records go.
        settings: The rule's numbers, where the state does not have them.
        rule: What the rule is if it has no row.
    """

    def __init__(
        self,
        recorder: Recorder,
        settings: Mapping[str, Any],
        rule: Character | None = None,
    ):
        self.recorder, self.settings, self.rule = recorder, dict(settings), rule
        self._changed: dict[str, Any] = {}
        self._rates: list[tuple[int, float]] = []

    def row(
        self, params: Tree, state: ProbeState
    ) -> tuple[Adapter, list[tuple[str, Seen]], str]:
        """The rule's row, if its step is the one that was made, and what was seen."""
        n = int(state.count)
        numbers = settings_of(state.inner_state, self.settings, n)
        host = lambda arrays: [np.asarray(a).astype(float) for a in arrays]
        before, after = host(state.before), host(sample(params))
        gradient, update = host(state.gradient), host(state.update)
        known = moments(state.inner_state)
        rows, why = [], "settings lack learning_rate"
        if "learning_rate" in numbers:
            rows, why = rows_of([m["kind"] for m in known], numbers)
        own: dict[str, list[np.ndarray]] = {}
        if len(known) == 1:
            own = {
                name: host(sample(tree))
                for name, tree in known[0].items()
                if name not in ("kind", "count")
            }
            if any(len(arrays) != len(before) for arrays in own.values()):
                rows, own, why = [], {}, "moments are kept of a part of the weights"
            elif known[0]["count"] is not None:
                n = int(known[0]["count"])
        old = {name: host(arrays) for name, arrays in state.past.items()} if own else {}
        group = group_of({"learning_rate": math.nan, **numbers})
        seen = [
            Seen(
                group=group,
                before=before[i],
                after=after[i],
                gradient=gradient[i],
                past={name: arrays[i] for name, arrays in old.items()},
                state={name: arrays[i] for name, arrays in own.items()},
                scalars={},
                n=float(n),
            )
            for i in range(len(before))
        ]
        row, why = believed(rows, why, seen, update)
        if row is UNKNOWN and self.rule is not None:
            row, why = measured(self.rule), ""
        return row, [(str(x.dtype), s) for x, s in zip(
            jax.tree.leaves(params), seen, strict=True
        )], why  # fmt: skip

    def record(self, step: int, params: Tree, state: ProbeState) -> None:
        """Numbers of a look, and what has changed since the last."""
        row, pairs, why = self.row(params, state)
        group = pairs[0][1].group
        if math.isfinite(group["lr"]):
            self._rates.append((step - 1, group["lr"]))
        b1, b2 = row.decays(group)
        about = {"decay": group["weight_decay"], "first": b1, "second": b2}
        for name, value in about.items():
            if self._changed and self._changed["known"] == row.name:
                was = self._changed[name]
                if was != value:
                    self.recorder.event(
                        "changed", step, group=GROUP, what=name, before=was,
                        now=value,
                    )  # fmt: skip
        if not self._changed or self._changed["known"] != row.name:
            self._describe(step, params, state, row, group, why)
        self._changed = {**about, "known": row.name}
        self.recorder.record(step, "state", GROUP, numbers_of(row, pairs))

    def _describe(
        self,
        step: int,
        params: Tree,
        state: ProbeState,
        row: Adapter,
        group: Mapping[str, Any],
        why: str,
    ) -> None:
        leaves = jax.tree.leaves(params)
        kept = [
            leaf
            for m in moments(state.inner_state)
            for name, tree in m.items()
            if name not in ("kind", "count")
            for leaf in jax.tree.leaves(tree)
        ]
        kinds = [m["kind"] for m in moments(state.inner_state)]
        b1, b2 = row.decays(group)
        told = {
            "name": GROUP,
            "optimizer": row.name
            if row is not UNKNOWN
            else ", ".join(kinds) or "optax",
            "known": row.name,
            "why": why,
            "parameters": sum(x.size for x in leaves),
            "tensors": len(leaves),
            "step_size": group["lr"],
            "decay": group["weight_decay"],
            "decoupled": row.decoupled(group),
            "first": b1,
            "second": b2,
            "eps": group["eps"] if row.adaptive else None,
            "weights": _dtypes(leaves),
            "gradients": _dtypes(state.gradient),
            "state": _dtypes(kept),
        }
        self.recorder.describe(groups=[told])
        if why:
            self.recorder.event("unknown", step, why=why)

    def moment(self, step: int, params: Tree, state: ProbeState | None) -> Moment:
        """Weights, rule and moments of now, as curvature is measured with them."""
        x, _ = raveled(params)
        if state is None:
            group = group_of({"learning_rate": math.nan})
            why = "opt_state has no state of pn.optax.probe"
            return Moment(step, x, UNKNOWN, group, None, None, why)
        row, pairs, why = self.row(params, state)
        group = pairs[0][1].group
        b1, b2 = row.decays(group)
        past = past_of(self._rates, step, max(b1, b2 or 0.0))
        if not row.adaptive:
            return Moment(step, x, row, group, None, None, why, past)
        (own,) = moments(state.inner_state)
        zero = np.zeros(())
        flat = {
            name: np.asarray(raveled(tree)[0], float)
            for name, tree in own.items()
            if name not in ("kind", "count")
        }
        n = float(state.count if own["count"] is None else own["count"])
        found = row.moments(Seen(group, zero, zero, zero, {}, flat, {}, n))
        below, first = found.divisor, found.first
        return Moment(step, x, row, group, below, first, why, past)


def _dtypes(arrays: Iterable[Any]) -> str | None:
    return ", ".join(sorted({str(x.dtype) for x in arrays})) or None
