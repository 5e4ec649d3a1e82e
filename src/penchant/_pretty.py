"""One way to print hyper-parameters: as they are typed."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def pretty(module: Any) -> str:
    """`Name(field=value, …)`, with scalars as numbers and large arrays as shapes."""
    fields = [
        f"{field.name}={_value(getattr(module, field.name))}"
        for field in dataclasses.fields(module)
        if field.repr
    ]
    return f"{type(module).__name__}({', '.join(fields)})"


def _value(value: object) -> str:
    if isinstance(value, Tracer):
        return f"<{value.aval.str_short()}>"
    if isinstance(value, (jax.Array, np.ndarray)):
        if value.ndim == 0:
            return f"{float(value):g}"
        return f"<array {value.shape}>"
    return repr(value)
