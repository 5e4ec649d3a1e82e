"""What was run, and how to run it again."""

import importlib.metadata
import platform
import re
from typing import Any

import jax
import numpy as np

from penchant import norms, optimizers
from penchant.optimizers import AbstractOptimizer
from penchant.problems import LinearClassification
from penchant.training import batching as batches, schedules
from penchant.training.batching import AbstractBatching

HOMES = {
    "pn.optimizers": optimizers,
    "pn.norms": norms,
    "pn.batching": batches,
    "pn.schedules": schedules,
}


def settings_of(
    problem: LinearClassification,
    optimizer: AbstractOptimizer,
    batching: AbstractBatching,
    step_size: Any,
    steps: int,
    key: Any,
    about: dict[str, Any] | None,
) -> dict[str, Any]:
    """Everything that makes a diagnosis what it is, for its report."""
    n, d = problem.X.shape
    schedule = schedules.as_schedule(step_size)
    again = [
        "pn.diagnose(",
        f"    problem,  # {n} samples, loss={problem.loss!r}",
        f"    {_typed(optimizer)},",
        f"    batching={_typed(batching)},",
        f"    step_size={_typed(schedule)},",
        f"    steps={steps},",
        f"    key={key!r},",
        ")",
    ]
    return {
        **(about or {}),
        "samples": n,
        "features": d,
        "classes": 2 if problem.binary else problem.classes,
        "loss": repr(problem.loss),
        "bias": problem.bias,
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


def _typed(part: Any) -> str:
    """As it is typed after `import penchant as pn`."""

    def with_home(name: re.Match[str]) -> str:
        for home, module in HOMES.items():
            if hasattr(module, name[0]):
                return f"{home}.{name[0]}"
        return name[0]

    return re.sub(r"\b[A-Z]\w*(?=\()", with_home, repr(part))
