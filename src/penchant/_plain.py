"""Results in types that JSON has."""

import math
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same in dicts, lists, strings, numbers and None: no NaN, no infinity."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None
