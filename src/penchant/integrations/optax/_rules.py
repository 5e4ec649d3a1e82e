"""Which row of the table an optax state has, and its numbers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from penchant._types import Tree
from penchant.integrations._rules import (
    ADAM,
    LION,
    SGD,
    UNKNOWN,
    Adapter,
    Group,
    Moments,
    Seen,
    number,
)

NAMES = (
    "learning_rate",
    "weight_decay",
    "b1",
    "b2",
    "decay",
    "eps",
    "momentum",
    "nesterov",
)
"""Numbers that a user or `inject_hyperparams` gives, by optax's names."""

NEAR = 0.02
"""By how much an update may differ from its row's: bfloat16 has two digits."""

WANTED = {
    "Adam": ("b1", "b2", "eps"),
    "SGD": (),
    "Lion": ("b1", "b2"),
    "RMSprop": ("decay", "eps"),
    "Adagrad": ("eps",),
}


def _nadam(seen: Seen) -> Moments:
    """Its memory is corrected as that of the step to come."""
    b1, b2 = map(number, seen.group["betas"])
    m, n = seen.state["exp_avg"], seen.n
    ahead = b1 * m / (1.0 - b1 ** (n + 1)) + (1.0 - b1) * seen.gradient / (1.0 - b1**n)
    r = np.sqrt(seen.state["exp_avg_sq"] / (1.0 - b2**n))
    eps = number(seen.group["eps"])
    return Moments(m / (1.0 - b1**n), r, eps, ahead / (r + eps))


def _nadam_look(group: Group, n: float) -> tuple[float, float]:
    b1 = number(group["betas"][0])
    return 1.0 - b1, b1


def _scaled(v: np.ndarray, eps: float, inside: bool, gradient: np.ndarray) -> Moments:
    r = np.sqrt(v)
    own = np.sqrt(eps) if inside else eps
    below = np.hypot(r, own) if inside else r + own
    step = np.divide(
        gradient, below, out=np.zeros_like(gradient + below), where=below > 0
    )
    return Moments(None, r, float(own), step, inside)


def _rmsprop(inside: bool, corrected: bool) -> Callable[[Seen], Moments]:
    def moments(seen: Seen) -> Moments:
        v = seen.state["exp_avg_sq"]
        if corrected:
            v = v / (1.0 - number(seen.group["alpha"]) ** seen.n)
        return _scaled(v, number(seen.group["eps"]), inside, seen.gradient)

    return moments


def _adagrad(seen: Seen) -> Moments:
    return _scaled(seen.state["sum"], number(seen.group["eps"]), True, seen.gradient)


NADAM = dataclasses.replace(ADAM, name="NAdam", moments=_nadam, look=_nadam_look)


def _rms_rows(*, corrected: bool) -> tuple[Adapter, ...]:
    """With the epsilon under the root, which is optax's default, and beside it."""
    return tuple(
        Adapter(
            "RMSprop",
            None,
            "exp_avg_sq",
            _rmsprop(inside, corrected),
            lambda group: (0.0, number(group["alpha"])),
            lambda group: False,
            mean=False,
            inside=lambda group, inside=inside: inside,
        )
        for inside in (True, False)
    )


ADAGRAD = Adapter(
    "Adagrad",
    None,
    "sum",
    _adagrad,
    lambda group: (0.0, None),
    lambda group: False,
    mean=False,
    inside=lambda group: True,
)

KINDS: dict[str, tuple[Adapter, ...]] = {
    "ScaleByAdamState": (ADAM, NADAM),
    "TraceState": (SGD,),
    "ScaleByLionState": (LION,),
    "ScaleByRmsState": _rms_rows(corrected=False),
    "ScaleByRmsWithCountState": _rms_rows(corrected=True),
    "ScaleByRssState": (ADAGRAD,),
}
"""Rows that a state may be of; the one whose step is the one made is believed."""


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
    if "decay" in numbers:
        group["alpha"] = numbers["decay"]
    return group


def rows_of(
    kinds: list[str], numbers: Mapping[str, float]
) -> tuple[list[Adapter], str]:
    """Rows that the state may be of, likeliest first, or why there is none."""
    if len(kinds) > 1:
        return [], "there are several sets of moments"
    rows = KINDS.get(kinds[0]) if kinds else (SGD,)
    if rows is None:
        return [], f"a {kinds[0]} is in no row of the table"
    missing = [name for name in WANTED[rows[0].name] if name not in numbers]
    if kinds and rows[0] is SGD and "momentum" not in numbers:
        missing = ["momentum"]
    if missing:
        return [], f"settings lack {', '.join(missing)}"
    found = []
    for row in rows:
        if numbers.get("weight_decay"):
            name = f"{row.name}W" if row in (ADAM, NADAM) else row.name
            found.append(
                dataclasses.replace(
                    row, name=name, decoupled=lambda group: True, added=True
                )
            )
        found.append(dataclasses.replace(row, decoupled=lambda group: False))
    return found, ""


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
