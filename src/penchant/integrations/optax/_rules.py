"""Which row of the table an optax state has, and its numbers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from penchant._types import Tree
from penchant.integrations._rules import ADAM, LION, SGD, UNKNOWN, Adapter, Seen

KINDS = {"ScaleByAdamState": ADAM, "TraceState": SGD, "ScaleByLionState": LION}

NAMES = ("learning_rate", "weight_decay", "b1", "b2", "eps", "momentum", "nesterov")
"""Numbers that a user or `inject_hyperparams` gives, by optax's names."""

NEAR = 0.02
"""By how much an update may differ from its row's: bfloat16 has two digits."""

WANTED = {"Adam": ("b1", "b2", "eps"), "SGD": (), "Lion": ("b1", "b2")}


def settings_of(state: Tree, given: Mapping[str, Any], n: int) -> dict[str, float]:
    """Numbers of update `n`: injected ones as the update used them, else the user's."""
    found = {name: _at(value, n) for name, value in given.items()}
    for name, value in _injected(state).items():
        if name in NAMES and np.ndim(value) == 0:
            found[name] = float(value)
    return found


def _at(value: Tree, n: int) -> float:
    return float(value(n - 1) if isinstance(value, Callable) else value)


def _injected(node: Tree) -> dict[str, Any]:
    inside = getattr(node, "hyperparams", None)
    found = dict(inside) if isinstance(inside, Mapping) else {}
    if isinstance(node, Mapping):
        node = list(node.values())
    if isinstance(node, (tuple, list)):
        for part in node:
            if part is not inside:
                found = {**_injected(part), **found}
    return found


def group_of(numbers: Mapping[str, float]) -> dict[str, Any]:
    """Numbers under the names of the table of rules."""
    group: dict[str, Any] = {
        "lr": numbers["learning_rate"],
        "weight_decay": numbers.get("weight_decay", 0.0),
        "momentum": numbers.get("momentum", 0.0),
        "nesterov": bool(numbers.get("nesterov", 0.0)),
        "eps": numbers.get("eps", 0.0),
    }
    if "b1" in numbers and "b2" in numbers:
        group["betas"] = (numbers["b1"], numbers["b2"])
    return group


def rows_of(
    kinds: list[str], numbers: Mapping[str, float]
) -> tuple[list[Adapter], str]:
    """Rows that the state may be of, likeliest first, or why there is none."""
    if len(kinds) > 1:
        return [], "there are several sets of moments"
    row = KINDS.get(kinds[0]) if kinds else SGD
    if row is None:
        return [], f"a {kinds[0]} is in no row of the table"
    missing = [name for name in WANTED[row.name] if name not in numbers]
    if kinds and row is SGD and "momentum" not in numbers:
        missing = ["momentum"]
    if missing:
        return [], f"settings lack {', '.join(missing)}"
    beside = dataclasses.replace(
        row,
        name="AdamW" if row is ADAM else row.name,
        decoupled=lambda group: True,
        added=True,
    )
    plain = dataclasses.replace(row, decoupled=lambda group: False)
    return ([beside] if numbers.get("weight_decay") else []) + [plain], ""


def fits(row: Adapter, seen: list[Seen], updates: list[np.ndarray]) -> bool:
    """Whether the updates are those that the row says, decay included."""
    told, made = [], []
    for s, update in zip(seen, updates, strict=True):
        step = row.moments(s).step
        if step is None or s.step_size == 0:
            return False
        beside = s.decay * s.before if row.decoupled(s.group) else 0.0
        told.append(step + beside)
        made.append(-update / s.step_size)
    a, b = np.concatenate(told), np.concatenate(made)
    return float(np.linalg.norm(a - b)) <= NEAR * float(np.linalg.norm(a))


def believed(
    rows: list[Adapter], why: str, seen: list[Seen], updates: list[np.ndarray]
) -> tuple[Adapter, str]:
    """The first row whose step is the one that was made; `UNKNOWN`, and why."""
    for row in rows:
        if fits(row, seen, updates):
            return row, ""
    return UNKNOWN, why or "updates are not those of the rule that the state looks like"
