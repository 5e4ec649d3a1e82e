"""What was run, and how to run it again."""

import importlib.metadata
import platform
import re
from typing import Any

import jax
import numpy as np

from penchant import norms, optimizers
from penchant._types import Key, StepSize
from penchant.diagnosis._hold_out import Held
from penchant.optimizers import AbstractOptimizer
from penchant.problems import (
    AbstractClassification,
    AbstractProblem,
    LinearClassification,
    NetworkClassification,
)
from penchant.training import batching as batches, schedules
from penchant.training.batching import AbstractBatching

HOMES = {
    "pn.optimizers": optimizers,
    "pn.norms": norms,
    "pn.batching": batches,
    "pn.schedules": schedules,
}


def settings_of(
    problem: AbstractProblem,
    optimizer: AbstractOptimizer,
    batching: AbstractBatching,
    step_size: StepSize,
    steps: int,
    key: Key,
    about: dict[str, Any] | None,
    held: Held | None,
) -> dict[str, Any]:
    """Everything that makes a diagnosis what it is, for its report."""
    samples = problem.samples + (0 if held is None else len(held.rows))
    schedule = schedules.as_schedule(step_size)
    again = [
        "pn.diagnose(",
        f"    problem,  # {samples} samples, {_loss(problem)['loss']}",
        f"    {_typed(optimizer)},",
        f"    batching={_typed(batching)},",
        f"    step_size={_typed(schedule)},",
        f"    steps={steps},",
        *([] if held is None else [f"    holdout={held.share!r},"]),
        f"    key={key!r},",
        ")",
    ]
    return {
        **_labels(problem),
        **(about or {}),
        "samples": problem.samples,
        **({} if held is None else {"held out": held.said}),
        **_model(problem),
        **_loss(problem),
        "optimizer": repr(optimizer),
        "batching": repr(batching),
        "step_size": repr(schedule),
        "steps": steps,
        "command": (about or {}).get("command") or "\n".join(again),
        "versions": {
            "penchant": importlib.metadata.version("penchant"),
            "jax": jax.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "device": jax.devices()[0].device_kind,
        },
    }


def _loss(problem: AbstractProblem) -> dict[str, Any]:
    if not isinstance(problem, AbstractClassification):
        return {"loss": problem.about}
    classes = 2 if problem.binary else problem.classes
    return {"classes": classes, "loss": repr(problem.loss)}


def _labels(problem: AbstractProblem) -> dict[str, Any]:
    """What labels are called, with the sign that each of two stands for."""
    if not isinstance(problem, AbstractClassification) or not problem.names:
        return {}
    if problem.binary:
        negative, positive = problem.names
        return {"labels": f"{negative} (−1), {positive} (+1)"}
    return {"labels": ", ".join(problem.names)}


def _model(problem: AbstractProblem) -> dict[str, Any]:
    if not isinstance(problem, AbstractClassification):
        return {"model": repr(problem), "parameters": problem.parameters}
    if isinstance(problem, LinearClassification):
        return {"features": problem.X.shape[1], "bias": problem.bias}
    if not isinstance(problem, NetworkClassification):
        return {
            "model": type(problem).__name__,
            "parameters": problem.parameters,
            "degree": problem.degree,
        }
    name = getattr(problem.apply, "__name__", None) or repr(problem.apply)
    return {
        "network": name,
        "parameters": problem.parameters,
        "degree": problem.degree,
        "degree of each layer": repr(problem.homogeneity.layers),
    }


def _typed(part: object) -> str:
    """As it is typed after `import penchant as pn`."""

    def with_home(name: re.Match[str]) -> str:
        for home, module in HOMES.items():
            if hasattr(module, name[0]):
                return f"{home}.{name[0]}"
        return name[0]

    return re.sub(r"\b[A-Z]\w*(?=\()", with_home, repr(part))
