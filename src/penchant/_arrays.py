"""Other libraries' arrays as NumPy's, with nothing lost on the way."""

from typing import Any

import numpy as np

from penchant._types import Numbers

_NO_NUMBERS = {
    "c": "complex numbers",
    "M": "dates, which have no zero and no unit",
    "m": "times, which have no unit: divide by one",
}


def plain(name: str, values: Any) -> Any:
    """What holds numbers elsewhere, as an array of NumPy; anything else as it came.

    Torch's tensors are taken off their graph and device (bfloat16 by way of float32,
    which holds it exactly), sparse matrices filled in.

    Raises:
        ValueError: If entries are masked: missing values are no data.
    """
    if isinstance(values, np.ma.MaskedArray):
        return _unmasked(name, values)
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        values = values.detach().cpu()
        if getattr(values, "is_sparse", False):
            values = values.to_dense()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
    elif hasattr(values, "toarray") and hasattr(values, "nnz"):
        values = values.toarray()
    return values


def numbers(name: str, values: Numbers, shape: str = "") -> np.ndarray:
    """An array in float64; entries may be NaN or infinite.

    Raises:
        TypeError: If something in it is no real number.
        ValueError: If entries are masked.
    """
    values = plain(name, values)
    wanted = f" of shape {shape}" if shape else ""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in _NO_NUMBERS:
            return array.astype(np.float64)
        seen = _NO_NUMBERS[array.dtype.kind]
    except (TypeError, ValueError):
        seen = type(values).__name__
    raise TypeError(f"{name} must be an array of numbers{wanted}; got {seen}.")


def precision(values: Numbers) -> str:
    """The name of the type of an array's numbers, `float64` where it has none."""
    kind = getattr(values, "dtype", None)
    if kind is None:
        return "float64"
    return str(getattr(kind, "name", kind)).removeprefix("torch.")


def _unmasked(name: str, values: np.ma.MaskedArray) -> np.ndarray:
    hidden = np.argwhere(np.ma.getmaskarray(values))
    if len(hidden):
        place = ", ".join(str(int(i)) for i in hidden[0])
        raise ValueError(
            f"{name} must have no missing values; {len(hidden)} entries are masked, "
            f"the first at ({place}). Leave those rows out, or fill them in."
        )
    return np.ma.getdata(values)


def inner(a: np.ndarray, b: np.ndarray) -> float:
    """The inner product of two vectors, without BLAS.

    BLAS gives products of some ten thousand entries to threads, and waking them takes
    longer than the product does: milliseconds where the cores have other work.
    """
    return float(np.einsum("i,i->", a, b))
